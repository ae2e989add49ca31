package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// IndexSinkName is the index sink's name in leases and dead letters.
const IndexSinkName = "index"

// ErrRefused is matched by an error of Index.Apply when the index can never store one of the entries, however often it
// is tried. It may still have stored others, but has not moved the checkpoint.
var ErrRefused = errors.New("index refuses the event for good")

// asOfEvery is how often a checkpoint that has only a newer AsOf is written down. The newest is kept in memory, so an
// idle shard does not cost a synced write a second.
const asOfEvery = 5 * time.Second

// IndexSink writes events into the lookup table, page by page, without holding any back: an event can be looked up as
// soon as its page is applied.
type IndexSink struct {
	index   Index
	letters DeadLetters
	log     *slog.Logger

	mu sync.Mutex
	at map[string]indexed
}

var _ Sink = (*IndexSink)(nil)

// indexed is a shard's progress as this process knows it.
type indexed struct {
	newest  Checkpoint // as stored, AsOf perhaps newer
	written time.Time  // when the stored one was written
}

// NewIndexSink makes the sink that feeds index.
func NewIndexSink(index Index, letters DeadLetters, log *slog.Logger) *IndexSink {
	return &IndexSink{index: index, letters: letters, log: log, at: map[string]indexed{}}
}

// Name is IndexSinkName.
func (s *IndexSink) Name() string { return IndexSinkName }

// Resume returns the stored checkpoint. It always stands at the end of a record, as those given to Deliver do.
func (s *IndexSink) Resume(ctx context.Context, shard string) (Start, error) {
	c, err := s.Checkpoint(ctx, shard)
	if err != nil {
		return Start{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.at[shard]
	known.newest = c
	s.at[shard] = known
	return Start{From: c, After: c.Position.Sequence}, nil
}

// Checkpoint is the index's checkpoint of the shard, with the newest AsOf that this process knows for it.
func (s *IndexSink) Checkpoint(ctx context.Context, shard string) (Checkpoint, error) {
	stored, err := s.index.Checkpoint(ctx, shard)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("load index checkpoint of %s: %w", shard, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// What arrived before our AsOf is at or before our position, which the stored one has not fallen behind.
	if known := s.at[shard].newest; known.AsOf.After(stored.AsOf) && known.Position.Compare(stored.Position) <= 0 {
		stored.AsOf = known.AsOf
	}
	return stored, nil
}

// Durable implements Sink: nothing is ever pending.
func (s *IndexSink) Durable(shard string) (Durable, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.at[shard]
	return Durable{At: known.newest}, ok
}

// Deliver applies the batch; it is visible when Deliver returns, except for an AsOf that comes alone, and as safe as
// Index.Apply makes it.
func (s *IndexSink) Deliver(ctx context.Context, b Batch) error {
	s.mu.Lock()
	known := s.at[b.Shard]
	s.mu.Unlock()
	if len(b.Entries) > 0 || !b.From.SamePlace(b.To) || time.Since(known.written) >= asOfEvery {
		if err := s.apply(ctx, b.Shard, b.Entries, b.To); err != nil {
			return fmt.Errorf("apply %d events to the index: %w", len(b.Entries), err)
		}
		known.written = time.Now()
	}
	known.newest = b.To
	s.mu.Lock()
	s.at[b.Shard] = known
	s.mu.Unlock()
	return nil
}

// Leave forgets the shard; nothing of it is buffered.
func (s *IndexSink) Leave(_ context.Context, shard string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.at, shard)
}

// apply stores the entries and then moves the checkpoint. When the index refuses one for good it is searched by halves
// and put in the dead letters, and the others are stored.
func (s *IndexSink) apply(ctx context.Context, shard string, entries []Entry, to Checkpoint) error {
	err := s.index.Apply(ctx, shard, entries, to)
	if !errors.Is(err, ErrRefused) || len(entries) == 0 {
		return err
	}
	if len(entries) == 1 {
		if err := s.bury(ctx, entries[0], err); err != nil {
			return err
		}
		return s.index.Apply(ctx, shard, nil, to)
	}
	half := len(entries) / 2
	// The zero checkpoint is behind every other, so the first half moves nothing.
	if err := s.apply(ctx, shard, entries[:half], Checkpoint{}); err != nil {
		return err
	}
	return s.apply(ctx, shard, entries[half:], to)
}

func (s *IndexSink) bury(ctx context.Context, e Entry, reason error) error {
	if err := s.letters.Put(ctx, letterOf(IndexSinkName, e, reason)); err != nil {
		return fmt.Errorf("store dead letter %s: %w", e.Position, err)
	}
	s.log.Error("event is in the dead letters", "shard", e.Shard, "position", e.Position.String(),
		"id", e.Event.ID, "reason", reason)
	return nil
}

// Run returns when ctx ends: nothing is buffered.
func (s *IndexSink) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
