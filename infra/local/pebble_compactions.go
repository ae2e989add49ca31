package local

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// compactions is Pebble's scheduler of compactions, which lets none begin before the store is open. Replaying the log ends
// with a flush, a flush calls for compactions, and pebble.Open waits for those that have begun: after a spike they take
// seconds, on a busy machine more, and nobody is served meanwhile.
type compactions struct {
	// Pebble's own. Of its constructors this is the one that is exported; it lacks what looks every 100 ms whether more
	// compactions may run at once than before. Flushes bring that about, and here it is looked for after each.
	*pebble.ConcurrencyLimitScheduler

	allowed      atomic.Bool
	flushed      chan struct{}
	closed, done chan struct{}
}

var _ pebble.CompactionScheduler = (*compactions)(nil)

func newCompactions() *compactions {
	return &compactions{
		ConcurrencyLimitScheduler: pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest(),
		flushed:                   make(chan struct{}, 1), closed: make(chan struct{}), done: make(chan struct{}),
	}
}

// TrySchedule implements pebble.CompactionScheduler. Pebble remembers what it refuses, and asks for it to be granted later.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !c.allowed.Load() {
		return false, nil
	}
	return c.ConcurrencyLimitScheduler.TrySchedule()
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler: Pebble calls it after a flush, with a lock held
// that granting takes.
func (c *compactions) UpdateGetAllowedWithoutPermission() {
	select {
	case c.flushed <- struct{}{}:
	default: // it is to be looked for already
	}
}

// Unregister implements pebble.CompactionScheduler: Pebble calls it when it is closed.
func (c *compactions) Unregister() {
	c.ConcurrencyLimitScheduler.Unregister()
	close(c.closed)
	if c.allowed.Load() {
		<-c.done
	}
}

// allow lets compactions begin, those first that wait. To be called once, when Pebble is open.
func (c *compactions) allow() {
	c.allowed.Store(true)
	go func() {
		defer close(c.done)
		for {
			c.grant()
			select {
			case <-c.flushed:
			case <-c.closed:
				return
			}
		}
	}()
}

// grant has the compactions that wait begin as far as the limit allows. That is what the end of another does.
func (c *compactions) grant() {
	if ok, handle := c.TrySchedule(); ok {
		handle.Done()
	}
}
