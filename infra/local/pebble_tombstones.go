package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"penstock/consumer"
)

// Tombstones keeps one for each erased event, in the state, and all in memory too: about 200 bytes each.
type Tombstones struct {
	store *Store

	mu  sync.RWMutex
	all map[string]consumer.Tombstone
}

var _ consumer.Tombstones = (*Tombstones)(nil)

func keyTombstone(id string) []byte { return append([]byte{kindTombstone}, id...) }

func openTombstones(s *Store) (*Tombstones, error) {
	t := &Tombstones{store: s, all: make(map[string]consumer.Tombstone)}
	err := s.scan(context.Background(), []byte{kindTombstone}, nil, func(key, value []byte) (bool, error) {
		f := fields{b: value}
		one := consumer.Tombstone{ID: string(key[1:])}
		one.Received, one.Erased = timeOf(f.int()), timeOf(f.int())
		one.DataRef, one.Done = f.string(), f.bool()
		if err := f.done(); err != nil {
			return false, fmt.Errorf("tombstone of %s: %w", one.ID, err)
		}
		t.all[one.ID] = one
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Put implements consumer.Tombstones.
func (t *Tombstones) Put(ctx context.Context, one consumer.Tombstone) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("tombstone of %s: %w", one.ID, err)
	}
	if err := t.store.enter(); err != nil {
		return err
	}
	defer t.store.leave()
	value := appendInt(nil, one.Received.UnixNano())
	value = appendInt(value, one.Erased.UnixNano())
	value = appendString(value, one.DataRef)
	value = appendBool(value, one.Done)
	batch := t.store.db.NewBatch()
	if err := batch.Set(keyTombstone(one.ID), value, nil); err != nil {
		return fmt.Errorf("tombstone of %s: %w", one.ID, errors.Join(err, batch.Close()))
	}
	if err := t.store.commit(batch, pebble.Sync, true); err != nil {
		return fmt.Errorf("tombstone of %s: %w", one.ID, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all[one.ID] = one
	return nil
}

// Get implements consumer.Tombstones.
func (t *Tombstones) Get(_ context.Context, id string) (consumer.Tombstone, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	one, ok := t.all[id]
	if !ok {
		return one, fmt.Errorf("tombstone of %s: %w", id, consumer.ErrNotFound)
	}
	return one, nil
}

// Has implements consumer.Tombstones.
func (t *Tombstones) Has(id string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, ok := t.all[id]
	return ok
}

// Unfinished implements consumer.Tombstones.
func (t *Tombstones) Unfinished(context.Context) ([]consumer.Tombstone, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var open []consumer.Tombstone
	for _, one := range t.all {
		if !one.Done {
			open = append(open, one)
		}
	}
	slices.SortFunc(open, func(a, b consumer.Tombstone) int { return cmp.Compare(a.ID, b.ID) })
	return open, nil
}

// Remove takes the event out of the index. It is durable when it returns; that there is none is no error. Pebble's files
// hold the bytes until it has compacted them. When ctx ends first it may land later.
func (ix *Index) Remove(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("remove event %s from the index: %w", id, err)
	}
	err := ix.landed(ctx) // or an Apply whose caller has gone could bring the item back
	if err == nil {
		_, err = detach(ctx, ix.store, func() (struct{}, error) {
			batch := ix.store.items.NewBatch()
			if err := batch.Delete(keyItem(id), nil); err != nil {
				return struct{}{}, errors.Join(err, batch.Close())
			}
			return struct{}{}, ix.store.commitTo(ix.store.items, batch, pebble.NoSync, true)
		})
	}
	if err == nil {
		err = ix.keep(ctx)
	}
	if err != nil {
		return fmt.Errorf("remove event %s from the index: %w", id, err)
	}
	return nil
}

// Remove takes a body away. It is durable when it returns; that there is none is no error.
func (b *Bodies) Remove(ctx context.Context, ref string) error {
	path, err := b.path(ref)
	if errors.Is(err, consumer.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = b.fs.Remove(path)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) { // whoever has removed it already may have been cut before this
		err = syncDir(b.fs, b.fs.PathDir(path))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove body %s: %w", ref, err)
	}
	return nil
}
