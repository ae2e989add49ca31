package consumer

import (
	"context"
	"math/rand/v2"
	"time"
)

// Delays between attempts after an error: they double, with jitter so that shards and processes don't retry in step.
const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// backoff spaces the attempts of one loop. The zero value is ready.
type backoff struct{ next time.Duration }

// delay returns how long to wait before the next attempt.
func (b *backoff) delay() time.Duration {
	d := max(b.next, firstRetry)
	b.next = min(2*d, lastRetry)
	return d/2 + rand.N(d/2+1)
}

// reset is called after a success.
func (b *backoff) reset() { b.next = 0 }

// pause waits for d or until ctx ends, and reports whether ctx still goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
