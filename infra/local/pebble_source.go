package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// maxWait is how long a read waits at the tip.
const maxWait = time.Second

// maxPageRecords bounds a page of tiny records; Kinesis' GetRecords has the same limit.
const maxPageRecords = 10_000

// Source is the stream as consumers read it.
type Source struct{ stream *Stream }

var _ consumer.Source = (*Source)(nil)

// Source returns the reading side of the stream.
func (st *Stream) Source() *Source { return &Source{stream: st} }

// Shards implements consumer.Source. No shard is ever split or closed.
func (so *Source) Shards(context.Context) ([]consumer.Shard, error) {
	shards := make([]consumer.Shard, len(so.stream.shards))
	for i, sh := range so.stream.shards {
		shards[i].ID = sh.id
	}
	return shards, nil
}

// Read implements consumer.Source. It returns consumer.ErrNotFound for a shard that the stream does not have, and an
// error that says so when after lies beyond the tip: then the reader's progress belongs to another stream.
func (so *Source) Read(ctx context.Context, shard, after string, maxBytes int) (consumer.Page, error) {
	sh, ok := so.stream.byID[shard]
	if !ok {
		return consumer.Page{}, fmt.Errorf("shard %q: %w", shard, consumer.ErrNotFound)
	}
	from, err := parseSequence(after)
	if err != nil {
		return consumer.Page{}, fmt.Errorf("reading %s: %w", shard, err)
	}
	timeout := time.NewTimer(maxWait)
	defer timeout.Stop()
	for waited := false; ; {
		v, moved := sh.viewOrWait(&so.stream.store.clock)
		if err := checkPosition(sh, from, v); err != nil {
			return consumer.Page{}, err
		}
		page, err := so.stream.page(ctx, sh, from, v, maxBytes)
		if err != nil || len(page.Records) > 0 || waited {
			return page, err
		}
		select {
		case <-moved:
		case <-timeout.C:
			waited = true // once more, for what came meanwhile and for a fresh AsOf
		case <-ctx.Done():
			return consumer.Page{}, fmt.Errorf("reading %s: %w", shard, ctx.Err())
		case <-so.stream.store.closing:
			return consumer.Page{}, ErrClosed
		}
	}
}

// checkPosition: 0 stands for "from the oldest kept" and is always right.
func checkPosition(sh *shard, from uint64, v view) error {
	if from > v.tip {
		return fmt.Errorf("position %d of %s is beyond its tip %d: it is not of this stream", from, sh.id, v.tip)
	}
	if from > 0 && from < v.horizon {
		return fmt.Errorf("position %d of %s, trimmed up to %d: %w", from, sh.id, v.horizon, consumer.ErrTrimmed)
	}
	return nil
}

// page reads the records after from up to the tip of the view.
func (st *Stream) page(ctx context.Context, sh *shard, from uint64, v view, maxBytes int) (p consumer.Page, err error) {
	start := max(from, v.horizon)
	if start == v.tip {
		return consumer.Page{AsOf: timeOf(v.asOf)}, nil
	}
	if err := st.store.enter(); err != nil {
		return consumer.Page{}, err
	}
	defer st.store.leave()
	it, err := st.store.db.NewIterWithContext(ctx, sh.bounds(start+1, v.tip+1))
	if err != nil {
		return consumer.Page{}, fmt.Errorf("reading %s: %w", sh.id, err)
	}
	defer func() {
		if err = errors.Join(err, it.Close()); err != nil {
			p = consumer.Page{}
		}
	}()
	// A trim moves the horizon before it deletes. So if the horizon still lies at or before our position now that the
	// iterator has its snapshot, nothing is missing from the snapshot.
	if err := checkPosition(sh, from, sh.view(&st.store.clock)); err != nil {
		return consumer.Page{}, err
	}
	size := 0
	for ok := it.First(); ok; ok = it.Next() {
		h, data, err := readRecord(it)
		if err != nil {
			return consumer.Page{}, err
		}
		if len(p.Records) > 0 && (size+len(data) > maxBytes || len(p.Records) == maxPageRecords) {
			return p, nil
		}
		size += len(data)
		p.Records = append(p.Records, consumer.Record{
			Sequence: formatSequence(h.sequence),
			Arrived:  timeOf(h.arrived),
			Data:     bytes.Clone(data),
			Checked:  true, // Pebble's, of every block
		})
	}
	if err := it.Error(); err != nil {
		return consumer.Page{}, fmt.Errorf("reading %s: %w", sh.id, err)
	}
	p.AsOf = timeOf(v.asOf)
	return p, nil
}

// tipPositions returns for every shard that holds a record the position of the last event in it. A checkpoint there has
// all that is published.
func (st *Stream) tipPositions(ctx context.Context) (map[string]schemas.Position, error) {
	positions := make(map[string]schemas.Position, len(st.shards))
	for _, sh := range st.shards {
		v := sh.view(&st.store.clock)
		if v.tip == v.horizon {
			continue
		}
		page, err := st.page(ctx, sh, v.tip-1, v, maxRecord)
		if err != nil {
			return nil, err
		}
		p := schemas.Position{Sequence: formatSequence(v.tip)}
		if len(page.Records) > 0 {
			// A record that can't be taken apart is one dead letter, at 0.
			if events, err := schemas.Deaggregate(page.Records[0].Data); err == nil && len(events) > 0 {
				p.Sub = len(events) - 1
			}
		}
		positions[sh.id] = p
	}
	return positions, nil
}
