package local

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/cockroachdb/pebble/v2"
)

// TrimStats say what a Trim did. Bytes are those of keys and values before compression.
type TrimStats struct {
	Records, Bytes int64
	// HeldBytes are past retention but still needed by the slowest sink.
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
// index, Trim itself makes sure that it is durable. A shard that is not in safe, or is "" there, keeps everything.
func (st *Stream) Trim(ctx context.Context, safe map[string]string) (TrimStats, error) {
	st.trim.Lock()
	defer st.trim.Unlock()
	if err := st.store.enter(); err != nil {
		return TrimStats{}, err
	}
	defer st.store.leave()
	var all TrimStats
	var total int64
	views := make([]view, len(st.shards))
	for i, sh := range st.shards {
		views[i] = sh.view(&st.store.clock)
		total += views[i].tipTotal - views[i].horizonTotal
	}
	for i, sh := range st.shards {
		if err := ctx.Err(); err != nil {
			return all, fmt.Errorf("trimming: %w", err)
		}
		reached, err := parseSequence(safe[sh.id])
		if err != nil {
			return all, fmt.Errorf("trimming %s: %w", sh.id, err)
		}
		stats, err := st.trimShard(ctx, sh, views[i], reached, total)
		if err != nil {
			return all, fmt.Errorf("trimming %s: %w", sh.id, err)
		}
		all.Records += stats.Records
		all.Bytes += stats.Bytes
		all.HeldBytes += stats.HeldBytes
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.trimmed = TrimStats{
		Records: st.trimmed.Records + all.Records, Bytes: st.trimmed.Bytes + all.Bytes, HeldBytes: all.HeldBytes,
	}
	return all, nil
}

func (st *Stream) trimShard(ctx context.Context, sh *shard, v view, safe uint64, total int64) (TrimStats, error) {
	wanted, wantedTotal, err := st.retentionCut(ctx, sh, v, total)
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
	if !st.store.index.keeps(sh.id, cut) {
		if err := st.store.index.keep(ctx); err != nil {
			return TrimStats{}, err
		}
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
func (st *Stream) retentionCut(ctx context.Context, sh *shard, v view, total int64) (uint64, int64, error) {
	oldest := int64(-1 << 63)
	if r := st.store.cfg.Retention; r > 0 {
		oldest = st.store.clock.read() - int64(r)
	}
	size := v.tipTotal - v.horizonTotal
	keep := size
	if limit := st.store.cfg.RetentionBytes; limit > 0 && total > limit {
		keep = proportion(size, limit, total)
	}
	return st.lastBefore(ctx, sh, v, v.tip+1, func(h header) bool {
		return h.arrived < oldest || v.tipTotal-(h.total-h.size) > keep
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
