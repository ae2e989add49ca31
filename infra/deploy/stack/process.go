package main

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// killAfter is how long a process may take to end by itself once it was asked to.
const killAfter = 3 * time.Second

// process is a child with a process group of its own: a Ctrl-C in the terminal reaches this program alone, and what the
// child has started is ended with it.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // how it ended; read after ended is closed
}

// startProcess starts a child that does not outlive this program, where the system can see to that (Linux).
func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(p.ended)
		// For Linux the parent is the thread that has started the child, so that this one must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-p.ended
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// hasEnded reports whether the process has ended, and err may be read.
func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stop ends the process and all of its group, and waits for it.
func (p *process) stop() {
	p.signal(syscall.SIGTERM)
	late := time.NewTimer(killAfter)
	defer late.Stop()
	select {
	case <-p.ended:
	case <-late.C:
	}
	p.signal(syscall.SIGKILL) // the group may be there when its leader is gone
	<-p.ended
}

func (p *process) signal(s syscall.Signal) {
	if err := syscall.Kill(-p.cmd.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		_ = p.cmd.Process.Signal(s) // the group is out of reach, and of the leader nothing better is known
	}
}
