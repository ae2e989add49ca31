package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// errStill is the cause by which a watchdog cancels a request.
var errStill = errors.New("the connection stood still")

// watchdog cancels a request that stands still: a limit on the whole would be wrong for a large document on a slow line,
// and none would wait for ever on a dead one.
type watchdog struct {
	idle   time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func watch(ctx context.Context, idle time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(idle, func() { cancel(errStill) })
	return ctx, &watchdog{idle: idle, timer: timer, cancel: cancel}
}

// watch again from now on: a byte went over the wire, or one is wanted.
func (w *watchdog) wake() { w.timer.Reset(w.idle) }

// rest while nobody waits for the server: whoever reads an answer may take its time between two reads.
func (w *watchdog) rest() { w.timer.Stop() }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// explain replaces the bare "context canceled" of a request that was cancelled for standing still.
func (w *watchdog) explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStill) {
		return fmt.Errorf("%w for %v", cause, w.idle)
	}
	return err
}

// guardedReader is the body of a request: each byte taken from it is one that was sent.
type guardedReader struct {
	io.Reader
	dog *watchdog
}

func (r *guardedReader) Read(p []byte) (int, error) {
	r.dog.wake()
	return r.Reader.Read(p)
}

// guardedBody is the body of an answer.
type guardedBody struct {
	io.Reader
	dog  *watchdog
	ctx  context.Context // the request's own, to tell why reading ended
	body io.Closer
}

func (b *guardedBody) Read(p []byte) (int, error) {
	b.dog.wake()
	n, err := b.Reader.Read(p)
	b.dog.rest()
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.dog.explain(b.ctx, err)
	}
	return n, err
}

// Close ends the request. What is left of a short body is read, so that the connection can be used again.
func (b *guardedBody) Close() error {
	_, err := io.CopyN(io.Discard, b, 16<<10)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	defer b.dog.stop()
	return errors.Join(err, b.body.Close())
}
