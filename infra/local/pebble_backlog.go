package local

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Backlog is what lies in the stream after a reader.
type Backlog struct {
	// Bytes are those of keys and values before compression.
	Bytes int64
	// Oldest is when the first of it arrived; zero when there is nothing.
	Oldest time.Time
}

// Backlog adds up over all shards what is published after the given sequence numbers. Of a shard that is not in after, or is
// "" there, it is everything.
func (st *Stream) Backlog(ctx context.Context, after map[string]string) (Backlog, error) {
	if err := st.store.enter(); err != nil {
		return Backlog{}, err
	}
	defer st.store.leave()
	var all Backlog
	for _, sh := range st.shards {
		from, err := parseSequence(after[sh.id])
		if err != nil {
			return Backlog{}, fmt.Errorf("backlog of %s: %w", sh.id, err)
		}
		b, err := st.shardBacklog(ctx, sh, from)
		if err != nil {
			return Backlog{}, err
		}
		all.Bytes += b.Bytes
		if all.Oldest.IsZero() || (!b.Oldest.IsZero() && b.Oldest.Before(all.Oldest)) {
			all.Oldest = b.Oldest
		}
	}
	return all, nil
}

func (st *Stream) shardBacklog(ctx context.Context, sh *shard, from uint64) (b Backlog, err error) {
	v := sh.view(&st.store.clock)
	from = max(from, v.horizon) // else Pebble would walk over what was trimmed
	if from >= v.tip {
		return Backlog{}, nil
	}
	it, err := st.store.db.NewIterWithContext(ctx, sh.bounds(from+1, v.tip+1))
	if err != nil {
		return Backlog{}, fmt.Errorf("reading %s: %w", sh.id, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.First() {
		return Backlog{}, it.Error() // a gap up to the tip
	}
	h, err := readHeader(it)
	if err != nil {
		return Backlog{}, err
	}
	return Backlog{Bytes: v.tipTotal - (h.total - h.size), Oldest: timeOf(h.arrived)}, nil
}
