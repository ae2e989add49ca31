package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// startLimit is how long a server may take until it listens.
const startLimit = 30 * time.Second

// process is a server that runs as a child.
type process struct {
	cmd     *exec.Cmd
	stdin   io.Closer // open for as long as a bare server shall run
	address string    // HOST:PORT
	dataDir string    // empty of a bare server
	ended   chan struct{}
	err     error // how it ended; read after ended is closed
	log     bytes.Buffer
}

// startServer starts the program under test on free ports, over an empty data directory on the measured disk.
func (b *bench) startServer(ctx context.Context) (*process, error) {
	dir, err := os.MkdirTemp(b.dir, "data-")
	if err != nil {
		return nil, fmt.Errorf("make a data directory: %w", err)
	}
	return b.startServerOn(ctx, dir)
}

// startServerOn starts it over a data directory that may hold something.
func (b *bench) startServerOn(ctx context.Context, dir string) (*process, error) {
	server, err := filepath.Abs(b.server)
	if err != nil {
		return nil, fmt.Errorf("-server: %w", err)
	}
	args := []string{"local", "--data", dir, "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", "--log-level", "warn"}
	p, err := start(exec.CommandContext(ctx, server, args...))
	if err != nil {
		return nil, err
	}
	p.dataDir = dir
	return p, nil
}

// startFront starts the front end alone over a stub of AWS.
func (b *bench) startFront(ctx context.Context, stub string) (*process, error) {
	return b.startFrontOn(ctx, stub, "127.0.0.1:0")
}

// startFrontOn starts it on an address.
func (b *bench) startFrontOn(ctx context.Context, stub, address string) (*process, error) {
	front, err := filepath.Abs(b.front)
	if err != nil {
		return nil, fmt.Errorf("-front: %w", err)
	}
	cmd := exec.CommandContext(ctx, front, "ingest", "--routes", "ingest", "--listen", address, "--bucket", "bench", "--log-level", "warn")
	// Without what the environment may say of other peers.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "PENSTOCK_") })
	cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL=http://"+stub, "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=bench",
		"AWS_SECRET_ACCESS_KEY=bench", "AWS_EC2_METADATA_DISABLED=true")
	return start(cmd)
}

// startStub starts what stands for AWS.
func (b *bench) startStub(ctx context.Context) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the harness: %w", err)
	}
	return start(exec.CommandContext(ctx, self, asStub))
}

// startFiber starts the bare comparator in a process of its own, as the program under test is in one.
func (b *bench) startFiber(ctx context.Context) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the harness: %w", err)
	}
	return start(exec.CommandContext(ctx, self, asFiber))
}

// start returns when the server has said where it listens and that it is ready.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	cmd.Stderr = &p.log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	listening := make(chan string, 1)
	go func() {
		defer close(p.ended)
		var address string
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			switch fields := strings.Fields(lines.Text()); {
			case len(fields) != 2:
			case fields[0] == "HTTP":
				address = fields[1]
			case fields[0] == "data" || fields[0] == "stream": // the last line of those that say it is ready
				listening <- address
			}
		}
		p.err = cmd.Wait()
	}()
	timer := time.NewTimer(startLimit)
	defer timer.Stop()
	select {
	case address := <-listening:
		u, err := url.Parse(address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s says it listens on %q: %w", cmd.Path, address, err), p.kill())
		}
		p.address = u.Host
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s ended before it was ready (%w): %.2000s", cmd.Path, errors.Join(p.err, io.EOF), p.log.String())
	case <-timer.C:
		return nil, errors.Join(fmt.Errorf("%s was not ready in %v", cmd.Path, startLimit), p.kill())
	}
}

// kill ends the process, also one that is paused. Its data is thrown away, so nothing needs to be finished.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.cmd.Path, err)
	}
	<-p.ended
	return nil
}

// end kills the process and returns the row's error; with what the process logged, if the row failed.
func (p *process) end(err error) error {
	killErr := p.kill()
	if said := strings.TrimSpace(p.log.String()); err != nil && said != "" {
		err = fmt.Errorf("%w; %s logged at last: %s", err, filepath.Base(p.cmd.Path), said[max(0, len(said)-2000):])
	}
	return errors.Join(err, killErr)
}

// whilePaused runs a side with the process stopped.
func (p *process) whilePaused(s side) side {
	return sideFunc(func(ctx context.Context, length time.Duration) (sample, error) {
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			return sample{}, fmt.Errorf("pause the server: %w", err)
		}
		result, err := s.round(ctx, length)
		if contErr := p.cmd.Process.Signal(syscall.SIGCONT); contErr != nil {
			err = errors.Join(err, fmt.Errorf("resume the server: %w", contErr))
		}
		return result, err
	})
}
