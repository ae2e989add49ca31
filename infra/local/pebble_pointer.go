package local

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Pointer is the lake's catalog: where the table's current metadata lies. It takes the place of Glue's table entry.
type Pointer struct {
	store *Store
	mu    sync.Mutex // over compare and synced set: nobody sees a pointer that a power cut could take back
}

// Load returns the location, "" when none was ever set.
func (p *Pointer) Load(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("reading the catalog pointer: %w", err)
	}
	if err := p.store.enter(); err != nil {
		return "", err
	}
	defer p.store.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	v, err := p.store.get(keyPointer())
	if err != nil {
		return "", fmt.Errorf("reading the catalog pointer: %w", err)
	}
	return string(v), nil
}

// Swap sets the location to next if it is old ("": if there is none), and reports whether it did; then next is durable.
// After an error the pointer may be either. Once begun it goes on when ctx ends, so that its outcome is known.
func (p *Pointer) Swap(ctx context.Context, old, next string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("swapping the catalog pointer: %w", err)
	}
	if err := p.store.enter(); err != nil {
		return false, err
	}
	defer p.store.leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	v, err := p.store.get(keyPointer())
	if err != nil {
		return false, fmt.Errorf("swapping the catalog pointer: %w", err)
	}
	if string(v) != old {
		return false, nil
	}
	batch := p.store.db.NewBatch()
	if err := batch.Set(keyPointer(), []byte(next), nil); err != nil {
		return false, fmt.Errorf("swapping the catalog pointer: %w", errors.Join(err, batch.Close()))
	}
	if err := p.store.commit(batch, pebble.Sync, false); err != nil {
		return false, fmt.Errorf("swapping the catalog pointer: %w", err)
	}
	return true, nil
}
