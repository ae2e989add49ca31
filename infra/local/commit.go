package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// enter lets the caller use the database until leave. It must not be nested: a waiting Close stands between.
func (s *Store) enter() error {
	s.gate.RLock()
	if s.closed {
		s.gate.RUnlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.gate.RUnlock() }

// acquire is enter for an operation that may go on after its caller's deadline. It waits for a free slot until ctx ends.
func (s *Store) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return ErrClosed
	}
	if err := s.enter(); err != nil {
		<-s.slots
		return err
	}
	return nil
}

func (s *Store) release() {
	s.leave()
	<-s.slots
}

// detach runs op to its end, also when ctx ends before; then it returns ctx's error at once and nobody has the result.
// Close waits for op.
func detach[T any](ctx context.Context, s *Store, op func() (T, error)) (T, error) {
	if err := s.acquire(ctx); err != nil {
		var zero T
		return zero, err
	}
	return detached(ctx, s.release, op)
}

// detachInTurn is detach for an operation that has the turn to its end, whenever that comes. Who waits for the turn takes no slot.
func detachInTurn[T any](ctx context.Context, s *Store, t turn, op func() (T, error)) (T, error) {
	err := t.take(ctx)
	if err == nil {
		if err = s.acquire(ctx); err != nil {
			t.give()
		}
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return detached(ctx, func() { s.release(); t.give() }, op)
}

// detached runs op and then release.
func detached[T any](ctx context.Context, release func(), op func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer release()
		value, err := op()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// turn is a mutex for which one waits no longer than a context lasts: whoever sends has it, until he receives.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) give() { <-t }

// commit applies and frees a batch of the state. The caller has entered. With pebble.Sync a nil error means that it is
// durable. essential writes go on while flushing fails: those that make room.
func (s *Store) commit(b *pebble.Batch, opts *pebble.WriteOptions, essential bool) error {
	return s.commitTo(s.db, b, opts, essential)
}

func (s *Store) commitTo(db *pebble.DB, b *pebble.Batch, opts *pebble.WriteOptions, essential bool) error {
	err := s.health.fatalErr()
	if err == nil && !essential {
		if err = s.Err(); err == nil {
			err = s.guard.AdmitReserve(int64(b.Len()))
		}
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	return s.apply(db, b, opts)
}

// apply is commit without its checks. A failed commit reaches us through health, since Apply itself returns nil when the
// Logger's Fatalf returns.
func (s *Store) apply(db *pebble.DB, b *pebble.Batch, opts *pebble.WriteOptions) error {
	if err := db.Apply(b, opts); err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	if err := s.health.fatalErr(); err != nil {
		return err // b may still be in Pebble's hands
	}
	if err := b.Close(); err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	return nil
}

// get returns a copy of the value, or nil when there is none. The caller has entered.
func (s *Store) get(key []byte) ([]byte, error) { return getFrom(s.db, key) }

func getFrom(db *pebble.DB, key []byte) ([]byte, error) {
	v, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	// Never nil for a value that is there.
	c := append(make([]byte, 0, len(v)), v...)
	if err := closer.Close(); err != nil {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	return c, nil
}

// scan calls visit with every key that starts with prefix and lies after the key after, in order, until visit returns
// false. The slices are only good during the call. The caller has entered.
func (s *Store) scan(ctx context.Context, prefix, after []byte, visit func(key, value []byte) (bool, error)) error {
	return scanIn(ctx, s.db, prefix, after, visit)
}

func scanIn(
	ctx context.Context, db *pebble.DB, prefix, after []byte, visit func(key, value []byte) (bool, error),
) (err error) {
	lower := prefix
	if bytes.Compare(after, prefix) > 0 {
		lower = append(bytes.Clone(after), 0)
	}
	it, err := db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return fmt.Errorf("reading state: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("reading state: %w", err)
		}
		if more, err := visit(it.Key(), v); err != nil || !more {
			return err
		}
	}
	return nil // an error of the iterator comes from its Close
}

// clock is the stream's clock: never behind a time that it gave, whatever the machine's clock does.
type clock struct {
	now  func() time.Time
	last atomic.Int64
}

// read returns the time in nanoseconds since 1970.
func (c *clock) read() int64 {
	now := c.now().UnixNano()
	for {
		last := c.last.Load()
		if now <= last {
			return last
		}
		if c.last.CompareAndSwap(last, now) {
			return now
		}
	}
}

// raise makes the clock not go behind t.
func (c *clock) raise(t int64) {
	for last := c.last.Load(); last < t && !c.last.CompareAndSwap(last, t); last = c.last.Load() {
	}
}

func timeOf(nanos int64) time.Time { return time.Unix(0, nanos).UTC() }
