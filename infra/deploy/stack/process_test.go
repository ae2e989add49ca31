package main

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startShell runs a script, and returns its process and the lines it says.
func startShell(t *testing.T, script string) (*process, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p, bufio.NewScanner(stdout)
}

// A process is ended with what it has started, also when it does not want to.
func TestStopEndsTheGroup(t *testing.T) {
	t.Parallel()
	p, lines := startShell(t, `trap '' TERM; sh -c "trap '' TERM; while :; do sleep 1; done" & echo $!; while :; do sleep 1; done`)
	if !lines.Scan() {
		t.Fatal("the script says nothing")
	}
	grandchild, err := strconv.Atoi(lines.Text())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(grandchild, 0); err != nil {
		t.Fatalf("the grandchild does not run: %v", err)
	}
	p.stop()
	lines.Scan() // until the last that could write is gone
	if err := syscall.Kill(grandchild, 0); err == nil && !isZombie(t, grandchild) {
		t.Error("the grandchild runs still")
	}
}

// isZombie reports whether the process has ended, and nobody has asked how.
func isZombie(t *testing.T, pid int) bool {
	t.Helper()
	state, err := exec.CommandContext(t.Context(), "ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || strings.HasPrefix(string(state), "Z")
}

// A command's end ends the waiting, and so do a peer's end, as an error, and the context's, as none.
func TestWaitFor(t *testing.T) {
	t.Parallel()
	forever, _ := startShell(t, "while :; do sleep 1; done")
	peerOf := func(p *process) *runningPeer {
		return &runningPeer{peer: peer{name: "kinesis"}, process: p, log: t.Name()}
	}
	s := &stack{running: []*runningPeer{peerOf(forever)}}
	failing, _ := startShell(t, "exit 7")
	var ended *exec.ExitError
	if err := s.waitFor(t.Context(), failing); !errors.As(err, &ended) || ended.ExitCode() != 7 {
		t.Errorf("a command that fails: %v", err)
	}
	done, stop := context.WithCancel(t.Context())
	stop()
	if err := s.wait(done); err != nil {
		t.Errorf("the end of the context: %v", err)
	}
	dead := &stack{running: []*runningPeer{peerOf(failing)}}
	if err := dead.waitFor(t.Context(), forever); err == nil || !strings.Contains(err.Error(), "kinesis has ended: exit status 7") {
		t.Errorf("a peer that ends: %v", err)
	}
}

// A port that is in use is an error before anything is started on it: what answers there would be taken for the peer.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // only held
	port := taken.Addr().(*net.TCPAddr).Port
	p := peer{name: "glue", ports: 1, command: func(string, string, [2]int) *exec.Cmd {
		t.Error("it is started")
		return exec.Command("true")
	}}
	if _, err := p.startOn(t.Context(), site{dir: t.TempDir()}, [2]int{port}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v, want %v", err, syscall.EADDRINUSE)
	}
}

// A peer that ends before it serves is told with the end of its log.
func TestPeerThatFails(t *testing.T) {
	t.Parallel()
	p := peer{name: "glue", ports: 1, health: "/", command: func(string, string, [2]int) *exec.Cmd {
		return exec.Command("sh", "-c", "echo no module named moto; exit 1")
	}}
	_, err := p.startAnywhere(t.Context(), site{dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "no module named moto") {
		t.Errorf("%v", err)
	}
}

func TestExported(t *testing.T) {
	t.Parallel()
	got, err := exec.CommandContext(t.Context(), "sh", "-c", exported([]string{"A=it's", "B=$A `c`"})+`printf %s "$A|$B"`).Output()
	if err != nil || string(got) != "it's|$A `c`" {
		t.Errorf("a shell reads %q, %v", got, err)
	}
}

// A context that ends stops the waiting for a peer at once.
func TestAwaitHealthEndsWithItsContext(t *testing.T) {
	t.Parallel()
	silent, _ := startShell(t, "while :; do sleep 1; done")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	r := &runningPeer{peer: peer{health: "/"}, process: silent, port: 1}
	if err := r.awaitHealth(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
