package consumer

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"
)

// Checkpointer tells how far a sink durably is in a shard. Every Index is one, and *IndexSink, which also knows the
// newest AsOf of the shards that its process works on.
type Checkpointer interface {
	Checkpoint(ctx context.Context, shard string) (Checkpoint, error)
}

// Watermarks answers what both sinks have come past.
type Watermarks struct {
	source Source
	index  Checkpointer
	lake   Lake

	mu    sync.Mutex
	known []Shard // as listed last
}

// NewWatermarks makes a Watermarks over the shards of source.
func NewWatermarks(source Source, index Checkpointer, lake Lake) *Watermarks {
	return &Watermarks{source: source, index: index, lake: lake}
}

// Index is a time, by the stream's clock, before which every event that arrived is in the index or its dead letters: an
// id made after it is probably on its way. It proves nothing of one made before, which may have come to the stream late.
// Shards read to their end don't count. It is zero while a shard has not been read to its tip yet.
//
// A list of shards that is older than the checkpoints would claim too much: a shard that was split meanwhile has been read to
// its end and counts no more, and its children, in which events have arrived since, are not in the list. So the checkpoints are
// read by the list of last time, and the shards are listed after that: a shard that comes later than the list has no event that
// is older than any of the AsOfs, and one that is new in the list is read too, and the shards are listed again.
func (w *Watermarks) Index(ctx context.Context) (time.Time, error) {
	w.mu.Lock()
	shards := w.known
	w.mu.Unlock()
	checkpoints := make(map[string]Checkpoint, len(shards))
	for {
		for _, shard := range shards {
			if _, ok := checkpoints[shard.ID]; ok {
				continue
			}
			c, err := w.index.Checkpoint(ctx, shard.ID)
			if err != nil {
				return time.Time{}, fmt.Errorf("load index checkpoint of %s: %w", shard.ID, err)
			}
			checkpoints[shard.ID] = c
		}
		var err error
		if shards, err = w.source.Shards(ctx); err != nil {
			return time.Time{}, fmt.Errorf("list shards: %w", err)
		}
		w.mu.Lock()
		w.known = shards
		w.mu.Unlock()
		if through, complete := oldestAsOf(shards, checkpoints); complete {
			return through, nil
		}
	}
}

// oldestAsOf of those shards that are not read to their end; zero when one has none, or all are. Not complete: a shard has no
// checkpoint here.
func oldestAsOf(shards []Shard, checkpoints map[string]Checkpoint) (through time.Time, complete bool) {
	unread := false
	for _, shard := range shards {
		c, ok := checkpoints[shard.ID]
		switch {
		case !ok:
			return time.Time{}, false
		case c.End:
		case c.AsOf.IsZero():
			unread = true
		case through.IsZero() || c.AsOf.Before(through):
			through = c.AsOf
		}
	}
	if unread {
		return time.Time{}, true
	}
	return through, true
}

// Held is, for each listed shard, the sequence number up to which, inclusive, a sink holds every record as a whole. A shard
// of which it holds nothing yet is left out.
type Held struct {
	Sink    string
	Through map[string]string
}

// Held tells how far each sink has come.
func (w *Watermarks) Held(ctx context.Context) ([]Held, error) {
	shards, err := w.source.Shards(ctx)
	if err != nil {
		return nil, fmt.Errorf("list shards: %w", err)
	}
	offsets, err := w.lake.Offsets(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the lake's offsets: %w", err)
	}
	index, lake := make(map[string]string, len(shards)), make(map[string]string, len(shards))
	for _, shard := range shards {
		c, err := w.index.Checkpoint(ctx, shard.ID)
		if err != nil {
			return nil, fmt.Errorf("load index checkpoint of %s: %w", shard.ID, err)
		}
		if c.Position.Sequence != "" {
			index[shard.ID] = c.Position.Sequence
		}
		if through := markOf(offsets, shard.ID).whole(); through != "" {
			lake[shard.ID] = through
		}
	}
	return []Held{{IndexSinkName, index}, {LakeSinkName, lake}}, nil
}

// SafeToTrim gives for each listed shard the sequence number up to which, inclusive, both sinks hold every record
// as a whole (invariant 6). A shard of which one of them holds nothing yet is left out: nothing of it may be trimmed.
func (w *Watermarks) SafeToTrim(ctx context.Context) (map[string]string, error) {
	sinks, err := w.Held(ctx)
	if err != nil {
		return nil, err
	}
	safe := maps.Clone(sinks[0].Through)
	for _, sink := range sinks[1:] {
		for shard, slowest := range safe {
			through, ok := sink.Through[shard]
			switch {
			case !ok:
				delete(safe, shard)
			case compareSequences(through, slowest) < 0:
				safe[shard] = through
			}
		}
	}
	return safe, nil
}
