package ingest

import (
	"fmt"
	"sync/atomic"
	"time"
)

// item is one encoded event in its lane. What changes is guarded by the lane's mutex, except that a flight reads encoded
// without it: while an item flies, encoded belongs to the flight.
type item struct {
	lane    *lane
	group   *group
	encoded []byte // owned by ingest; nil once settled
	size    int64  // what it takes of the budget

	arrival        uint64 // number in the lane
	previous, next *item  // in the queue
	state          itemState
	// doubtful says that an attempt was ambiguous: from then on nothing but a nil from the stream makes its fate known.
	doubtful bool
	// abandoned says that nobody waits any more: it is not retried.
	abandoned bool
	// reason is what the last attempt failed with, and once settled the outcome: nil means durable.
	reason error
}

type itemState uint8

const (
	queued itemState = iota
	flying
	settled
)

// settle gives the item its outcome. The lane's mutex is held; release follows once it is not.
func (it *item) settle(outcome error) {
	it.state, it.reason, it.encoded = settled, outcome, nil
}

// dropped is the outcome of an item that leaves without being durable, for the given cause.
func (it *item) dropped(cause error) error {
	class := ErrNotDurable
	if it.doubtful {
		class = ErrUnknownOutcome
	}
	if it.reason == nil {
		return fmt.Errorf("%w: %w before the stream could take it", class, cause)
	}
	return fmt.Errorf("%w: %w; the last attempt: %w", class, cause, it.reason)
}

// group is what one request waits for: the items it handed to lanes. It refers to nothing else of the request, since it
// may outlive it.
type group struct {
	items    []*item
	received time.Time
	pending  atomic.Int64
	done     chan struct{} // closed when every item is settled
}

// newGroup makes a group that is open for more items until seal.
func newGroup(received time.Time) *group {
	g := &group{received: received, done: make(chan struct{})}
	g.pending.Store(1)
	return g
}

// seal says that no more items will come.
func (g *group) seal() { g.settled(1) }

// settled counts down. The goroutine that takes the last one closes done.
func (g *group) settled(n int64) {
	if g.pending.Add(-n) == 0 {
		close(g.done)
	}
}

// durable reports whether every item is on the stream; only after done.
func (g *group) durable() bool {
	for _, it := range g.items {
		if it.reason != nil {
			return false
		}
	}
	return true
}
