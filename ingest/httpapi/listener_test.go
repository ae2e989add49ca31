package httpapi

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// shortOf is a listener that lacks something for a number of calls, and then has a connection each time.
type shortOf struct {
	net.Listener
	errno  syscall.Errno
	calls  int
	conn   net.Conn
	closed atomic.Bool
}

func (s *shortOf) Accept() (net.Conn, error) {
	if s.closed.Load() {
		return nil, net.ErrClosed
	}
	if s.calls--; s.calls >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", s.errno)}
	}
	return s.conn, nil
}

func (s *shortOf) Close() error {
	s.closed.Store(true)
	return nil
}

// A machine that is out of descriptors or memory for a while is waited for; anything else ends the server.
func TestAcceptRests(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		synctest.Test(t, func(t *testing.T) {
			own, other := net.Pipe()
			l := newListener(&shortOf{errno: errno, calls: 10, conn: own}, Defaults(), slog.New(slog.DiscardHandler))
			begun := time.Now()
			c, err := l.Accept()
			if err != nil {
				t.Fatalf("%v: %v", errno, err)
			}
			// 5, 10, … 640 ms and then 1 s each.
			if took := time.Since(begun); took != 1275*time.Millisecond+2*time.Second {
				t.Errorf("%v: rested for %v", errno, took)
			}
			if err := errors.Join(c.Close(), other.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	l := newListener(&shortOf{errno: syscall.EINVAL, calls: 1}, Defaults(), slog.New(slog.DiscardHandler))
	if _, err := l.Accept(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("an error that does not pass: %v", err)
	}
}

// Close does not wait for the end of a rest.
func TestAcceptRestsUntilClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newListener(&shortOf{errno: syscall.EMFILE, calls: 1000}, Defaults(), slog.New(slog.DiscardHandler))
		done := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			done <- err
		}()
		<-time.After(time.Minute)
		synctest.Wait()
		closed := time.Now()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, net.ErrClosed) || time.Since(closed) != 0 {
			t.Errorf("Accept ended %v after Close: %v", time.Since(closed), err)
		}
	})
}
