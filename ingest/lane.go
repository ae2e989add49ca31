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

// lane carries events to the shard of its hash key. It flushes as soon as it has a free request slot and gets a call, and
// gathers until then; when idle it needs no goroutine.
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
	calls    *calls
	ctx      context.Context // ends when Drain runs out of time: nothing is sent any more
	overhead int             // bytes of an aggregate without its events
	most     int             // bytes that it puts in one flight

	bytes   atomic.Int64 // of items that are placed and not settled
	waiting atomic.Int64 // of those, the bytes that are not in the air
	ready   atomic.Bool  // it has a free slot and is not paused; set by dispatch

	mu       sync.Mutex
	queue    queue
	arrivals uint64
	free     int  // request slots
	paused   bool // a goroutine rests on its behalf; nothing flies
	strikes  int  // flights in a row that stored nothing and may be retried

	inLine bool // for a call; guarded by calls.mu
}

// place counts an item that is going to be added.
func (l *lane) place(size int64) {
	l.bytes.Add(size)
	l.waiting.Add(size)
}

// gathers reports whether one more event would share a record with others that wait for nothing but a free call, or that are
// just being placed.
func (l *lane) gathers() bool {
	waiting := l.waiting.Load()
	return waiting > 0 && waiting < schemas.MaxAggregateBytes && l.ready.Load()
}

// add puts items at the end of the queue.
func (l *lane) add(items ...*item) {
	l.mu.Lock()
	for _, it := range items {
		l.arrivals++
		it.arrival = l.arrivals
		l.queue.append(it)
	}
	l.calls.waiting.Add(int64(len(items)))
	failed := l.dispatch()
	l.mu.Unlock()
	l.release(failed)
}

// dispatch starts flights while there are a free slot, a free call and events. After Drain ran out of time it settles the
// queue instead and returns it for release. l.mu is held.
func (l *lane) dispatch() (failed []*item) {
	if l.ctx.Err() != nil {
		return l.drop()
	}
	for l.canFly() && l.calls.take(l) {
		f := &flight{}
		l.load(f)
		go f.fly()
	}
	l.ready.Store(l.free > 0 && !l.paused)
	return nil
}

// canFly: there is something to send, and no other call is needed before. l.mu is held.
func (l *lane) canFly() bool { return l.free > 0 && !l.paused && l.queue.events > 0 }

// drop settles the queue. l.mu is held.
func (l *lane) drop() (failed []*item) {
	for it := l.queue.first; it != nil; it = l.queue.first {
		l.dequeue(it)
		it.settle(it.dropped(ErrDraining))
		failed = append(failed, it)
	}
	return failed
}

// board has the lane load into a flight that takes off for everybody who stood in line for a call. If it has more than fits,
// it stands in line again.
func (l *lane) board(f *flight) {
	l.mu.Lock()
	var failed []*item
	if l.ctx.Err() != nil {
		failed = l.drop()
	} else if l.canFly() {
		l.load(f)
		failed = l.dispatch()
	}
	l.mu.Unlock()
	l.release(failed)
}

// dequeue takes an item out of the queue. l.mu is held.
func (l *lane) dequeue(it *item) {
	l.queue.remove(it)
	l.waiting.Add(-it.size)
	l.calls.waiting.Add(-1)
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
	l.dequeue(it)
	outcome := it.dropped(cause)
	it.settle(outcome)
	l.mu.Unlock()
	l.release([]*item{it})
	return outcome
}

// putBack returns items that have to fly again to their places. l.mu is held.
func (l *lane) putBack(items []*item) {
	for _, it := range items {
		l.waiting.Add(it.size)
	}
	l.calls.waiting.Add(int64(len(items)))
	l.queue.putBack(items)
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
