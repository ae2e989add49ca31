package local

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// flushWait bounds how long Trim waits for the index. A flush that takes longer serves a later Trim.
const flushWait = 10 * time.Second

// TrimStats say what a Trim did. Bytes are those of keys and values before compression.
type TrimStats struct {
	Records, Bytes int64
	// HeldBytes are past retention but still needed by the slowest sink, or by the index until it is flushed.
	HeldBytes int64
}

// Trimmed tells what all calls of Trim since the start removed, with the HeldBytes of the last one.
func (st *Stream) Trimmed() TrimStats {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.trimmed
}

// Trim removes the records that are older than Retention, and the oldest while all shards together are larger than
// RetentionBytes, from each shard in proportion to its size. It never removes the record at safe[shard] or one after it:
// safe is the sequence number that the slowest sink has reached, and that sink may be in the middle of the record; of the
// index, Trim itself makes sure that it is durable. A shard that is not in safe, or is "" there, keeps everything. With an error
// come the stats of what was removed nevertheless: all that could go without a flush of the index, when that is what failed.
func (st *Stream) Trim(ctx context.Context, safe map[string]string) (TrimStats, error) {
	st.trim.Lock()
	defer st.trim.Unlock()
	shares := st.shares()
	all, flush, err := st.trimFlushed(ctx, safe, shares)
	if flush && err == nil {
		waiting, cancel := context.WithTimeout(ctx, flushWait)
		defer cancel()
		if err = st.store.index.keep(waiting); err == nil {
			var more TrimStats
			more, _, err = st.trimFlushed(ctx, safe, shares)
			all = TrimStats{Records: all.Records + more.Records, Bytes: all.Bytes + more.Bytes, HeldBytes: more.HeldBytes}
		} else {
			err = fmt.Errorf("trimming only what the index has flushed: %w", err)
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.trimmed = TrimStats{
		Records: st.trimmed.Records + all.Records, Bytes: st.trimmed.Bytes + all.Bytes, HeldBytes: all.HeldBytes,
	}
	return all, err
}

// shares are the bytes that each shard may keep, so that all have RetentionBytes.
func (st *Stream) shares() []int64 {
	sizes := make([]int64, len(st.shards))
	var total int64
	for i, sh := range st.shards {
		v := sh.view(&st.store.clock)
		sizes[i] = v.tipTotal - v.horizonTotal
		total += sizes[i]
	}
	limit := st.store.cfg.RetentionBytes
	shares := make([]int64, len(sizes))
	for i, size := range sizes {
		shares[i] = math.MaxInt64
		if limit > 0 && total > limit {
			shares[i] = proportion(size, limit, total)
		}
	}
	return shares
}

// trimFlushed trims behind what the index has flushed, and tells whether a flush would let it trim more.
func (st *Stream) trimFlushed(
	ctx context.Context, safe map[string]string, shares []int64,
) (all TrimStats, flush bool, err error) {
	if err := st.store.enter(); err != nil {
		return all, false, err
	}
	defer st.store.leave()
	for i, sh := range st.shards {
		if err := ctx.Err(); err != nil {
			return all, false, fmt.Errorf("trimming: %w", err)
		}
		reached, err := parseSequence(safe[sh.id])
		if err != nil {
			return all, false, fmt.Errorf("trimming %s: %w", sh.id, err)
		}
		kept, err := st.store.index.kept(sh.id)
		if err != nil {
			return all, false, fmt.Errorf("trimming %s: %w", sh.id, err)
		}
		stats, err := st.trimShard(ctx, sh, sh.view(&st.store.clock), min(reached, kept), shares[i])
		if err != nil {
			return all, false, fmt.Errorf("trimming %s: %w", sh.id, err)
		}
		flush = flush || kept < reached && stats.HeldBytes > 0
		all.Records += stats.Records
		all.Bytes += stats.Bytes
		all.HeldBytes += stats.HeldBytes
	}
	return all, flush, nil
}

func (st *Stream) trimShard(ctx context.Context, sh *shard, v view, safe uint64, share int64) (TrimStats, error) {
	wanted, wantedTotal, err := st.retentionCut(ctx, sh, v, share)
	if err != nil || wanted <= v.horizon {
		return TrimStats{}, err
	}
	cut, cutTotal := wanted, wantedTotal
	if limit := min(max(safe, 1)-1, v.tip); limit < wanted {
		if cut, cutTotal, err = st.lastBefore(ctx, sh, v, limit+1, func(header) bool { return true }); err != nil {
			return TrimStats{}, err
		}
	}
	stats := TrimStats{HeldBytes: wantedTotal - cutTotal}
	if cut <= v.horizon {
		return stats, nil
	}
	// First the horizon, then the records: see page.
	sh.moveHorizon(cut, cutTotal)
	batch := st.store.db.NewBatch()
	err = errors.Join(
		batch.DeleteRange(keyRecord(sh.number, 0), keyRecord(sh.number, cut+1), nil),
		batch.Set(keyHorizon(sh.number), appendInt(appendUint(nil, cut), cutTotal), nil),
	)
	if err != nil {
		return TrimStats{}, errors.Join(err, batch.Close())
	}
	if err := st.store.commit(batch, pebble.Sync, true); err != nil {
		return TrimStats{}, err
	}
	stats.Records, stats.Bytes = int64(cut-v.horizon), cutTotal-v.horizonTotal
	return stats, nil
}

// retentionCut finds the last record that age or size would have removed, and the running total there.
func (st *Stream) retentionCut(ctx context.Context, sh *shard, v view, share int64) (uint64, int64, error) {
	oldest := int64(-1 << 63)
	if r := st.store.cfg.Retention; r > 0 {
		oldest = st.store.clock.read() - int64(r)
	}
	return st.lastBefore(ctx, sh, v, v.tip+1, func(h header) bool {
		return h.arrived < oldest || v.tipTotal-(h.total-h.size) > share
	})
}

// proportion is size·part/whole for part < whole, without overflow.
func proportion(size, part, whole int64) int64 {
	hi, lo := bits.Mul64(uint64(size), uint64(part))
	quotient, _ := bits.Div64(hi, lo, uint64(whole))
	return int64(quotient)
}

// lastBefore finds, among the records after the horizon and before end, the last one for which gone holds; gone holds
// for a record only if it holds for all before it. It returns the horizon when there is none.
func (st *Stream) lastBefore(
	ctx context.Context, sh *shard, v view, end uint64, gone func(header) bool,
) (sequence uint64, total int64, err error) {
	it, err := st.store.db.NewIterWithContext(ctx, sh.bounds(v.horizon+1, end))
	if err != nil {
		return 0, 0, fmt.Errorf("reading the stream: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	sequence, total = v.horizon, v.horizonTotal
	// Invariant: everything at or before sequence is gone, nothing at or after hi.
	for hi := end; sequence+1 < hi; {
		middle := sequence + 1 + (hi-sequence-1)/2
		if !it.SeekGE(keyRecord(sh.number, middle)) {
			if err := it.Error(); err != nil {
				return 0, 0, fmt.Errorf("reading the stream: %w", err)
			}
			hi = middle // a gap, up to end
			continue
		}
		h, err := readHeader(it)
		switch {
		case err != nil:
			return 0, 0, err
		case gone(h):
			sequence, total = h.sequence, h.total
		default:
			hi = middle
		}
	}
	return sequence, total, nil
}
