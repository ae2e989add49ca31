package consumer

import (
	"context"
	"fmt"
	"maps"
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
}

// NewWatermarks makes a Watermarks over the shards of source.
func NewWatermarks(source Source, index Checkpointer, lake Lake) *Watermarks {
	return &Watermarks{source: source, index: index, lake: lake}
}

// Index is a time, by the stream's clock, before which every event that arrived is in the index or its dead letters: an
// id made after it is probably on its way. It proves nothing of one made before, which may have come to the stream late.
// Shards read to their end don't count. It is zero while a shard has not been read to its tip yet.
func (w *Watermarks) Index(ctx context.Context) (time.Time, error) {
	shards, err := w.source.Shards(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("list shards: %w", err)
	}
	var through time.Time
	for _, shard := range shards {
		c, err := w.index.Checkpoint(ctx, shard.ID)
		if err != nil {
			return time.Time{}, fmt.Errorf("load index checkpoint of %s: %w", shard.ID, err)
		}
		switch {
		case c.End:
			continue
		case c.AsOf.IsZero():
			return time.Time{}, nil
		case through.IsZero() || c.AsOf.Before(through):
			through = c.AsOf
		}
	}
	return through, nil
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
