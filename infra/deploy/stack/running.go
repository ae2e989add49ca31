package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// startLimit is how long a peer may take until it serves, on a busy machine.
	startLimit = 60 * time.Second
	// askEvery is how often a peer that starts is asked whether it serves.
	askEvery = 50 * time.Millisecond
	// logTail is how much of a peer's log an error tells.
	logTail = 2000
)

// runningPeer is a peer that runs.
type runningPeer struct {
	peer
	*process
	port int
	log  string
}

// site is where the peers of a stack run.
type site struct {
	installed   string   // directory that they are installed in
	dir         string   // directory for data and logs
	environment []string // region and credentials, as NAME=VALUE
}

// startOn starts the peer and returns when it serves.
func (p peer) startOn(ctx context.Context, at site, ports [2]int) (*runningPeer, error) {
	for _, port := range ports[:p.ports] { // what answers there shall be our peer
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address(port))
		if err != nil {
			return nil, fmt.Errorf("%s: port %d: %w", p.name, port, err)
		}
		if err := listener.Close(); err != nil {
			return nil, fmt.Errorf("%s: port %d: %w", p.name, port, err)
		}
	}
	own := filepath.Join(at.dir, p.name)
	if err := os.MkdirAll(own, 0o755); err != nil {
		return nil, fmt.Errorf("%s: make its directory: %w", p.name, err)
	}
	log, err := os.Create(own + ".log")
	if err != nil {
		return nil, fmt.Errorf("%s: make its log: %w", p.name, err)
	}
	defer log.Close() //nolint:errcheck // the child writes to its own copy
	cmd := p.command(at.installed, own, ports)
	cmd.Env = append(cmd.Environ(), at.environment...)
	cmd.Stdout, cmd.Stderr = log, log
	started, err := startProcess(cmd)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	r := &runningPeer{peer: p, process: started, port: ports[0], log: log.Name()}
	if err := r.awaitHealth(ctx); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *runningPeer) awaitHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("%s does not serve after %v", r.name, startLimit))
	defer cancel()
	again := time.NewTicker(askEvery)
	defer again.Stop()
	for !r.serves(ctx) {
		select {
		case <-again.C:
		case <-r.ended:
			return r.failure()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (r *runningPeer) serves(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.endpoint()+r.health, http.NoBody)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = answer.Body.Close() // nothing of it is wanted
	return answer.StatusCode == http.StatusOK
}

func (r *runningPeer) endpoint() string { return "http://" + address(r.port) }

// failure tells of a peer that has ended, with the end of its log.
func (r *runningPeer) failure() error {
	text, err := os.ReadFile(r.log)
	if err != nil {
		text = []byte(err.Error())
	}
	text = bytes.TrimSpace(text[max(0, len(text)-logTail):])
	how := r.err
	if how == nil {
		how = errors.New("exit status 0")
	}
	return fmt.Errorf("%s has ended: %w; its log ends with:\n%s", r.name, how, text)
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts finds two, by listening on both at once.
func freePorts(ctx context.Context) (ports [2]int, err error) {
	for i := range ports {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address(0))
		if err != nil {
			return ports, fmt.Errorf("find a free port: %w", err)
		}
		defer listener.Close()                         //nolint:errcheck // only looked at
		ports[i] = listener.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // the network is tcp
	}
	return ports, nil
}
