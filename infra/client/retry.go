package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Retry says how a request is tried again. The zero Retry tries once.
type Retry struct {
	// For is how long after the first try another one may begin.
	For time.Duration
	// Base and Max bound the pause, which doubles from Base with each try and is shortened by a random part of up to a
	// half, so that many clients don't come back together. 0 means 100 ms and 5 s. A longer Retry-After is waited for.
	Base, Max time.Duration
	// Waiting is told about every pause, by whichever goroutine makes it. It may be nil.
	Waiting func(err error, pause time.Duration)
}

// Transient reports whether the same request may succeed later: no answer, or one that says so.
func Transient(err error) bool {
	var transport *TransportError
	var problem *Problem
	switch {
	case err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &transport):
		return true
	case errors.As(err, &problem):
		return problem.Transient()
	}
	return false
}

// do calls try until it succeeds, fails for good, or time is up. ctx ends only the pauses: a try under way has its own
// context. The error is that of the last try.
func (r Retry) do(ctx context.Context, try func() error) (tries int, err error) {
	start := time.Now()
	pause, longest := r.Base, r.Max
	if pause <= 0 {
		pause = 100 * time.Millisecond
	}
	if longest <= 0 {
		longest = 5 * time.Second
	}
	for tries = 1; ; tries++ {
		if err = try(); err == nil || !Transient(err) {
			return tries, err
		}
		wait := pause - time.Duration(rand.Int64N(int64(pause)/2+1))
		var problem *Problem
		if errors.As(err, &problem) && problem.wait() > wait {
			wait = problem.wait() + time.Duration(rand.Int64N(int64(pause)/2+1))
		}
		if time.Since(start)+wait > r.For {
			return tries, err
		}
		if r.Waiting != nil {
			r.Waiting(err, wait)
		}
		if !sleep(ctx, wait) {
			return tries, err
		}
		pause = min(2*pause, longest)
	}
}

// sleep waits for d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
