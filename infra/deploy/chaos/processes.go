package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// stopLimit is how long a process may take to end after SIGTERM: Penstock's own limit, twice, and some.
	stopLimit = 75 * time.Second
	// failedPause is before a process is started again that has ended by itself, as a supervisor would.
	failedPause = time.Second
)

// processNames are those of a deployment, two of each kind.
func processNames() []string {
	return []string{"ingest-0", "ingest-1", "index-0", "index-1", "lake-0", "lake-1"}
}

// kindOf a process by its name: ingest, or the sink of a consumer.
func kindOf(name string) string { kind, _, _ := strings.Cut(name, "-"); return kind }

func isFront(name string) bool { return kindOf(name) == "ingest" }

// process is one that is started again whenever it ends.
type process struct {
	name, binary string
	args, env    []string
	logs         string // the file that its output is added to

	mu      sync.Mutex
	cmd     *exec.Cmd
	ready   chan struct{} // closed when it has said that it is
	ended   chan struct{}
	url     string        // http://HOST:PORT; of a front end that is ready
	planned bool          // its end is our doing
	pause   time.Duration // until it is started again
	ends    []string      // how it ended, where that was not our doing
	starts  int
}

// argumentsOf a process by its name. Every first consumer has an owner's name that stays, as a container's host name does, and goes
// on with its leases after a restart; every second one is somebody new.
func argumentsOf(name string, d deployment) []string {
	args := []string{"--stream", d.stream, "--bucket", d.bucket, "--events-table", d.tables.Events, "--state-table", d.tables.State}
	kind, number, _ := strings.Cut(name, "-")
	if kind == "ingest" {
		return append([]string{"ingest", "--listen", "127.0.0.1:0"}, args...)
	}
	args = append([]string{"consumer", "--sink", kind, "--admin-listen", "127.0.0.1:0", "--database", d.database, "--flush-age", "1s"}, args...)
	if number == "0" {
		args = append(args, "--owner", name)
	}
	return args
}

func newProcess(name string, d deployment, binary, dir string, env []string) *process {
	return &process{
		name: name, binary: binary, args: argumentsOf(name, d), env: env, logs: filepath.Join(dir, name+".log"),
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
}

// supervise keeps it running until the context ends, and then stops it. An error is one of ours, or that it did not stop.
func (p *process) supervise(ctx context.Context) error {
	log, err := os.OpenFile(p.logs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	defer log.Close() //nolint:errcheck // the children wrote to their own copies
	for ctx.Err() == nil {
		if err := p.start(log); err != nil {
			return err
		}
		select {
		case <-p.ended:
		case <-ctx.Done():
			return p.stop(context.WithoutCancel(ctx), 0)
		}
		select {
		case <-time.After(p.pauseNow()):
		case <-ctx.Done():
		}
	}
	return nil
}

func (p *process) pauseNow() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pause
}

func (p *process) start(log *os.File) error {
	cmd := exec.Command(p.binary, p.args...) //nolint:noctx // it is ended by signals of several kinds
	cmd.Env, cmd.Stderr = p.env, log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.cmd, p.url, p.planned, p.pause = cmd, "", false, failedPause
	p.ready, p.ended = make(chan struct{}), make(chan struct{})
	p.starts++
	go p.attend(cmd, stdout, p.ready, p.ended)
	return nil
}

// attend reads what the process says until it ends. The line that names the stream, or the owner's, is among the last that it says
// when it is ready.
func (p *process) attend(cmd *exec.Cmd, stdout io.Reader, ready, ended chan struct{}) {
	said := false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 {
			continue
		}
		if fields[0] == "HTTP" {
			p.mu.Lock()
			p.url = fields[1]
			p.mu.Unlock()
		}
		if fields[0] == "stream" && !said {
			said = true
			close(ready)
		}
	}
	err := cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.url = ""
	if !p.planned {
		if err == nil {
			err = errors.New("exit status 0")
		}
		p.ends = append(p.ends, err.Error())
	}
	close(ended)
}

// address of a front end that is up; else empty.
func (p *process) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.url
}

// signal sends one to the process if it runs, and says whether it did. An end that is asked for is planned, and the process is
// started again after the pause.
func (p *process) signal(s syscall.Signal, pause time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.planned {
		return false
	}
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		select {
		case <-p.ended:
			return false
		default:
		}
		p.planned, p.pause = true, pause
	}
	return p.cmd.Process.Signal(s) == nil
}

// stop has it end in order, and kills it when it does not.
func (p *process) stop(ctx context.Context, pause time.Duration) error {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	p.signal(syscall.SIGCONT, 0)
	p.signal(syscall.SIGTERM, pause)
	late := time.NewTimer(stopLimit)
	defer late.Stop()
	select {
	case <-ended:
		return nil
	case <-late.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	_ = p.cmd.Process.Kill() // it may have ended by now
	p.mu.Unlock()
	<-ended
	return fmt.Errorf("%s did not end within %v of SIGTERM", p.name, stopLimit)
}

// awaitReady returns when it is ready, also after it was started again.
func (p *process) awaitReady(ctx context.Context) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		p.mu.Lock()
		ready, ended := p.ready, p.ended
		p.mu.Unlock()
		select {
		case <-ready:
			select {
			case <-ended:
			default:
				return nil
			}
		default:
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.name, context.Cause(ctx))
		}
	}
}

// history is how often it was started, and how it ended where that was not our doing.
func (p *process) history() (starts int, ends []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts, p.ends
}
