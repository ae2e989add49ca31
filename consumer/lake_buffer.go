package consumer

import (
	"time"
)

// lakeBuffer holds the rows of all shards between Deliver and their commit. It has no lock: the LakeSink's guards it.
type lakeBuffer struct {
	shards map[string]*lakeShard
	rows   int   // in shards, not in a flight
	bytes  int64 // likewise
}

// lakeShard is a shard between two marks: what the table holds and what was delivered. Rows are what lies in between
// and is not in a flight. It is replaced as a whole when the shard is resumed.
type lakeShard struct {
	id        string
	committed mark
	tail      mark
	flying    bool
	flown     mark // the tail at the last flight's start; what a flight in the air moves the offset to
	rows      []Row
	bytes     int64
	since     time.Time // when the oldest change that is not in a flight was delivered
	// Arrivals of the oldest events: among rows, and in the flight. Zero for none.
	arrived, flownArrived time.Time
}

// flight is one flush on its way.
type flight struct {
	shards []*lakeShard
	rows   []Row
	moves  []Move
	bytes  int64
	done   chan struct{}
}

// base is the mark that a new flight of the shard would start from.
func (st *lakeShard) base() mark {
	if st.flying {
		return st.flown
	}
	return st.committed
}

// asOfCommit is by how much newer an AsOf is that is worth a commit by itself: the table's must stay within the time for which
// a stream keeps records, a day at least, or else a shard in which nothing arrives could not be gone on with; see Page.Kept.
const asOfCommit = time.Hour

// dirty reports whether something was delivered that is neither committed nor in a flight. An AsOf that is only a little newer is
// not worth a commit, nor is one of a shard that has not given a record yet.
func (st *lakeShard) dirty() bool {
	from, to := st.base().at, st.tail.at
	return !from.SamePlace(to) || !to.End && !to.Position.IsZero() && to.AsOf.Sub(from.AsOf) >= asOfCommit
}

// pending is when the oldest event arrived that is not in the table; zero for none.
func (st *lakeShard) pending() time.Time {
	if !st.flownArrived.IsZero() {
		return st.flownArrived
	}
	return st.arrived
}

// begin puts a shard in place that goes on from m, and returns the bytes that the rows of one there took up.
func (b *lakeBuffer) begin(shard string, m mark) int64 {
	forgotten := b.forget(shard)
	b.shards[shard] = &lakeShard{id: shard, committed: m, tail: m}
	return forgotten
}

// forget drops a shard and returns the bytes its rows took up.
func (b *lakeBuffer) forget(shard string) int64 {
	st := b.shards[shard]
	if st == nil {
		return 0
	}
	delete(b.shards, shard)
	b.rows -= len(st.rows)
	b.bytes -= st.bytes
	return st.bytes
}

// add appends the rows of a piece, which takes the shard to its mark.
func (b *lakeBuffer) add(st *lakeShard, rows []Row, bytes int64, p piece, now time.Time) {
	if !st.dirty() {
		st.since = now
	}
	if st.arrived.IsZero() && len(p.entries) > 0 {
		st.arrived = p.entries[0].Arrived
	}
	st.tail = p.to
	st.rows = append(st.rows, rows...)
	st.bytes += bytes
	b.rows += len(rows)
	b.bytes += bytes
}

// oldest is when the oldest change was delivered; false when there is none.
func (b *lakeBuffer) oldest() (since time.Time, ok bool) {
	for _, st := range b.shards {
		if st.dirty() && (!ok || st.since.Before(since)) {
			since, ok = st.since, true
		}
	}
	return since, ok
}

// ending reports whether a shard's end was delivered. Its children wait for that commit.
func (b *lakeBuffer) ending() bool {
	for _, st := range b.shards {
		if st.dirty() && st.tail.at.End {
			return true
		}
	}
	return false
}

// take moves everything that waits into a flight; nil when nothing does.
func (b *lakeBuffer) take(landed time.Time) *flight {
	fl := &flight{rows: make([]Row, 0, b.rows), bytes: b.bytes, done: make(chan struct{})}
	for _, st := range b.shards {
		if !st.dirty() {
			continue
		}
		fl.shards = append(fl.shards, st)
		fl.moves = append(fl.moves, st.committed.moves(st.id, st.tail)...)
		fl.rows = append(fl.rows, st.rows...)
		st.rows, st.bytes, st.flown, st.flying = nil, 0, st.tail, true
		st.arrived, st.flownArrived = time.Time{}, st.arrived
	}
	if len(fl.shards) == 0 {
		return nil
	}
	for i := range fl.rows {
		fl.rows[i].Landed = landed
	}
	b.rows, b.bytes = 0, 0
	return fl
}

// holds reports whether the table holds everything up to the given sequence numbers.
func (b *lakeBuffer) holds(tips map[string]string) bool {
	return b.reached(tips, func(st *lakeShard) mark { return st.committed })
}

// delivered reports whether everything up to the given sequence numbers is here, so that a flush would commit it.
func (b *lakeBuffer) delivered(tips map[string]string) bool {
	return b.reached(tips, func(st *lakeShard) mark { return st.tail })
}

func (b *lakeBuffer) reached(tips map[string]string, place func(*lakeShard) mark) bool {
	for shard, tip := range tips {
		if tip == "" {
			continue // nothing was ever written to it
		}
		if st := b.shards[shard]; st == nil || !place(st).reaches(tip) {
			return false
		}
	}
	return true
}
