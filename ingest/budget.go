package ingest

import (
	"context"
	"fmt"
	"sync"
)

// Budget bounds the bytes in flight of a whole process (invariant 5): request bodies as they are read, and encoded
// events until their flight has landed. The records of a flight are a second copy of its events and do not count; so
// what a process holds is about twice the limit at most.
type Budget struct {
	limit int64

	mu      sync.Mutex
	used    int64
	waiting claimant // head of a ring of those who wait, in order of arrival
}

// claimant is a Grow that waits for its bytes. granted is closed when it has them.
type claimant struct {
	bytes          int64
	granted        chan struct{}
	previous, next *claimant
}

func (c *claimant) remove() { c.previous.next, c.next.previous = c.next, c.previous }

// NewBudget makes a budget of limit bytes. A request waits at most as long as its context for bytes to come free.
func NewBudget(limit int64) *Budget {
	b := &Budget{limit: limit}
	b.waiting.previous, b.waiting.next = &b.waiting, &b.waiting
	return b
}

// enqueue puts a claimant at the end of the ring. b.mu is held.
func (b *Budget) enqueue(c *claimant) {
	c.previous, c.next = b.waiting.previous, &b.waiting
	c.previous.next, c.next.previous = c, c
}

// Hold opens an empty share of the budget with one reference.
func (b *Budget) Hold() *Hold { return &Hold{budget: b, references: 1} }

// Used is the number of bytes that are taken at present.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Limit is the size of the budget in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// take takes n bytes without waiting, ahead of everybody who waits: it serves requests that are already admitted, and
// only when those get on do the bytes come free that the others wait for.
func (b *Budget) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit-b.used < n {
		return false
	}
	b.used += n
	return true
}

// give returns n bytes and serves who waits.
func (b *Budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	b.serve()
}

// serve grants bytes in order of arrival, so that a small claimant can't starve a large one. b.mu is held.
func (b *Budget) serve() {
	for c := b.waiting.next; c != &b.waiting && b.limit-b.used >= c.bytes; c = b.waiting.next {
		b.used += c.bytes
		c.remove()
		close(c.granted)
	}
}

// await takes n bytes, in turn; false when ctx ended first.
func (b *Budget) await(ctx context.Context, n int64) bool {
	b.mu.Lock()
	if b.waiting.next == &b.waiting && b.limit-b.used >= n {
		b.used += n
		b.mu.Unlock()
		return true
	}
	if ctx.Err() != nil {
		b.mu.Unlock()
		return false
	}
	c := &claimant{bytes: n, granted: make(chan struct{})}
	b.enqueue(c)
	b.mu.Unlock()

	select {
	case <-c.granted:
		return true
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-c.granted: // in the same moment
		return true
	default:
	}
	c.remove()
	b.serve() // those behind it may need less
	return false
}

// Hold is a share of a Budget, counted by references: its bytes return to the budget with the last Release. It is safe
// for concurrent use.
type Hold struct {
	budget *Budget

	mu         sync.Mutex
	bytes      int64
	references int
}

// Grow adds n bytes to the share. It waits for them until ctx ends (a context that has ended means: don't wait) and then
// returns ErrOverloaded; the share is as before. A share can't grow beyond the whole budget. The caller has a reference.
func (h *Hold) Grow(ctx context.Context, n int64) error {
	if n <= 0 {
		return nil
	}
	h.mu.Lock()
	held := h.bytes
	h.mu.Unlock()
	if n > h.budget.limit-held {
		return fmt.Errorf("%w: a request of %d bytes does not fit the limit of %d", ErrOverloaded, held+n, h.budget.limit)
	}
	if !h.budget.await(ctx, n) {
		return fmt.Errorf("%w: %d bytes did not come free in time", ErrOverloaded, n)
	}
	h.mu.Lock()
	h.bytes += n
	h.mu.Unlock()
	return nil
}

// Shrink gives n bytes of the share back. The caller has a reference, and the share is at least that large.
func (h *Hold) Shrink(n int64) {
	h.mu.Lock()
	h.bytes -= n
	left := h.bytes
	h.mu.Unlock()
	if n < 0 || left < 0 {
		panic("ingest: a Hold was shrunk below nothing")
	}
	h.budget.give(n)
}

// Retain adds a reference.
func (h *Hold) Retain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.references++
}

// Release drops a reference; the last one gives the bytes back.
func (h *Hold) Release() {
	h.mu.Lock()
	h.references--
	left, bytes := h.references, h.bytes
	if left == 0 {
		h.bytes = 0
	}
	h.mu.Unlock()
	if left < 0 {
		panic("ingest: a Hold was released more often than it was retained")
	}
	if left == 0 {
		h.budget.give(bytes)
	}
}
