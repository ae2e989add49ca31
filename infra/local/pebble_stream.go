package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/semaphore"

	"penstock/ingest"
	"penstock/schemas"
)

// maxRecord is the largest record with its partition key, in bytes; Kinesis' default
// (https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html).
const maxRecord = 1 << 20

// maxFlying bounds the bytes of all writes under way, also those whose callers have given up.
const maxFlying = 64 << 20

// errRecordTooLarge is final: the same record will never fit.
var errRecordTooLarge = fmt.Errorf("record with its partition key is larger than %d bytes", maxRecord)

// Stream is the log: shards of equal hash ranges, numbered like Kinesis'.
//
// A write takes the next sequence numbers of its shards, is committed in one synced batch (Pebble syncs concurrent
// batches together), and is then published. Batches may reach the disk in another order than that of their numbers, so
// each shard publishes in order: its tip moves over a write only when that and all before it are durable. Readers see
// what lies up to the tip and nothing else, and Put returns when its records are published. Hence no reader sees a
// record that a power cut could take back, or a number while a smaller one may still appear. A power cut can leave a
// gap in the numbers where a write was lost that nobody had been told of.
type Stream struct {
	store  *Store
	shards []*shard
	byID   map[string]*shard
	flying *semaphore.Weighted
	trim   sync.Mutex // one Trim at a time

	mu      sync.Mutex
	writes  map[*write]struct{} // from their begin until they are settled
	trimmed TrimStats
}

var _ ingest.Stream = (*Stream)(nil)

func openStream(s *Store, shards int) (*Stream, error) {
	st := &Stream{
		store:  s,
		byID:   make(map[string]*shard, shards),
		flying: semaphore.NewWeighted(maxFlying),
		writes: make(map[*write]struct{}),
	}
	for i, r := range hashRanges(shards) {
		sh, err := openShard(s, i, r)
		if err != nil {
			return nil, err
		}
		st.shards = append(st.shards, sh)
		st.byID[sh.id] = sh
	}
	return st, nil
}

type hashRange struct{ first, last schemas.HashKey }

// hashRanges cuts the hash key space into n ranges of equal size.
func hashRanges(n int) []hashRange {
	space := new(big.Int).Lsh(big.NewInt(1), 128)
	bound := func(i int) *big.Int {
		b := new(big.Int).Mul(space, big.NewInt(int64(i)))
		return b.Quo(b, big.NewInt(int64(n)))
	}
	ranges := make([]hashRange, n)
	for i := range ranges {
		bound(i).FillBytes(ranges[i].first[:])
		new(big.Int).Sub(bound(i+1), big.NewInt(1)).FillBytes(ranges[i].last[:])
	}
	return ranges
}

// Put implements ingest.Stream. The outcome is the same for all records of a call that are not too large.
func (st *Stream) Put(ctx context.Context, records []ingest.Record) []error {
	errs := make([]error, len(records))
	w := st.begin()
	var bytes int64
	for i := range records {
		n := len(records[i].Data) + len(records[i].PartitionKey)
		if n > maxRecord {
			errs[i] = errRecordTooLarge
			continue
		}
		bytes += int64(n)
		w.records = append(w.records, i)
	}
	if err := st.write(ctx, w, records, bytes); err != nil {
		for _, i := range w.records {
			errs[i] = err
		}
	}
	return errs
}

func (st *Stream) write(ctx context.Context, w *write, records []ingest.Record, bytes int64) error {
	if len(w.records) == 0 {
		st.settle(w)
		return nil
	}
	weight := min(bytes, maxFlying)
	if err := st.admit(ctx, bytes, weight); err != nil {
		st.settle(w)
		return err
	}
	// From here on the numbers are taken, and only publishing gives them free.
	batch, err := st.assign(w, records, int(bytes))
	go func() {
		defer st.store.release()
		defer st.flying.Release(weight)
		if err == nil {
			err = st.store.apply(st.store.db, batch, pebble.Sync)
		}
		if err == nil {
			st.publish(w)
		}
	}()
	var cause error
	select {
	case <-w.settled:
		return nil
	case <-st.store.Failed():
		cause = st.store.Err()
	case <-ctx.Done():
		cause = ctx.Err()
	}
	select {
	case <-w.settled: // just before
		return nil
	default:
		return fmt.Errorf("%w: %w", ingest.ErrOpen, cause)
	}
}

// admit waits for room among the writes under way. After a nil error the caller owes a release of both.
func (st *Stream) admit(ctx context.Context, bytes, weight int64) error {
	if err := st.store.Err(); err != nil {
		return err
	}
	if err := st.store.guard.Admit(bytes); err != nil {
		return err
	}
	if err := st.flying.Acquire(ctx, weight); err != nil {
		return fmt.Errorf("%w: waiting for earlier writes: %w", ingest.ErrThrottled, err)
	}
	if err := st.store.acquire(ctx); err != nil {
		st.flying.Release(weight)
		if errors.Is(err, ErrClosed) {
			return err
		}
		return fmt.Errorf("%w: waiting for earlier writes: %w", ingest.ErrThrottled, err)
	}
	return nil
}

