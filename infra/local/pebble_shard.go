package local

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"penstock/ingest"
)

// shard numbers the records of one range of hash keys and publishes them in order.
type shard struct {
	id     string
	number int
	hash   hashRange

	mu sync.Mutex
	// next and nextTotal are the number and the running total of bytes that the next write continues from.
	next      uint64
	nextTotal int64
	pending   []*span // taken and not yet published, by number
	// tip is the last published number, horizon the last trimmed one; with the running totals at them.
	tip, horizon           uint64
	tipTotal, horizonTotal int64
	wake                   chan struct{} // closed when the tip moves; nil when nobody waits
}

// span is what one write takes of one shard.
type span struct {
	shard       *shard
	write       *write
	first, last uint64 // sequence numbers
	totalBefore int64  // running total of bytes before first
	totalAfter  int64
	arrived     int64
	done        bool
}

// openShard finds out where the shard stands from its last record, or from its horizon when everything was trimmed.
func openShard(s *Store, number int, hash hashRange) (_ *shard, err error) {
	sh := &shard{id: fmt.Sprintf("shardId-%012d", number), number: number, hash: hash}
	v, err := s.get(keyHorizon(number))
	if err != nil {
		return nil, fmt.Errorf("horizon of %s: %w", sh.id, err)
	}
	if v != nil {
		f := fields{b: v}
		sh.horizon, sh.horizonTotal = f.uint(), f.int()
		if err := f.done(); err != nil {
			return nil, fmt.Errorf("horizon of %s: %w", sh.id, err)
		}
	}
	sh.tip, sh.tipTotal = sh.horizon, sh.horizonTotal
	it, err := s.db.NewIter(sh.bounds(sh.horizon+1, maxSequence))
	if err != nil {
		return nil, fmt.Errorf("tip of %s: %w", sh.id, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if it.Last() {
		h, err := readHeader(it)
		if err != nil {
			return nil, fmt.Errorf("tip of %s: %w", sh.id, err)
		}
		sh.tip, sh.tipTotal = h.sequence, h.total
		s.clock.raise(h.arrived)
	}
	sh.next, sh.nextTotal = sh.tip+1, sh.tipTotal
	return sh, nil
}

// maxSequence is one above the largest number that can be reached.
const maxSequence = 1<<64 - 1

// bounds are those of the records from first to before end.
func (sh *shard) bounds(first, end uint64) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: keyRecord(sh.number, first), UpperBound: keyRecord(sh.number, end)}
}

// take gives the records with the given indices the next numbers.
func (sh *shard) take(c *clock, w *write, records []ingest.Record, indices []int) *span {
	var size int64
	for _, i := range indices {
		size += recordSize(&records[i])
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sp := &span{
		shard: sh, write: w,
		first: sh.next, last: sh.next + uint64(len(indices)) - 1,
		totalBefore: sh.nextTotal, totalAfter: sh.nextTotal + size,
		// Read under the lock: times of a shard don't go back along its numbers.
		arrived: c.read(),
	}
	sh.next, sh.nextTotal = sp.last+1, sp.totalAfter
	sh.pending = append(sh.pending, sp)
	return sp
}

// done marks the span as durable and returns the spans that are thereby published.
func (sh *shard) done(sp *span) []*span {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sp.done = true
	n := 0
	for n < len(sh.pending) && sh.pending[n].done {
		n++
	}
	if n == 0 {
		return nil
	}
	published := sh.pending[:n:n]
	if sh.pending = sh.pending[n:]; len(sh.pending) == 0 {
		sh.pending = nil
	}
	last := published[n-1]
	sh.tip, sh.tipTotal = last.last, last.totalAfter
	if sh.wake != nil {
		close(sh.wake)
		sh.wake = nil
	}
	return published
}

// view is the state of a shard at one moment.
type view struct {
	tip, horizon           uint64
	tipTotal, horizonTotal int64
	// asOf: every record that arrived before it is at or before tip.
	asOf int64
}

func (sh *shard) view(c *clock) view {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.viewLocked(c)
}

func (sh *shard) viewLocked(c *clock) view {
	v := view{
		tip: sh.tip, tipTotal: sh.tipTotal,
		horizon: sh.horizon, horizonTotal: sh.horizonTotal,
		// Whatever takes a number after this moment has a later time, and what has one already is in pending.
		asOf: c.read(),
	}
	if len(sh.pending) > 0 {
		v.asOf = sh.pending[0].arrived
	}
	return v
}

// viewOrWait is view, and a channel that closes when the tip has moved beyond it.
func (sh *shard) viewOrWait(c *clock) (view, <-chan struct{}) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.wake == nil {
		sh.wake = make(chan struct{})
	}
	return sh.viewLocked(c), sh.wake
}

func (sh *shard) moveHorizon(sequence uint64, total int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.horizon, sh.horizonTotal = sequence, total
}
