package local

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/klauspost/compress/zstd"

	"penstock/consumer"
	"penstock/schemas"
)

// How an item's event is stored: the first byte of its value.
const (
	itemPlain = 0
	itemZstd  = 1
)

// minCompress is the size in bytes below which compressing isn't worth its time.
const minCompress = 256

// maxItem is the largest event that an item may unpack to, with room to spare over MaxInlineBody and MaxAttributes; it
// bounds what a damaged item can make us allocate.
const maxItem = 4 << 20

// Index is the lookup table: one item per event id, beside the checkpoints of the sink that fills it.
type Index struct {
	store *Store
	enc   *zstd.Encoder
	dec   *zstd.Decoder

	mu     sync.Mutex
	shards map[string]*indexShard
}

var _ consumer.Index = (*Index)(nil)

// indexShard is the progress of one shard.
type indexShard struct {
	apply sync.Mutex // held for a whole Apply: checkpoints are compared and moved one at a time

	mu    sync.Mutex
	at    consumer.Checkpoint // durable, except that AsOf may be ahead
	moved chan struct{}       // closed at the next move; nil when nobody waits
}

func openIndex(s *Store) (*Index, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxItem))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("index: %w", err), enc.Close())
	}
	ix := &Index{store: s, enc: enc, dec: dec, shards: make(map[string]*indexShard)}
	err = s.scan(context.Background(), []byte{kindCheckpoint}, nil, func(key, value []byte) (bool, error) {
		c, err := decodeCheckpoint(value)
		if err != nil {
			return false, fmt.Errorf("checkpoint of %s: %w", key[1:], err)
		}
		if !c.AsOf.IsZero() {
			s.clock.raise(c.AsOf.UnixNano()) // nothing may arrive before a time that was given out as complete
		}
		ix.shards[string(key[1:])] = &indexShard{at: c}
		return true, nil
	})
	if err != nil {
		ix.close()
		return nil, fmt.Errorf("index: %w", err)
	}
	return ix, nil
}

// close frees the codecs; the encoder has written nothing that its Close could fail to write.
func (ix *Index) close() {
	ix.dec.Close()
	_ = ix.enc.Close()
}

// Apply implements consumer.Index: items and checkpoint in one batch. It is synced, since Trim relies on checkpoints,
// unless nothing but AsOf changes.
func (ix *Index) Apply(ctx context.Context, shard string, entries []consumer.Entry, to consumer.Checkpoint) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("index of %s: %w", shard, err)
	}
	if err := ix.store.enter(); err != nil {
		return err
	}
	defer ix.store.leave()
	sh := ix.shard(shard)
	sh.apply.Lock()
	defer sh.apply.Unlock()
	from := sh.checkpoint()
	next := later(from, to)
	batch, err := ix.batch(shard, entries, from, next)
	if err != nil {
		return fmt.Errorf("index of %s: %w", shard, err)
	}
	if batch.Empty() {
		return batch.Close()
	}
	opts := pebble.Sync
	if len(entries) == 0 && from.Position == next.Position && from.End == next.End {
		opts = pebble.NoSync
	}
	if err := ix.store.commit(batch, opts, false); err != nil {
		return fmt.Errorf("index of %s: %w", shard, err)
	}
	sh.move(next)
	return nil
}

func (ix *Index) batch(shard string, entries []consumer.Entry, from, to consumer.Checkpoint) (*pebble.Batch, error) {
	batch := ix.store.db.NewBatch()
	var value []byte
	for i := range entries {
		value = ix.appendItem(value[:0], entries[i].Encoded)
		if err := batch.Set(keyItem(entries[i].Event.ID), value, nil); err != nil {
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

// later is the checkpoint to store when from is stored and to is wanted.
func later(from, to consumer.Checkpoint) consumer.Checkpoint {
	switch c := to.Position.Compare(from.Position); {
	case c < 0:
		return from
	case c == 0:
		to.End = to.End || from.End
	}
	to.AsOf = to.AsOf.Round(0).UTC() // without the monotonic reading, which is not stored
	if from.AsOf.After(to.AsOf) {
		to.AsOf = from.AsOf
	}
	return to
}

// Checkpoint implements consumer.Index. What it returns is durable, but for AsOf.
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
	v, err := ix.store.get(keyItem(id))
	if err != nil {
		return schemas.Event{}, fmt.Errorf("event %s: %w", id, err)
	}
	if v == nil {
		return schemas.Event{}, fmt.Errorf("event %s: %w", id, consumer.ErrNotFound)
	}
	encoded, err := ix.decodeItem(v)
	if err != nil {
		return schemas.Event{}, fmt.Errorf("event %s: %w", id, err)
	}
	e, err := schemas.DecodeEvent(encoded)
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
		_, closer, err := ix.store.db.Get(keyItem(id))
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

// await returns nil when the shard's checkpoint is at or past p.
func (ix *Index) await(ctx context.Context, shard string, p schemas.Position) error {
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
		sh = &indexShard{}
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

func (ix *Index) appendItem(b, encoded []byte) []byte {
	if len(encoded) >= minCompress {
		if b = ix.enc.EncodeAll(encoded, append(b, itemZstd)); len(b) <= len(encoded) {
			return b
		}
		b = b[:0]
	}
	return append(append(b, itemPlain), encoded...)
}

// decodeItem may alias v.
func (ix *Index) decodeItem(v []byte) ([]byte, error) {
	if len(v) > 0 && v[0] == itemPlain {
		return v[1:], nil
	}
	if len(v) == 0 || v[0] != itemZstd {
		return nil, fmt.Errorf("item: %w", errCorrupt)
	}
	encoded, err := ix.dec.DecodeAll(v[1:], nil)
	if err != nil {
		return nil, fmt.Errorf("item: %w: %w", errCorrupt, err)
	}
	return encoded, nil
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
