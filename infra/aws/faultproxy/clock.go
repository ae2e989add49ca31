package faultproxy

import (
	"sync"
	"time"
)

// Clock is what delays and limits go by.
type Clock interface {
	Now() time.Time
	// After returns a channel on which the time is sent once d has passed.
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the machine's.
type SystemClock struct{}

// Now implements Clock.
func (SystemClock) Now() time.Time { return time.Now() }

// After implements Clock.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// ManualClock stands still until it is advanced, so that a test need not wait four minutes for a late request.
type ManualClock struct {
	mu      sync.Mutex
	now     time.Time
	waiting []waiter
}

type waiter struct {
	due time.Time
	to  chan time.Time
}

// NewManualClock starts at an arbitrary time.
func NewManualClock() *ManualClock { return &ManualClock{now: time.Unix(1_700_000_000, 0)} }

// Now implements Clock.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// After implements Clock.
func (c *ManualClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	to := make(chan time.Time, 1)
	if d <= 0 {
		to <- c.now
	} else {
		c.waiting = append(c.waiting, waiter{c.now.Add(d), to})
	}
	return to
}

// Waiting is how many wait for a time to come.
func (c *ManualClock) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// Advance lets d pass.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	var still []waiter
	for _, w := range c.waiting {
		if w.due.After(c.now) {
			still = append(still, w)
		} else {
			w.to <- c.now
		}
	}
	c.waiting = still
}
