package ingest

import (
	"sync"
	"time"
)

// gate counts what Drain has to wait for: calls of Accept, flights, uploads. Once closed it lets no call in, but what
// is inside may still bring in what it needs to end. It also knows how old the oldest event is that is still on its way.
type gate struct {
	now func() time.Time

	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{} // closed when the gate is closed and nothing is inside
	first  *visit        // of a list of all, in no order
}

// visit is the stay of somebody who may bring events to the stream.
type visit struct {
	since          time.Time // when the oldest of the events was received
	previous, next *visit
}

func newGate(now func() time.Time) *gate { return &gate{now: now, empty: make(chan struct{})} }

// enter lets a call in, whose events are received at v.since; false when the gate is closed. It is followed by leave.
func (g *gate) enter(v *visit) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	v.since = g.received()
	g.link(v)
	return true
}

// received is the present as events bear it. g.mu is held: so whoever has been told that all before a moment has come was
// told so before anything is received at that moment.
func (g *gate) received() time.Time { return g.now().UTC().Truncate(time.Microsecond) }

// join adds a goroutine on behalf of somebody who is inside. v is nil if it brings no event to the stream. It is followed
// by leave.
func (g *gate) join(v *visit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside++
	g.link(v)
}

func (g *gate) link(v *visit) {
	if v == nil {
		return
	}
	if v.next = g.first; v.next != nil {
		v.next.previous = v
	}
	g.first = v
}

func (g *gate) unlink(v *visit) {
	if v == nil {
		return
	}
	if v.next != nil {
		v.next.previous = v.previous
	}
	if v.previous != nil {
		v.previous.next = v.next
	} else {
		g.first = v.next
	}
}

// oldest is when the oldest event on its way was received, or the present.
func (g *gate) oldest() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	oldest := g.received()
	for v := g.first; v != nil; v = v.next {
		if v.since.Before(oldest) {
			oldest = v.since
		}
	}
	return oldest
}

func (g *gate) leave(v *visit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unlink(v)
	g.inside--
	if g.closed && g.inside == 0 {
		close(g.empty)
	}
}

// shut closes the gate, any number of times, and returns a channel that is closed once nothing is inside.
func (g *gate) shut() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		if g.inside == 0 {
			close(g.empty)
		}
	}
	return g.empty
}

// count is the number of calls and goroutines inside.
func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside
}
