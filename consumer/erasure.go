package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"

	"penstock/schemas"
)

// Tombstone stands for an event that was erased, for good.
type Tombstone struct {
	ID string
	// Received is when the event was, or the second of it, and DataRef its body in object storage, if the index told of one.
	Received time.Time
	DataRef  string
	// Erased is when the erasure began, and Done says that it has come to its end.
	Erased time.Time
	Done   bool
}

// Tombstones keep them.
type Tombstones interface {
	// Put is durable when it returns, and Has sees it then. The same id again replaces what was there.
	Put(ctx context.Context, t Tombstone) error
	// Get returns one, or ErrNotFound.
	Get(ctx context.Context, id string) (Tombstone, error)
	// Has is asked for every event, and so it must be quick.
	Has(id string) bool
	// Unfinished lists those that are not Done.
	Unfinished(ctx context.Context) ([]Tombstone, error)
}

// Erasures keep erased events out of the index and the lake: whatever reads the stream again, requeues a dead letter or
// comes back after a crash finds the tombstone. A tombstone is put while nothing is being written, so what was under way
// before it has landed, and can be removed, and what comes after it is left out.
type Erasures struct {
	tombstones          Tombstones
	indexGate, lakeGate *semaphore.Weighted // a writer takes one of gateWidth, and a new tombstone all
}

// gateWidth is more than there are writers.
const gateWidth = 1 << 20

// NewErasures makes them. Index and Lake of the same Erasures must be what all writers use.
func NewErasures(tombstones Tombstones) *Erasures {
	return &Erasures{
		tombstones: tombstones, indexGate: semaphore.NewWeighted(gateWidth), lakeGate: semaphore.NewWeighted(gateWidth),
	}
}

func (e *Erasures) put(ctx context.Context, t Tombstone) error {
	for _, gate := range []*semaphore.Weighted{e.lakeGate, e.indexGate} {
		if err := gate.Acquire(ctx, gateWidth); err != nil {
			return fmt.Errorf("wait for what is being written: %w", err)
		}
		defer gate.Release(gateWidth)
	}
	return e.tombstones.Put(ctx, t)
}

// Index is an index without erased events.
func (e *Erasures) Index(index Index) Index { return &erasingIndex{index, e} }

type erasingIndex struct {
	Index
	erasures *Erasures
}

// Apply implements Index.
func (x *erasingIndex) Apply(ctx context.Context, shard string, entries []Entry, to Checkpoint) error {
	if err := x.erasures.indexGate.Acquire(ctx, 1); err != nil {
		return err
	}
	defer x.erasures.indexGate.Release(1)
	return x.Index.Apply(ctx, shard, without(entries, func(en *Entry) bool { return x.erasures.tombstones.Has(en.Event.ID) }), to)
}

// Get implements Index.
func (x *erasingIndex) Get(ctx context.Context, id string) (schemas.Event, error) {
	if x.erasures.tombstones.Has(id) {
		return schemas.Event{}, fmt.Errorf("event %s was erased: %w", id, ErrNotFound)
	}
	return x.Index.Get(ctx, id)
}

// Lake is a lake without erased events.
func (e *Erasures) Lake(lake Lake) Lake { return &erasingLake{lake, e} }

type erasingLake struct {
	Lake
	erasures *Erasures
}

// Append implements Lake.
func (l *erasingLake) Append(ctx context.Context, rows []Row, moves []Move) error {
	if err := l.erasures.lakeGate.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.erasures.lakeGate.Release(1)
	return l.Lake.Append(ctx, without(rows, func(r *Row) bool { return l.erasures.tombstones.Has(r.Event.ID) }), moves)
}

// without leaves out those that drop says yes to; the common case, none, copies nothing.
func without[T any](all []T, drop func(*T) bool) []T {
	for i := range all {
		if !drop(&all[i]) {
			continue
		}
		kept := append(make([]T, 0, len(all)), all[:i]...)
		for j := i + 1; j < len(all); j++ {
			if !drop(&all[j]) {
				kept = append(kept, all[j])
			}
		}
		return kept
	}
	return all
}

