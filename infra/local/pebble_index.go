package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"penstock/consumer"
	"penstock/schemas"
)

// Index is the lookup table: one item per event id, beside the checkpoints of the sink that fills it. They lie in a database
// of their own that has no log, because the stream is one: what a crash takes back, from the end and with its checkpoint, is
// read again. Hence the stream must keep a record until keep has returned for it.
type Index struct {
	store   *Store
	waiting atomic.Int64 // callers of await
	keeping turn         // one flush at a time: while it hangs, another would only use up memtables

	mu     sync.Mutex
	shards map[string]*indexShard
}

var _ consumer.Index = (*Index)(nil)

// indexShard is the progress of one shard.
type indexShard struct {
	apply turn // held until a batch has landed: checkpoints are compared and moved one at a time

	mu    sync.Mutex
	at    consumer.Checkpoint
	kept  schemas.Position // what a crash can't take at behind
	moved chan struct{}    // closed at the next move; nil when nobody waits
}

func openIndex(s *Store) (*Index, error) {
	ix := &Index{store: s, keeping: newTurn(), shards: make(map[string]*indexShard)}
	err := scanIn(context.Background(), s.items, []byte{kindCheckpoint}, nil, func(key, value []byte) (bool, error) {
		c, err := decodeCheckpoint(value)
		if err != nil {
			return false, fmt.Errorf("checkpoint of %s: %w", key[1:], err)
		}
		if !c.AsOf.IsZero() {
			s.clock.raise(c.AsOf.UnixNano()) // nothing may arrive before a time that was given out as complete
		}
		ix.shards[string(key[1:])] = &indexShard{apply: newTurn(), at: c, kept: c.Position}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return ix, nil
}

// Apply implements consumer.Index: items and checkpoint in one batch. Pebble lets a write wait for a flush without regard to ctx,
// so when ctx ends first, the batch may land later.
func (ix *Index) Apply(ctx context.Context, shard string, entries []consumer.Entry, to consumer.Checkpoint) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("index of %s: %w", shard, err)
	}
	sh := ix.shard(shard)
	moved, err := detachInTurn(ctx, ix.store, sh.apply, func() (bool, error) {
		from := sh.checkpoint()
		next := from.Advance(to)
		batch, err := ix.batch(shard, entries, from, next)
		if err != nil {
			return false, err
		}
		if batch.Empty() {
			return false, batch.Close()
		}
		if err := ix.store.commitTo(ix.store.items, batch, pebble.NoSync, false); err != nil {
			return false, err
		}
		sh.move(next)
		return next.Position != from.Position, nil
	})
	if err == nil && len(entries) > 0 && !moved {
		err = ix.keep(ctx) // nobody would read these again
	}
	if err != nil {
		return fmt.Errorf("index of %s: %w", shard, err)
	}
	return nil
}

func (ix *Index) batch(shard string, entries []consumer.Entry, from, to consumer.Checkpoint) (*pebble.Batch, error) {
	const overhead = 64 // of key and batch for one item
	size := overhead
	for i := range entries {
		size += overhead + len(entries[i].Encoded)
	}
	batch := ix.store.items.NewBatchWithSize(size)
	for i := range entries {
		if err := batch.Set(keyItem(entries[i].Event.ID), entries[i].Encoded, nil); err != nil {
			return nil, errors.Join(err, batch.Close())
		}
	}
	if to != from {
		if err := batch.Set(keyCheckpoint(shard), appendCheckpoint(nil, to), nil); err != nil {
			return nil, errors.Join(err, batch.Close())
		}
	}
	return batch, nil
}

// keep returns once no crash can take back what was applied before the call. When ctx ends first the flush goes on, and counts
// once it is done. While flushes fail, which Pebble tries again without end, keep says so at once. The caller has not entered.
func (ix *Index) keep(ctx context.Context) error {
	err := ix.store.itemsHealth.err()
	if err == nil {
		_, err = detachInTurn(ctx, ix.store, ix.keeping, func() (struct{}, error) { return struct{}{}, ix.flush() })
	}
	if err != nil {
		return fmt.Errorf("flushing the index: %w", err)
	}
	return nil
}

// flush is keep without end, in its turn and entered. It gives up when the store fails or closes.
func (ix *Index) flush() error {
	applied := make(map[*indexShard]schemas.Position)
	ix.mu.Lock()
	for _, sh := range ix.shards {
		applied[sh] = sh.checkpoint().Position // which moves after its batch is applied
	}
	ix.mu.Unlock()
	flushed, err := ix.store.items.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
	case <-ix.store.Failed():
		return ix.store.Err()
	case <-ix.store.closing:
		return ErrClosed
	}
	for sh, at := range applied {
		sh.mu.Lock()
		sh.kept = at
		sh.mu.Unlock()
	}
	return nil
}