// assign gives every record its shard, number and time, and writes the batch.
func (st *Stream) assign(w *write, records []ingest.Record, bytes int) (*pebble.Batch, error) {
	const overhead = 64 // of key, header and batch for one record
	batch := st.store.db.NewBatchWithSize(bytes + overhead*len(w.records))
	byShard := make(map[*shard][]int, 1)
	for _, i := range w.records {
		sh := st.shardOf(records[i].HashKey)
		byShard[sh] = append(byShard[sh], i)
	}
	// The count must stand before any of the spans can be published.
	w.spans = make([]*span, 0, len(byShard))
	w.unpublished.Store(int64(len(byShard)))
	var firstErr error
	for sh, indices := range byShard {
		sp := sh.take(&st.store.clock, w, records, indices)
		w.spans = append(w.spans, sp)
		sequence, total := sp.first, sp.totalBefore
		for _, i := range indices {
			total += recordSize(&records[i])
			if err := appendRecord(batch, sh.number, sequence, sp.arrived, total, &records[i]); err != nil {
				firstErr = errors.Join(firstErr, err)
			}
			sequence++
		}
	}
	if firstErr != nil {
		// A batch that can't be built is a broken program; its numbers would block the shard.
		st.store.health.fail(fmt.Errorf("building a batch: %w", firstErr))
	}
	return batch, firstErr
}

func (st *Stream) shardOf(k schemas.HashKey) *shard {
	i, found := slices.BinarySearchFunc(st.shards, k, func(sh *shard, k schemas.HashKey) int {
		return sh.hash.first.Compare(k)
	})
	if !found {
		i-- // the range before the first that starts above k; the first range starts at 0
	}
	return st.shards[i]
}

// Shards implements ingest.Stream. All shards are always open.
func (st *Stream) Shards(context.Context) ([]ingest.Shard, error) {
	shards := make([]ingest.Shard, len(st.shards))
	for i, sh := range st.shards {
		shards[i] = ingest.Shard{ID: sh.id, First: sh.hash.first, Last: sh.hash.last}
	}
	return shards, nil
}

// Tips returns the last published sequence number of every shard that holds a record. A Put that has returned without an
// error before the call is at or before them.
func (st *Stream) Tips(ctx context.Context) (map[string]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading tips: %w", err)
	}
	tips := make(map[string]string, len(st.shards))
	for _, sh := range st.shards {
		if v := sh.view(&st.store.clock); v.tip > v.horizon {
			tips[sh.id] = formatSequence(v.tip)
		}
	}
	return tips, nil
}

// ShardStats describe what a shard holds.
type ShardStats struct {
	Shard string
	// Oldest and Newest are sequence numbers, empty when the shard holds nothing.
	Oldest, Newest string
	// Records counts numbers; after a power cut it may count some of writes that were lost unacknowledged.
	Records int64
	// Bytes are those of keys and values before compression.
	Bytes int64
}

// Stats returns one entry for each shard, by number.
func (st *Stream) Stats() []ShardStats {
	stats := make([]ShardStats, len(st.shards))
	for i, sh := range st.shards {
		v := sh.view(&st.store.clock)
		stats[i] = ShardStats{Shard: sh.id, Records: int64(v.tip - v.horizon), Bytes: v.tipTotal - v.horizonTotal}
		if v.tip > v.horizon {
			stats[i].Oldest, stats[i].Newest = formatSequence(v.horizon+1), formatSequence(v.tip)
		}
	}
	return stats
}

// write is a call of Put from its begin until nothing of it can appear any more.
type write struct {
	records     []int   // indices of the records to write
	spans       []*span // one for each shard
	unpublished atomic.Int64
	settled     chan struct{}
}

func (st *Stream) begin() *write {
	w := &write{settled: make(chan struct{})}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.writes[w] = struct{}{}
	return w
}

// settle ends a write: all of it is published, or nothing of it was ever written.
func (st *Stream) settle(w *write) {
	st.mu.Lock()
	delete(st.writes, w)
	st.mu.Unlock()
	close(w.settled)
}

// publish marks a durable write as done and moves the tips of its shards as far as they can go, over this write and over
// later ones that were done before it.
func (st *Stream) publish(w *write) {
	for _, sp := range w.spans {
		for _, published := range sp.shard.done(sp) {
			if published.write.unpublished.Add(-1) == 0 {
				st.settle(published.write)
			}
		}
	}
}

// settleAll waits until no write that was begun before the call can appear any more without having appeared already.
func (st *Stream) settleAll(ctx context.Context) error {
	st.mu.Lock()
	writes := slices.Collect(maps.Keys(st.writes))
	st.mu.Unlock()
	for _, w := range writes {
		select {
		case <-w.settled:
		case <-ctx.Done():
			return ctx.Err()
		case <-st.store.Failed():
			return st.store.Err()
		}
	}
	return nil
}
