package main

import (
	"maps"
	"slices"
	"sync"
)

// book is what clients remember: every document that was sent, and every id that was acked.
type book struct {
	mu     sync.Mutex
	posted map[string]posted // by marker
	counts counts
}

// counts of requests, and of documents where it says so.
type counts struct {
	Posted     int // documents
	Acked      int // documents
	Requests   int
	Refused    map[int]int `json:",omitempty"` // answers that were no ack, by status
	Unanswered int
	Repeated   int // requests that bore a key that was sent before
	Replayed   int // of those: answered as `Idempotency-Replayed`
}

func newBook() *book {
	return &book{posted: map[string]posted{}, counts: counts{Refused: map[int]int{}}}
}

// send notes a document before it is sent for the first time.
func (b *book) send(d document) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, again := b.posted[d.Marker]; !again {
		b.posted[d.Marker] = posted{Sum: d.sum()}
		b.counts.Posted++
	}
}

// ack notes that the document was told an id.
func (b *book) ack(marker, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.posted[marker]
	if len(p.Acked) == 0 {
		b.counts.Acked++
	}
	if !slices.Contains(p.Acked, id) {
		p.Acked = append(p.Acked, id)
	}
	b.posted[marker] = p
}

func (b *book) count(add func(c *counts)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	add(&b.counts)
}

func (b *book) totals() counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.counts
	c.Refused = maps.Clone(c.Refused)
	return c
}

func (b *book) all() map[string]posted {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.posted)
}
