package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Accept rests from firstRest to longestRest while the machine has no descriptor or memory for a connection.
const (
	firstRest   = 5 * time.Millisecond
	longestRest = time.Second
)

// listener hands out connections that it keeps track of: their number is bounded, each Write has a deadline of its own,
// and Shutdown can end what is left.
type listener struct {
	net.Listener
	cfg      Config
	logger   *slog.Logger
	refusal  []byte
	rejected atomic.Uint64
	closed   context.Context // ends with Close
	end      context.CancelFunc

	mu    sync.Mutex
	conns map[*conn]struct{}
	gone  chan struct{} // closed and replaced whenever a connection ends
}

func newListener(ln net.Listener, cfg Config, logger *slog.Logger) *listener {
	l := &listener{
		Listener: ln, cfg: cfg, logger: logger, refusal: refusedConnection(),
		conns: make(map[*conn]struct{}), gone: make(chan struct{}),
	}
	l.closed, l.end = context.WithCancel(context.Background())
	return l
}

// Accept refuses connections beyond Config.MaxConnections with a 503 of its own: behind them would be memory for
// buffers that nobody has bounded. fasthttp's refusal is neither a problem document nor does it say when to retry. It
// also ends the server on an error that will pass, which is waited for here instead.
func (l *listener) Accept() (net.Conn, error) {
	for pause := firstRest; ; {
		raw, err := l.Listener.Accept()
		switch {
		case err != nil && !passes(err):
			return nil, err
		case err != nil:
			l.rest(pause, err)
			pause = min(2*pause, longestRest)
			continue
		}
		if c := l.admit(raw); c != nil {
			return c, nil
		}
		l.turnAway(raw)
	}
}

// passes reports whether Accept may succeed again by itself. Errno.Temporary leaves out the lack of memory.
func passes(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary() ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// rest waits, but not beyond Close.
func (l *listener) rest(d time.Duration, cause error) {
	if d == firstRest { // the first of a series
		l.logger.Warn("connections can't be accepted; trying again", slog.Any("error", cause))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.closed.Done():
	}
}

// turnAway answers a connection that is not even read.
func (l *listener) turnAway(raw net.Conn) {
	l.rejected.Add(1)
	// A new socket has room for these few bytes; the deadline is for the kernel that thinks otherwise.
	if raw.SetWriteDeadline(time.Now().Add(100*time.Millisecond)) == nil {
		_, _ = raw.Write(l.refusal) // a client that is gone already has nobody to tell
	}
	_ = raw.Close()
}

// Close stops listening; the connections stay.
func (l *listener) Close() error {
	l.end()
	return l.Listener.Close()
}

func (l *listener) admit(raw net.Conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.cfg.MaxConnections {
		return nil
	}
	c := &conn{Conn: raw, owner: l}
	l.conns[c] = struct{}{}
	return c
}

func (l *listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.conns[c]; ok {
		delete(l.conns, c)
		close(l.gone)
		l.gone = make(chan struct{})
	}
}

// open is the number of connections.
func (l *listener) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// count is the number of connections that match.
func (l *listener) count(match func(*conn) bool) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if match(c) {
			n++
		}
	}
	return n
}

// abort closes the connections that match at once, without lingering.
func (l *listener) abort(match func(*conn) bool) {
	l.mu.Lock()
	var doomed []*conn
	for c := range l.conns {
		if match(c) {
			doomed = append(doomed, c)
		}
	}
	l.mu.Unlock()
	for _, c := range doomed {
		c.aborted.Store(true)
		_ = c.Conn.Close() // whoever serves it sees the error and closes it again
	}
}

// wait returns when no connection that matches is left, or ctx ends. Only of use once nothing is accepted any more.
func (l *listener) wait(ctx context.Context, match func(*conn) bool) error {
	for {
		l.mu.Lock()
		gone := l.gone
		l.mu.Unlock()
		left := l.count(match)
		if left == 0 {
			return nil
		}
		select {
		case <-gone:
		case <-ctx.Done():
			return fmt.Errorf("http: %d connections are still being served: %w", left, context.Cause(ctx))
		}
	}
}

// conn is one client connection.
type conn struct {
	net.Conn
	owner *listener
	// used: a byte has been read from it. ended: the client closed its side, or the connection broke, and the parser
	// asked for more than had arrived. linger: the answer left before the end of the request. aborted: Shutdown ran out
	// of patience.
	used, ended, linger, aborted atomic.Bool
	// socket: a WebSocket has it.
	socket atomic.Bool
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.used.Load() {
		c.used.Store(true)
	}
	if err != nil {
		c.ended.Store(true)
	}
	return n, err
}

// Write gives every piece of an answer its own deadline: an absolute one would either cut long downloads off or let a
// client that reads nothing stay for hours.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.owner.cfg.WriteTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close closes the connection. After an early answer it first sends FIN and discards what the client is still sending,
// within bounds: closing a socket with unread bytes makes the kernel send a reset, which may destroy the answer before
// the client has read it. Nothing of what is discarded is ever parsed.
func (c *conn) Close() error {
	if c.linger.Swap(false) && !c.aborted.Load() {
		c.discard()
	}
	err := c.Conn.Close()
	c.owner.forget(c)
	return err
}

func (c *conn) discard() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	deadline := time.Now().Add(c.owner.cfg.LingerTime)
	if err := c.SetReadDeadline(deadline); err != nil {
		return
	}
	// It ends by the client's FIN, the deadline or the limit; which of them is of no interest any more.
	_, _ = io.Copy(io.Discard, io.LimitReader(c.Conn, c.owner.cfg.LingerBytes))
}
