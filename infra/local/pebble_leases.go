package local

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"penstock/consumer"
)

// Leases are kept without syncing: they matter only while their owners live, and the data directory's lock makes all
// owners live in this process. A lease that a power cut takes back costs the next start nothing.
type Leases struct {
	store *Store
	mu    sync.Mutex // one compare-and-set at a time
}

var _ consumer.Leases = (*Leases)(nil)

// List implements consumer.Leases; the leases are sorted by shard.
func (l *Leases) List(ctx context.Context, sink string) ([]consumer.Lease, error) {
	prefix, err := prefixNames(kindLease, sink)
	if err != nil {
		return nil, fmt.Errorf("listing leases: %w", err)
	}
	if err := l.store.enter(); err != nil {
		return nil, err
	}
	defer l.store.leave()
	var leases []consumer.Lease
	err = l.store.scan(ctx, prefix, nil, func(key, value []byte) (bool, error) {
		lease, err := decodeLease(sink, strings.TrimSuffix(string(key[len(prefix):]), "\x00"), value)
		leases = append(leases, lease)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing leases of %s: %w", sink, err)
	}
	return leases, nil
}

// Put implements consumer.Leases.
func (l *Leases) Put(ctx context.Context, prev *consumer.Lease, next consumer.Lease) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("lease of %s on %s: %w", next.Sink, next.Shard, err)
	}
	key, err := prefixNames(kindLease, next.Sink, next.Shard)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	if err := l.store.enter(); err != nil {
		return err
	}
	defer l.store.leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	value, err := l.store.get(key)
	if err != nil {
		return fmt.Errorf("lease of %s on %s: %w", next.Sink, next.Shard, err)
	}
	var stored *consumer.Lease
	if value != nil {
		lease, err := decodeLease(next.Sink, next.Shard, value)
		if err != nil {
			return fmt.Errorf("lease of %s on %s: %w", next.Sink, next.Shard, err)
		}
		stored = &lease
	}
	if (stored == nil) != (prev == nil) || (stored != nil && !stored.Same(*prev)) {
		return fmt.Errorf("lease of %s on %s: %w", next.Sink, next.Shard, consumer.ErrLeaseLost)
	}
	batch := l.store.db.NewBatch()
	if err := batch.Set(key, encodeLease(next, time.Now()), nil); err != nil {
		return fmt.Errorf("lease of %s on %s: %w", next.Sink, next.Shard, err)
	}
	if err := l.store.commit(batch, pebble.NoSync, false); err != nil {
		return fmt.Errorf("lease of %s on %s: %w", next.Sink, next.Shard, err)
	}
	return nil
}

func encodeLease(lease consumer.Lease, now time.Time) []byte {
	b := appendUint(appendString(nil, lease.Owner), lease.Renewal)
	r := lease.Report
	b = appendString(appendInt(b, now.UnixNano()), appendCheckpoint(nil, r.At))
	b = appendInt(appendBool(b, r.LagKnown), int64(r.Lag))
	b = appendInt(appendString(b, r.Error), int64(r.ErrorAge))
	return appendBool(b, r.Failing)
}

// decodeLease reads also a lease that an older program put, without a time and a report; it counts as decades old.
func decodeLease(sink, shard string, value []byte) (consumer.Lease, error) {
	f := fields{b: value}
	lease := consumer.Lease{Sink: sink, Shard: shard, Owner: f.string(), Renewal: f.uint()}
	var put int64
	if len(f.b) > 0 {
		put = f.int()
		at, err := decodeCheckpoint(f.bytes())
		if err != nil {
			return consumer.Lease{}, err
		}
		r := &lease.Report
		r.At, r.LagKnown, r.Lag = at, f.bool(), time.Duration(f.int())
		r.Error, r.ErrorAge, r.Failing = f.string(), time.Duration(f.int()), f.bool()
	}
	lease.Age = max(0, time.Since(time.Unix(0, put)))
	return lease, f.done()
}
