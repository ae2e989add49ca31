package local

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// sqlProcess is a worker, seen from the process that started it.
type sqlProcess struct {
	limits  workerLimits
	cmd     *exec.Cmd
	in      io.Closer
	jobs    *gob.Encoder
	out     *os.File
	answers *gob.Decoder
	stderr  firstBytes
	exited  chan struct{} // closed when the process has ended
}

// startSQLProcess starts a worker. It ends by itself when this process does.
func startSQLProcess(cmd *exec.Cmd, limits workerLimits) (*sqlProcess, error) {
	p := &sqlProcess{limits: limits, cmd: cmd, exited: make(chan struct{})}
	out, theirs, err := os.Pipe() // cmd's own pipe would be closed before all has been read
	if err != nil {
		return nil, fmt.Errorf("starting a process for SQL: %w", err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a process for SQL: %w", err), out.Close(), theirs.Close())
	}
	cmd.Stdout, cmd.Stderr = theirs, &p.stderr
	err = cmd.Start()
	_ = theirs.Close() // the worker has it now, or nobody needs it
	if err != nil {
		_ = out.Close() // nothing was read
		return nil, fmt.Errorf("starting a process for SQL: %w", err)
	}
	p.in, p.jobs, p.out, p.answers = in, gob.NewEncoder(in), out, gob.NewDecoder(out)
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(p.exited)
	}()
	if err := p.jobs.Encode(limits); err != nil {
		return nil, p.death()
	}
	return p, nil
}

// run does one job. After an error the process can't be used any more, and the caller must close it.
func (p *sqlProcess) run(ctx context.Context, job workerJob, result io.Writer) (end workerEnd, err error) {
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	if err := p.jobs.Encode(job); err != nil {
		return workerEnd{}, p.death()
	}
	for {
		var answer workerAnswer
		if err := p.answers.Decode(&answer); err != nil {
			return workerEnd{}, p.death()
		}
		if answer.End != nil {
			if !stop() {
				return workerEnd{}, context.Cause(ctx)
			}
			return *answer.End, nil
		}
		if _, err := result.Write(answer.CSV); err != nil {
			p.kill()
			return workerEnd{}, err
		}
	}
}

func (p *sqlProcess) kill() { _ = p.cmd.Process.Kill() } // it may have ended by itself

// close ends the process and waits for that.
func (p *sqlProcess) close() {
	p.kill()
	p.release()
}

// release waits for the process, which ends once it is told nothing more.
func (p *sqlProcess) release() {
	_ = p.in.Close() // with nothing left to write
	<-p.exited
	_ = p.out.Close() // all that matters has been read
}

var (
	// errOutOfMemory: a job took more memory than its process may have.
	errOutOfMemory = errors.New("out of memory")
	// errKilled: somebody else has ended the process, the kernel most likely, which ends it before others (newMemoryBound).
	errKilled = errors.New("the query was ended from outside, as when the machine runs out of memory; try again later")
)

// memoryWords are how a process says that an allocation failed, in C++, DuckDB and Go, and of a thread's stack.
var memoryWords = []string{"bad_alloc", "out of memory", "outofmemory", "cannot allocate memory", "pthread_create failed"}

// death is why a process ended in the middle of a job. It waits for that, and kills nobody, to learn the reason.
func (p *sqlProcess) death() error {
	p.release()
	state, said := p.cmd.ProcessState, string(p.stderr.kept)
	if lower := strings.ToLower(said); slices.ContainsFunc(memoryWords, func(words string) bool { return strings.Contains(lower, words) }) {
		return errOutOfMemory
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		return errKilled // unless by us, when ctx has ended
	}
	first, _, _ := strings.Cut(said, "\n") // what follows is a stack, if anything
	return fmt.Errorf("the process that ran SQL ended: %v: %s", state, first)
}

// firstBytes keeps the first bytes that are written.
type firstBytes struct{ kept []byte }

const maxFirstBytes = 4 << 10

func (f *firstBytes) Write(p []byte) (int, error) {
	f.kept = append(f.kept, p[:min(len(p), maxFirstBytes-len(f.kept))]...)
	return len(p), nil
}

// sqlProcesses starts workers and keeps one ready for the next run, since a start takes longer than many a query. Its methods
// but close are safe for concurrent use.
type sqlProcesses struct {
	start func() (*sqlProcess, error)

	mu    sync.Mutex
	ready *sqlProcess
}

// take gives the caller a process of its own.
func (s *sqlProcesses) take() (*sqlProcess, error) {
	s.mu.Lock()
	p := s.ready
	s.ready = nil
	s.mu.Unlock()
	if p == nil {
		return s.start()
	}
	select {
	case <-p.exited: // somebody ended it
		p.close()
		return s.start()
	default:
		return p, nil
	}
}

// putBack keeps a process that has nothing to do, or ends it.
func (s *sqlProcesses) putBack(p *sqlProcess) {
	s.mu.Lock()
	keep := s.ready == nil
	if keep {
		s.ready = p
	}
	s.mu.Unlock()
	if !keep {
		p.close()
	}
}

// close ends the process that is ready. No other method may run any more.
func (s *sqlProcesses) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready != nil {
		s.ready.close()
	}
}
