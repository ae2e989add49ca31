package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// LakeSinkName is the lake sink's name in leases and dead letters.
const LakeSinkName = "lake"

// LakeConfig shapes a LakeSink. All fields are required; the caller validates them.
type LakeConfig struct {
	// FlushBytes is the size of the buffered rows from which they are flushed.
	FlushBytes int64
	// MaxBytes bounds all rows in memory, those being fetched and those in a running flush included. Twice FlushBytes
	// or more, so that one buffer fills while the other is written. A single larger row is let in alone.
	MaxBytes int64
	// FlushAge is how long a row waits at most, while commits succeed; up to maxStretch times that while many workers'
	// commits get into each other's way.
	FlushAge time.Duration
	// QueryInterval is the least time between two flushes on behalf of waiting queries.
	QueryInterval time.Duration
	// FinalFlush is how long a shutdown waits for the running and the last flush. What is not in by then is read again
	// from the stream later.
	FinalFlush time.Duration
	// Fetches is how many bodies are read from object storage at once.
	Fetches int
	// Settle is the longest that an event may be on its way from its receipt to its shard.
	Settle time.Duration
	Log    *slog.Logger
}

// LakeSink gathers the rows of all shards and commits them, together with the shards' offsets, to the table that SQL
// reads. It is exactly-once without trusting leases: a flush counts only if the table's offsets are still those that its
// rows follow on, and after any error the shards of that flush are read again from the table's offsets.
type LakeSink struct {
	cfg     LakeConfig
	lake    Lake
	letters DeadLetters
	maker   rowMaker
	room    *semaphore.Weighted // of MaxBytes

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change of what follows
	buffer  lakeBuffer
	flight  *flight
	queries map[*map[string]string]struct{} // tips that callers of FlushThrough wait for
	waiting int                             // Delivers that wait for room
	coming  int                             // Delivers that have room, and whose rows are being fetched
	// reached is, per shard, a time before which everything that arrived is known to be in the table. It only grows.
	reached map[string]time.Time
	stats   LakeStats

	// The flusher's own.
	retry     backoff
	stretch   stretch
	notBefore time.Time // of the next flush, after a failed one
	lastQuery time.Time // start of the last flush on behalf of a query
}

var _ Sink = (*LakeSink)(nil)

// NewLakeSink makes the sink that feeds lake.
func NewLakeSink(cfg LakeConfig, lake Lake, bodies Bodies, letters DeadLetters) *LakeSink {
	return &LakeSink{
		cfg: cfg, lake: lake, letters: letters,
		maker:   rowMaker{bodies: bodies, fetches: semaphore.NewWeighted(int64(cfg.Fetches))},
		room:    semaphore.NewWeighted(cfg.MaxBytes),
		changed: make(chan struct{}),
		buffer:  lakeBuffer{shards: map[string]*lakeShard{}},
		queries: map[*map[string]string]struct{}{},
		reached: map[string]time.Time{},
	}
}

// Name is LakeSinkName.
func (s *LakeSink) Name() string { return LakeSinkName }

// Resume forgets what is buffered of the shard, waits for a flush that is on its way with rows of it, and returns the
// table's offset.
func (s *LakeSink) Resume(ctx context.Context, shard string) (Start, error) {
	if s.Leave(ctx, shard); ctx.Err() != nil {
		return Start{}, ctx.Err()
	}
	offsets, err := s.lake.Offsets(ctx)
	if err != nil {
		return Start{}, fmt.Errorf("load the lake's offsets: %w", err)
	}
	m := markOf(offsets, shard)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(s.buffer.begin(shard, m))
	s.reach(shard, m.at.AsOf)
	s.announce()
	return Start{From: m.at, After: m.whole()}, nil
}

