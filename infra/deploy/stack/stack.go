package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"penstock/infra/deploy/compose"
)

// startTries is how often a peer is started on free ports: somebody may take one between our look and its listening.
const startTries = 3

// stack is the peers that run.
type stack struct {
	dir         string // for data and logs; gone with the stack
	running     []*runningPeer
	environment []string // for every client of the peers, as NAME=VALUE
}

// start installs what is missing and starts all peers, on ports in a row from the first on, or on free ones when that is 0.
// It returns when all of them serve. The stack must be stopped.
func start(ctx context.Context, deployment *compose.Deployment, firstPort int, log io.Writer) (*stack, error) {
	installed, err := install(ctx, log)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "penstock-stack-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the peers' data: %w", err)
	}
	s := &stack{dir: dir, running: make([]*runningPeer, len(peers))}
	at := site{installed: installed, dir: dir}
	for _, variable := range []string{regionVariable, accessKeyVariable, secretKeyVariable} {
		at.environment = append(at.environment, variable+"="+deployment.Environment[variable])
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range peers {
		group.Go(func() error {
			var err error
			if firstPort == 0 {
				s.running[i], err = p.startAnywhere(ctx, at)
			} else {
				s.running[i], err = p.startOn(ctx, at, [2]int{firstPort + i, firstPort + len(peers)})
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.stop()
		return nil, err
	}
	endpoints := map[string]string{}
	for _, r := range s.running {
		endpoints[r.variable] = r.endpoint()
	}
	if s.environment, err = deployment.With(endpoints); err != nil {
		s.stop()
		return nil, err
	}
	// Among what is installed are also clients for tests: aws_kinesis_agg, which infra/deploy/kpl runs, and those of WebSockets.
	s.environment = append(s.environment, "PENSTOCK_STACK_PYTHON="+pythonDir(installed), "PENSTOCK_STACK_NODE="+nodeDir(installed))
	return s, nil
}

// startAnywhere starts the peer on free ports.
func (p peer) startAnywhere(ctx context.Context, at site) (*runningPeer, error) {
	var failed error
	for range startTries {
		ports, err := freePorts(ctx)
		if err != nil {
			return nil, err
		}
		r, err := p.startOn(ctx, at, ports)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
		failed = err
	}
	return nil, failed
}

// stop ends all peers and removes their data.
func (s *stack) stop() {
	for _, r := range s.running {
		if r != nil {
			r.stop()
		}
	}
	_ = os.RemoveAll(s.dir) // what is left lies among the temporary files
}

// wait until the context ends, which is no error, or a peer does.
func (s *stack) wait(ctx context.Context) error {
	return s.waitFor(ctx, &process{ended: make(chan struct{})})
}

// waitFor a command's end among the peers, and says how it ended. A peer that ends before it is an error.
func (s *stack) waitFor(ctx context.Context, command *process) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, r := range s.running {
		go func() {
			select {
			case <-r.ended:
				cancel(r.failure())
			case <-ctx.Done():
			}
		}()
	}
	select {
	case <-command.ended:
		return command.err
	case <-ctx.Done():
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// exported is the environment as a shell reads it.
func exported(environment []string) string {
	var b strings.Builder
	for _, e := range environment {
		name, value, _ := strings.Cut(e, "=")
		_, _ = fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`)) // a Builder never fails
	}
	return b.String()
}