// ErasedFrom is where an Eraser removes events.
type ErasedFrom struct {
	Index interface {
		// Get returns the event by id, or ErrNotFound.
		Get(ctx context.Context, id string) (schemas.Event, error)
		// Remove is durable when it returns; that there is none is no error.
		Remove(ctx context.Context, id string) error
	}
	Bodies interface {
		// Ref is where ingest stores the body of event id, received on the day of the given time, if it stores one.
		Ref(id string, received time.Time) string
		// Remove is durable when it returns; that there is none is no error.
		Remove(ctx context.Context, ref string) error
	}
	Lake interface {
		Contains(ctx context.Context, id string, received time.Time) (bool, error)
		// Erase makes a version of the table without the event, which was received on the day of the given time or the next,
		// and returns once that is durable; that there is none is no error.
		Erase(ctx context.Context, id string, received time.Time) error
	}
}

// Flusher has what was acked flushed into the lake.
type Flusher interface {
	FlushThrough(ctx context.Context, tips map[string]string) error
}

// Eraser erases events.
type Eraser struct {
	erasures *Erasures
	from     ErasedFrom
	tips     Tips
	lake     Flusher
	now      func() time.Time
}

// NewEraser makes an Eraser; from must be without the Erasures' wrapping.
func NewEraser(erasures *Erasures, from ErasedFrom, tips Tips, lake Flusher, now func() time.Time) *Eraser {
	return &Eraser{erasures: erasures, from: from, tips: tips, lake: lake, now: now}
}

// Erased reports whether the event was erased.
func (e *Eraser) Erased(id string) bool { return e.erasures.tombstones.Has(id) }

// Erase removes the event from the index, the bodies and the lake's current version, for good. ErrNotFound: no event has
// this id, as far as the index and the lake have come, and nothing was changed. After any other error it may be erased in
// part; it is not to be read any more in either case, once its tombstone is there, and another Erase or Finish goes on.
// Erasing again what was erased changes nothing.
func (e *Eraser) Erase(ctx context.Context, id string) (Tombstone, error) {
	t, err := e.erasures.tombstones.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		if t, err = e.find(ctx, id); err == nil {
			err = e.erasures.put(ctx, t)
		}
	}
	if err != nil {
		return Tombstone{}, fmt.Errorf("erase event %s: %w", id, err)
	}
	if !t.Done {
		if err := e.finish(ctx, &t); err != nil {
			return t, fmt.Errorf("erase event %s: %w", id, err)
		}
	}
	return t, nil
}

// find makes the tombstone of an event that is somewhere.
func (e *Eraser) find(ctx context.Context, id string) (Tombstone, error) {
	made, err := schemas.IDTime(id)
	if err != nil {
		return Tombstone{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	event, err := e.from.Index.Get(ctx, id)
	switch {
	case err == nil:
		return Tombstone{ID: id, Received: event.ReceivedTime, DataRef: event.DataRef, Erased: e.now()}, nil
	case !errors.Is(err, ErrNotFound):
		return Tombstone{}, err
	}
	// What the index could not take, or has not come to, may be in the lake. An id is made of the second of the receipt.
	there, err := e.from.Lake.Contains(ctx, id, made)
	if err == nil && !there {
		err = ErrNotFound
	}
	return Tombstone{ID: id, Received: made, Erased: e.now()}, err
}

// finish does what is left to do, in an order that can be cut anywhere: once the lake is past the event nobody asks for its
// body any more.
func (e *Eraser) finish(ctx context.Context, t *Tombstone) error {
	tips, err := e.tips.Tips(ctx)
	if err != nil {
		return err
	}
	if err := e.lake.FlushThrough(ctx, tips); err != nil {
		return fmt.Errorf("wait for the lake to come past it: %w", err)
	}
	if err := e.from.Lake.Erase(ctx, t.ID, t.Received); err != nil {
		return err
	}
	ref := t.DataRef
	if ref == "" {
		// The lake does not tell of a body, and the index, which may be behind it, drops the event once it comes to it. So what
		// could be there is removed; mostly nothing is.
		ref = e.from.Bodies.Ref(t.ID, t.Received)
	}
	if err := e.from.Bodies.Remove(ctx, ref); err != nil {
		return err
	}
	if err := e.from.Index.Remove(ctx, t.ID); err != nil {
		return err
	}
	t.Done = true
	return e.erasures.tombstones.Put(ctx, *t)
}

// Finish goes on with erasures that a crash or an error has cut.
func (e *Eraser) Finish(ctx context.Context) error {
	unfinished, err := e.erasures.tombstones.Unfinished(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range unfinished {
		if err := e.finish(ctx, &t); err != nil {
			errs = append(errs, fmt.Errorf("erase event %s: %w", t.ID, err))
		}
	}
	return errors.Join(errs...)
}