// Leave forgets what is buffered of the shard, and waits for a flush that is on its way with rows of it: its successor would
// refuse it, or be refused.
func (s *LakeSink) Leave(ctx context.Context, shard string) {
	s.mu.Lock()
	s.release(s.buffer.forget(shard))
	s.announce()
	fl := s.flight
	s.mu.Unlock()
	if fl != nil && fl.carries(shard) {
		select {
		case <-fl.done:
		case <-ctx.Done():
		}
	}
}

// Checkpoint is the table's offset.
func (s *LakeSink) Checkpoint(ctx context.Context, shard string) (Checkpoint, error) {
	offsets, err := s.lake.Offsets(ctx)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("load the lake's offsets: %w", err)
	}
	return offsets[shard], nil
}

// Durable implements Sink.
func (s *LakeSink) Durable(shard string) (Durable, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.buffer.shards[shard]
	if st == nil {
		return Durable{}, false
	}
	d := Durable{At: st.committed.at, Pending: st.pending()}
	if reached := s.reached[shard]; reached.After(d.At.AsOf) {
		d.At.AsOf = reached
	}
	return d, true
}

// Deliver puts the batch into the buffer, bodies included.
func (s *LakeSink) Deliver(ctx context.Context, b Batch) error {
	s.mu.Lock()
	st := s.buffer.shards[b.Shard]
	if st == nil || !st.tail.at.SamePlace(b.From) {
		s.mu.Unlock()
		return ErrRewound
	}
	pieces := cutBatch(b, st.tail, s.cfg.FlushBytes)
	s.mu.Unlock()
	for _, p := range pieces {
		if err := s.deliver(ctx, st, p); err != nil {
			return err
		}
	}
	if b.To.End {
		return s.awaitCommit(ctx, st)
	}
	return nil
}

// deliver makes room for a piece, makes its rows, and adds them to the buffer.
func (s *LakeSink) deliver(ctx context.Context, st *lakeShard, p piece) error {
	bytes, err := s.acquire(ctx, p.bytes)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.coming++
	s.mu.Unlock()
	rows, err := s.rows(ctx, p.entries)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming--
	if err == nil && s.buffer.shards[st.id] != st {
		err = ErrRewound
	}
	if err != nil {
		s.release(bytes)
	} else {
		s.buffer.add(st, rows, bytes, p, time.Now())
		s.settle(st)
	}
	s.announce()
	return err
}

// acquire reserves room for rows, first come first served. While it waits, the flusher makes some.
func (s *LakeSink) acquire(ctx context.Context, rows int64) (bytes int64, err error) {
	bytes = min(rows, s.cfg.MaxBytes)
	if bytes > 0 && !s.room.TryAcquire(bytes) {
		s.wait(+1)
		err = s.room.Acquire(ctx, bytes)
		s.wait(-1)
		if err != nil {
			return 0, fmt.Errorf("wait for room in the buffer: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.BufferedBytes += bytes
	return bytes, nil
}

// wait counts those who wait for room, and lets the flusher know.
func (s *LakeSink) wait(change int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting += change
	s.announce()
}

// release gives room back. The lock is held.
func (s *LakeSink) release(bytes int64) {
	s.stats.BufferedBytes -= bytes
	s.room.Release(bytes)
}

// rows makes the rows of the entries. Those with an unusable body are in the dead letters, durably, when it returns.
func (s *LakeSink) rows(ctx context.Context, entries []Entry) ([]Row, error) {
	rows, refused, err := s.maker.rows(ctx, entries)
	if err != nil {
		return nil, err
	}
	good := rows[:0]
	for i, reason := range refused {
		if reason == nil {
			good = append(good, rows[i])
			continue
		}
		e := entries[i]
		if err := s.letters.Put(ctx, letterOf(LakeSinkName, e, reason)); err != nil {
			return nil, fmt.Errorf("store dead letter %s: %w", e.Position, err)
		}
		s.cfg.Log.Error("event is in the dead letters", "sink", LakeSinkName, "shard", e.Shard,
			"position", e.Position.String(), "id", e.Event.ID, "reason", reason)
	}
	return good, nil
}

// awaitCommit waits until everything delivered of the shard is in the table.
func (s *LakeSink) awaitCommit(ctx context.Context, st *lakeShard) error {
	return s.await(ctx, func() (bool, error) {
		if s.buffer.shards[st.id] != st {
			return false, ErrRewound
		}
		return st.committed.at.SamePlace(st.tail.at), nil
	})
}

// FlushThrough waits until the table holds everything up to the given sequence number of each shard, and has that
// flushed as soon as it is read. Callers that wait at the same time share flushes.
func (s *LakeSink) FlushThrough(ctx context.Context, tips map[string]string) error {
	s.mu.Lock()
	s.queries[&tips] = struct{}{}
	s.announce()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.queries, &tips)
	}()
	return s.await(ctx, func() (bool, error) { return s.buffer.holds(tips), nil })
}

// Awaited reports whether somebody waits in FlushThrough.
func (s *LakeSink) Awaited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queries) > 0
}

