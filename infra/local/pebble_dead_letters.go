package local

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"penstock/consumer"
	"penstock/schemas"
)

// DeadLetters keeps dead letters under keys that sort by sink, shard and position.
type DeadLetters struct {
	store *Store
	mu    sync.Mutex // held over looking and the synced write: the first letter of a place stays, and who finds it has it for good
}

var _ consumer.DeadLetters = (*DeadLetters)(nil)

func keyDeadLetter(sink, shard string, p schemas.Position) ([]byte, error) {
	key, err := prefixNames(kindDeadLetter, sink, shard)
	if err != nil {
		return nil, err
	}
	if len(p.Sequence) > 255 {
		return nil, fmt.Errorf("sequence number has %d digits: %w", len(p.Sequence), errKey)
	}
	return appendPosition(key, p), nil
}

// Put implements consumer.DeadLetters. The first letter of a place stays.
func (d *DeadLetters) Put(ctx context.Context, letter consumer.DeadLetter) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("dead letter of %s: %w", letter.Sink, err)
	}
	key, err := keyDeadLetter(letter.Sink, letter.Shard, letter.Position)
	if err != nil {
		return fmt.Errorf("dead letter of %s: %w", letter.Sink, err)
	}
	if err := d.store.enter(); err != nil {
		return err
	}
	defer d.store.leave()
	d.mu.Lock() // always after entering
	defer d.mu.Unlock()
	stored, err := d.store.get(key)
	if err != nil {
		return fmt.Errorf("dead letter of %s: %w", letter.Sink, err)
	}
	if stored != nil {
		// It is durable, unless its write has failed, and the store with that: then it is only seen.
		if err := d.store.health.fatalErr(); err != nil {
			return fmt.Errorf("dead letter of %s: %w", letter.Sink, err)
		}
		return nil
	}
	value := appendInt(nil, letter.Arrived.UnixNano())
	value = appendString(value, letter.Reason)
	value = appendString(value, letter.Raw)
	batch := d.store.db.NewBatch()
	if err := batch.Set(key, value, nil); err != nil {
		return fmt.Errorf("dead letter of %s: %w", letter.Sink, errors.Join(err, batch.Close()))
	}
	if err := d.store.commit(batch, pebble.Sync, false); err != nil {
		return fmt.Errorf("dead letter of %s: %w", letter.Sink, err)
	}
	return nil
}

// List implements consumer.DeadLetters.
func (d *DeadLetters) List(
	ctx context.Context, sink, afterShard string, after schemas.Position, limit int,
) ([]consumer.DeadLetter, error) {
	prefix, err := prefixNames(kindDeadLetter, sink)
	if err != nil {
		return nil, fmt.Errorf("listing dead letters: %w", err)
	}
	var afterKey []byte
	if afterShard != "" {
		if afterKey, err = keyDeadLetter(sink, afterShard, after); err != nil {
			return nil, fmt.Errorf("listing dead letters: %w", err)
		}
	}
	if err := d.store.enter(); err != nil {
		return nil, err
	}
	defer d.store.leave()
	var letters []consumer.DeadLetter
	if limit <= 0 {
		return nil, nil
	}
	err = d.store.scan(ctx, prefix, afterKey, func(key, value []byte) (bool, error) {
		letter, err := decodeDeadLetter(key, value)
		if err != nil {
			return false, err
		}
		letter.Raw = nil // it may be a whole record, and belongs to the iterator
		letters = append(letters, letter)
		return len(letters) < limit, nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing dead letters of %s: %w", sink, err)
	}
	return letters, nil
}

// Get implements consumer.DeadLetters.
func (d *DeadLetters) Get(ctx context.Context, sink, shard string, p schemas.Position) (consumer.DeadLetter, error) {
	if err := ctx.Err(); err != nil {
		return consumer.DeadLetter{}, fmt.Errorf("dead letter of %s: %w", sink, err)
	}
	key, err := keyDeadLetter(sink, shard, p)
	if err != nil {
		return consumer.DeadLetter{}, fmt.Errorf("dead letter of %s: %w", sink, err)
	}
	if err := d.store.enter(); err != nil {
		return consumer.DeadLetter{}, err
	}
	defer d.store.leave()
	value, err := d.store.get(key)
	if err != nil {
		return consumer.DeadLetter{}, fmt.Errorf("dead letter of %s: %w", sink, err)
	}
	if value == nil {
		return consumer.DeadLetter{}, fmt.Errorf("dead letter of %s at %s %s: %w", sink, shard, p, consumer.ErrNotFound)
	}
	return decodeDeadLetter(key, value)
}

// Delete implements consumer.DeadLetters. It is not synced: a letter that comes back is fed to its sink once more,
// which changes nothing there. Deleting what is not there is no error.
func (d *DeadLetters) Delete(ctx context.Context, sink, shard string, p schemas.Position) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("deleting a dead letter of %s: %w", sink, err)
	}
	key, err := keyDeadLetter(sink, shard, p)
	if err != nil {
		return fmt.Errorf("deleting a dead letter of %s: %w", sink, err)
	}
	if err := d.store.enter(); err != nil {
		return err
	}
	defer d.store.leave()
	batch := d.store.db.NewBatch()
	if err := batch.Delete(key, nil); err != nil {
		return fmt.Errorf("deleting a dead letter of %s: %w", sink, errors.Join(err, batch.Close()))
	}
	if err := d.store.commit(batch, pebble.NoSync, true); err != nil {
		return fmt.Errorf("deleting a dead letter of %s: %w", sink, err)
	}
	return nil
}

// decodeDeadLetter gives a letter whose Raw aliases value.
func decodeDeadLetter(key, value []byte) (consumer.DeadLetter, error) {
	sink, shard, p, err := splitDeadLetterKey(key)
	if err != nil {
		return consumer.DeadLetter{}, err
	}
	f := fields{b: value}
	letter := consumer.DeadLetter{
		Sink: sink, Shard: shard, Position: p,
		Arrived: timeOf(f.int()), Reason: f.string(), Raw: f.bytes(),
	}
	letter.Size = len(letter.Raw)
	if err := f.done(); err != nil {
		return consumer.DeadLetter{}, fmt.Errorf("dead letter at %s %s: %w", shard, p, err)
	}
	return letter, nil
}