// kept is the sequence number behind which no crash can take the shard's checkpoint. It is maxSequence when that is so for all
// that was applied.
func (ix *Index) kept(shard string) (uint64, error) {
	sh := ix.shard(shard)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.kept == sh.at.Position {
		return maxSequence, nil
	}
	return parseSequence(sh.kept.Sequence)
}

// landed returns once nothing can land any more of the calls of Apply that have returned before.
func (ix *Index) landed(ctx context.Context) error {
	ix.mu.Lock()
	shards := slices.Collect(maps.Values(ix.shards))
	ix.mu.Unlock()
	for _, sh := range shards {
		if err := sh.apply.take(ctx); err != nil {
			return err
		}
		sh.apply.give()
	}
	return nil
}

// Checkpoint implements consumer.Index.
func (ix *Index) Checkpoint(ctx context.Context, shard string) (consumer.Checkpoint, error) {
	if err := ctx.Err(); err != nil {
		return consumer.Checkpoint{}, fmt.Errorf("checkpoint of %s: %w", shard, err)
	}
	ix.mu.Lock()
	sh := ix.shards[shard]
	ix.mu.Unlock()
	if sh == nil {
		return consumer.Checkpoint{}, nil
	}
	return sh.checkpoint(), nil
}

// Get implements consumer.Index.
func (ix *Index) Get(ctx context.Context, id string) (schemas.Event, error) {
	if err := ctx.Err(); err != nil {
		return schemas.Event{}, fmt.Errorf("event %s: %w", id, err)
	}
	if err := ix.store.enter(); err != nil {
		return schemas.Event{}, err
	}
	defer ix.store.leave()
	v, err := getFrom(ix.store.items, keyItem(id))
	if err != nil {
		return schemas.Event{}, fmt.Errorf("event %s: %w", id, err)
	}
	if v == nil {
		return schemas.Event{}, fmt.Errorf("event %s: %w", id, consumer.ErrNotFound)
	}
	e, err := schemas.DecodeEvent(v)
	if err != nil {
		return schemas.Event{}, fmt.Errorf("event %s: %w", id, err)
	}
	return e, nil
}

// has tells for each id whether there is an item.
func (ix *Index) has(ids []string) ([]bool, error) {
	if err := ix.store.enter(); err != nil {
		return nil, err
	}
	defer ix.store.leave()
	found := make([]bool, len(ids))
	for i, id := range ids {
		_, closer, err := ix.store.items.Get(keyItem(id))
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err == nil {
			err = closer.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", id, err)
		}
		found[i] = true
	}
	return found, nil
}

// Awaited reports whether somebody waits for the index to come further.
func (ix *Index) Awaited() bool { return ix.waiting.Load() > 0 }

// await returns nil when the shard's checkpoint is at or past p.
func (ix *Index) await(ctx context.Context, shard string, p schemas.Position) error {
	ix.waiting.Add(1)
	defer ix.waiting.Add(-1)
	sh := ix.shard(shard)
	for {
		at, moved := sh.checkpointOrWait()
		if at.Position.Compare(p) >= 0 {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-ix.store.Failed():
			return ix.store.Err()
		case <-ix.store.closing:
			return ErrClosed
		}
	}
}

func (ix *Index) shard(id string) *indexShard {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	sh := ix.shards[id]
	if sh == nil {
		sh = &indexShard{apply: newTurn()}
		ix.shards[id] = sh
	}
	return sh
}

func (sh *indexShard) checkpoint() consumer.Checkpoint {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.at
}

func (sh *indexShard) checkpointOrWait() (consumer.Checkpoint, <-chan struct{}) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.moved == nil {
		sh.moved = make(chan struct{})
	}
	return sh.at, sh.moved
}

func (sh *indexShard) move(to consumer.Checkpoint) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.at = to
	if sh.moved != nil {
		close(sh.moved)
		sh.moved = nil
	}
}

func appendCheckpoint(b []byte, c consumer.Checkpoint) []byte {
	b = appendString(b, c.Position.Sequence)
	b = appendUint(b, uint64(c.Position.Sub))
	b = appendBool(b, c.End)
	b = appendBool(b, !c.AsOf.IsZero())
	if !c.AsOf.IsZero() {
		b = appendInt(b, c.AsOf.UnixNano())
	}
	return b
}

func decodeCheckpoint(v []byte) (consumer.Checkpoint, error) {
	f := fields{b: v}
	c := consumer.Checkpoint{
		Position: schemas.Position{Sequence: f.string(), Sub: int(f.uint())},
		End:      f.bool(),
	}
	if f.bool() {
		c.AsOf = time.Unix(0, f.int()).UTC()
	}
	return c, f.done()
}