// Holds reports whether the table is known to hold everything up to the given sequence number of each shard.
func (s *LakeSink) Holds(tips map[string]string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.holds(tips)
}

// CompleteThrough is the time before which everything that was received is known to be in the table, when all that was
// received before asked was in the shards up to the given tips; at most asked, and zero while nothing is known of a shard.
func (s *LakeSink) CompleteThrough(tips map[string]string, asked time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	through := asked
	for shard, tip := range tips {
		if s.buffer.holds(map[string]string{shard: tip}) {
			continue
		}
		reached := s.reached[shard]
		if !reached.IsZero() {
			reached = reached.Add(-s.cfg.Settle) // what had arrived at the shard was received before
		}
		if reached.Before(through) {
			through = reached
		}
	}
	return through
}

// Stats reads counters and gauges.
func (s *LakeSink) Stats() LakeStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.BufferedRows = s.buffer.rows
	if s.flight != nil {
		stats.BufferedRows += len(s.flight.rows)
	}
	return stats
}

// await waits, with the lock held while it asks, until done says so, or an error, or ctx ends.
func (s *LakeSink) await(ctx context.Context, done func() (bool, error)) error {
	for {
		s.mu.Lock()
		ok, err := done()
		changed := s.changed
		s.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// announce wakes everybody who waits for a change. The lock is held.
func (s *LakeSink) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// settle takes note of the newest AsOf of a shard that has nothing waiting. The lock is held.
func (s *LakeSink) settle(st *lakeShard) {
	if st.committed.at.SamePlace(st.tail.at) {
		s.reach(st.id, st.tail.at.AsOf)
	}
}

// reach moves the time up to which a shard is in the table. The lock is held.
func (s *LakeSink) reach(shard string, asOf time.Time) {
	if asOf.After(s.reached[shard]) {
		s.reached[shard] = asOf
	}
}

// carries reports whether the flight moves the shard's offset.
func (fl *flight) carries(shard string) bool {
	for _, st := range fl.shards {
		if st.id == shard {
			return true
		}
	}
	return false
}

// appendEntries commits the rows of a few entries apart from the buffer, with a move of their own. Unlike a flush it
// fails when a body is unusable.
func (s *LakeSink) appendEntries(ctx context.Context, entries []Entry, move Move) error {
	var size int64
	for i := range entries {
		size += rowBytes(&entries[i])
	}
	if len(entries) > 1 && size > s.cfg.MaxBytes {
		return fmt.Errorf("%d bytes of rows are more than the %d that may be held", size, s.cfg.MaxBytes)
	}
	bytes, err := s.acquire(ctx, size)
	if err != nil {
		return err
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.release(bytes)
	}()
	rows, refused, err := s.maker.rows(ctx, entries)
	if err := errors.Join(append(refused, err)...); err != nil {
		return err
	}
	landed := time.Now().UTC().Truncate(time.Microsecond)
	for i := range rows {
		rows[i].Landed = landed
	}
	return s.lake.Append(ctx, rows, []Move{move})
}
