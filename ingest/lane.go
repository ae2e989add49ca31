package ingest

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"penstock/schemas"
)

const (
	// firstPause and longestPause bound the wait after a flight that was throttled or ambiguous. With a deadline of 2 s
	// (invariant 4) an event has about six attempts.
	firstPause   = 20 * time.Millisecond
	longestPause = 500 * time.Millisecond
)

// lane carries events to the shard of its hash key. It flushes at once while it has a free request slot and gathers while it has none,
// so it needs no timer and, when idle, no goroutine.
//
// All its records bear one hash key, which never changes, and an item never changes its lane. So an event whose fate is
// unknown keeps its hash key for every later attempt, whatever becomes of the shards meanwhile: a copy that landed and
// one that comes later share one lineage of shards, in which a consumer finds the double.
type lane struct {
	hashKey  schemas.HashKey
	stream   Stream
	budget   *Budget
	counters *counters
	gate     *gate
	ctx      context.Context // ends when Drain runs out of time: nothing is sent any more
	overhead int             // bytes of an aggregate without its events

	bytes atomic.Int64 // of items that are placed and not settled

	mu       sync.Mutex
	queue    queue
	arrivals uint64
	free     int  // request slots
	paused   bool // one flight's goroutine waits; nobody flies
	strikes  int  // flights in a row that stored nothing and may be retried
}

// add puts items at the end of the queue.
func (l *lane) add(items ...*item) {
	l.mu.Lock()
	for _, it := range items {
		l.arrivals++
		it.arrival = l.arrivals
		l.queue.append(it)
	}
	failed := l.dispatch()
	l.mu.Unlock()
	l.release(failed)
}

// dispatch starts flights while there are a free slot and events. After Drain ran out of time it settles the queue
// instead and returns it for release. l.mu is held.
func (l *lane) dispatch() (failed []*item) {
	if l.ctx.Err() != nil {
		for it := l.queue.first; it != nil; it = l.queue.first {
			l.queue.remove(it)
			it.settle(it.dropped(ErrDraining))
			failed = append(failed, it)
		}
		return failed
	}
	for l.free > 0 && !l.paused && l.queue.events > 0 {
		l.free--
		f := l.load()
		l.gate.join(&f.visit)
		go l.fly(f)
	}
	return nil
}

// giveUp says that nobody waits for the item any more, and returns its outcome or what is known of it: an item that is
// queued leaves, one in flight goes on.
func (l *lane) giveUp(it *item, cause error) error {
	l.mu.Lock()
	switch it.state {
	case settled:
		defer l.mu.Unlock()
		return it.reason
	case flying:
		defer l.mu.Unlock()
		it.abandoned = true
		return unknown(cause)
	}
	l.queue.remove(it)
	outcome := it.dropped(cause)
	it.settle(outcome)
	l.mu.Unlock()
	l.release([]*item{it})
	return outcome
}

// release returns what settled items took, and then wakes who waits for them.
func (l *lane) release(items []*item) {
	if len(items) == 0 {
		return
	}
	var bytes int64
	for _, it := range items {
		bytes += it.size
	}
	l.bytes.Add(-bytes)
	l.counters.queuedBytes.Add(-bytes)
	l.counters.queuedEvents.Add(-int64(len(items)))
	l.budget.give(bytes)
	for _, it := range items {
		it.group.settled(1)
	}
}

// rest keeps the lane from flying for a while after a flight that was throttled or ambiguous.
func (l *lane) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
	l.mu.Lock()
	l.paused = false
	failed := l.dispatch()
	l.mu.Unlock()
	l.release(failed)
}

// pause is how long to rest: twice as long after every flight in a row that got nothing through, and never the same for
// two writers that were throttled in one moment. l.mu is held.
func (l *lane) pause() time.Duration {
	d := longestPause
	if doublings := l.strikes - 1; doublings < 8 {
		d = min(d, firstPause<<max(doublings, 0))
	}
	return d/2 + rand.N(d/2)
}
