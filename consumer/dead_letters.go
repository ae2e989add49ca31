package consumer

import (
	"context"
	"errors"
	"fmt"

	"penstock/schemas"
)

// Requeuer feeds dead letters to the sink they belong to again, and to no other: nothing is ever put back into the
// stream.
type Requeuer struct {
	index *IndexSink
	lake  *LakeSink
}

// NewRequeuer makes a Requeuer for both sinks.
func NewRequeuer(index *IndexSink, lake *LakeSink) *Requeuer {
	return &Requeuer{index: index, lake: lake}
}

// Requeue gives the dead letter at the place to its sink once more and then deletes it. The sink holds its events once,
// however often a requeue is interrupted, repeated, or run twice at a time. ErrNotFound: there is no such letter. A
// letter that the sink still can't take stays, and the error says why; an undecodable one matches schemas.ErrCorrupt.
func (r *Requeuer) Requeue(ctx context.Context, sink, shard string, at schemas.Position) error {
	switch sink {
	case IndexSinkName:
		return r.index.requeue(ctx, shard, at)
	case LakeSinkName:
		return r.lake.requeue(ctx, shard, at)
	default:
		return fmt.Errorf("sink %.40q: want %s or %s", sink, IndexSinkName, LakeSinkName)
	}
}

// letterOf makes the dead letter of an event that a sink can't take.
func letterOf(sink string, e Entry, reason error) DeadLetter {
	return DeadLetter{
		Sink: sink, Shard: e.Shard, Position: e.Position, Arrived: e.Arrived, Reason: reason.Error(), Raw: e.Encoded,
	}
}

// requeue applies the letter's events by id, which may be done any number of times, with the zero checkpoint, which
// moves nothing.
func (s *IndexSink) requeue(ctx context.Context, shard string, at schemas.Position) error {
	letter, err := s.letters.Get(ctx, IndexSinkName, shard, at)
	if err != nil {
		return fmt.Errorf("load dead letter %s %s: %w", shard, at, err)
	}
	entries, err := decodeLetter(letter)
	if err != nil {
		return err
	}
	if err := s.index.Apply(ctx, shard, entries, Checkpoint{}); err != nil {
		return fmt.Errorf("apply dead letter %s %s to the index: %w", shard, at, err)
	}
	return deleteLetter(ctx, s.letters, IndexSinkName, shard, at)
}

// requeue commits the letter's rows together with a marker among the table's offsets that names the letter. The marker
// is one per shard and stays: who requeues the next letter of the shard, or the same again after a crash, first deletes
// the letter that the marker names, and then moves the marker from there. So a letter's rows can't be committed twice:
// not after a crash between commit and deletion, and not by two at a time, of whom one is fenced.
//
// Nor can a letter's event come in by the stream as well. A letter is older than the commit that passes its place, so a
// flush that fails reads the event again, and what was wrong with it may be mended by then: its rows are appended only
// once the shard's offset is past it, and only if the table does not hold it by then.
func (s *LakeSink) requeue(ctx context.Context, shard string, at schemas.Position) error {
	for {
		err := s.requeueOnce(ctx, shard, at)
		if !errors.Is(err, ErrFenced) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (s *LakeSink) requeueOnce(ctx context.Context, shard string, at schemas.Position) error {
	offsets, err := s.lake.Offsets(ctx)
	if err != nil {
		return fmt.Errorf("load the lake's offsets: %w", err)
	}
	marker := offsets[requeuePrefix+shard]
	if !marker.Position.IsZero() {
		if err := deleteLetter(ctx, s.letters, LakeSinkName, shard, marker.Position); err != nil {
			return err
		}
	}
	letter, err := s.letters.Get(ctx, LakeSinkName, shard, at)
	if errors.Is(err, ErrNotFound) && marker.Position == at {
		return nil // an earlier requeue committed it
	}
	if err != nil {
		return fmt.Errorf("load dead letter %s %s: %w", shard, at, err)
	}
	entries, err := decodeLetter(letter)
	if err != nil {
		return err
	}
	if markOf(offsets, shard).at.Position.Compare(at) < 0 {
		if err := s.FlushThrough(ctx, map[string]string{shard: at.Sequence}); err != nil {
			return fmt.Errorf("wait for the lake to come past dead letter %s %s: %w", shard, at, err)
		}
	}
	if entries, err = s.absent(ctx, entries); err != nil {
		return err
	}
	move := Move{Shard: requeuePrefix + shard, From: marker, To: Checkpoint{Position: at}}
	if err := s.appendEntries(ctx, entries, move); err != nil {
		return fmt.Errorf("append dead letter %s %s to the lake: %w", shard, at, err)
	}
	return deleteLetter(ctx, s.letters, LakeSinkName, shard, at)
}

// absent are those of the entries that the table does not hold.
func (s *LakeSink) absent(ctx context.Context, entries []Entry) ([]Entry, error) {
	missing := entries[:0]
	for _, e := range entries {
		there, err := s.lake.Contains(ctx, e.Event.ID, e.Event.ReceivedTime)
		if err != nil {
			return nil, fmt.Errorf("look for event %s in the lake: %w", e.Event.ID, err)
		}
		if !there {
			missing = append(missing, e)
		}
	}
	return missing, nil
}

// deleteLetter deletes a letter that may be gone already.
func deleteLetter(ctx context.Context, letters DeadLetters, sink, shard string, at schemas.Position) error {
	if err := letters.Delete(ctx, sink, shard, at); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("delete dead letter %s %s: %w", shard, at, err)
	}
	return nil
}
