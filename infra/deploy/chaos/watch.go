package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"penstock/consumer"
)

// lookEvery is how often the leases are looked at.
const lookEvery = 500 * time.Millisecond

// tenure measures for how long shards of one sink have had no worker, from its leases. A shard has one at the moment in which a
// lease with an owner is seen to have changed, that is to be taken or renewed (every 2 s): so the time that a dead worker's lease
// has left to live counts as without, and so does that of a frozen one.
type tenure struct {
	sink  string
	seen  map[string]sighting // by shard that needs a worker
	worst map[string]unowned
}

type sighting struct {
	lease consumer.Lease
	alive time.Time // when its worker was last seen, at first when the shard was
}

func newTenure(sink string) *tenure {
	return &tenure{sink: sink, seen: map[string]sighting{}, worst: map[string]unowned{}}
}

// observe takes in what is listed at a time: the shards that the sink has not read to their ends, and its leases.
func (t *tenure) observe(now time.Time, unread []string, leases []consumer.Lease) {
	for shard := range t.seen {
		if !slices.Contains(unread, shard) {
			delete(t.seen, shard)
		}
	}
	for _, shard := range unread {
		var lease consumer.Lease
		if i := slices.IndexFunc(leases, func(l consumer.Lease) bool { return l.Shard == shard }); i >= 0 {
			lease = leases[i]
		}
		s, known := t.seen[shard]
		if !known {
			s.alive = now
		}
		if alone := now.Sub(s.alive); alone >= t.worst[shard].For {
			t.worst[shard] = unowned{t.sink, shard, alone, now}
		}
		if lease.Owner != "" && lease != s.lease {
			s.alive = now
		}
		s.lease = lease
		t.seen[shard] = s
	}
}

// longest are the shards' longest times without a worker, the longest first.
func (t *tenure) longest() []unowned {
	all := slices.Collect(maps.Values(t.worst))
	slices.SortFunc(all, func(a, b unowned) int { return cmp.Or(cmp.Compare(b.For, a.For), cmp.Compare(a.Shard, b.Shard)) })
	return all
}

// watcher looks at the leases all through the round, past the fault proxies.
type watcher struct {
	source interface {
		Shards(ctx context.Context) ([]consumer.Shard, error)
	}
	leases consumer.Leases
	ends   map[string]func(ctx context.Context, shard string) (bool, error) // by sink: whether it has a shard's END mark

	mu      sync.Mutex
	tenures map[string]*tenure         // by sink
	drained map[string]map[string]bool // by sink and shard
	missed  time.Duration              // longest time between two looks
	open    int                        // shards
}

// run until the context ends. A look that fails is made again; what was missed meanwhile is told.
func (w *watcher) run(ctx context.Context, failed func(error)) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		if err := w.look(ctx); err == nil {
			w.mu.Lock()
			w.missed = max(w.missed, time.Since(last))
			w.mu.Unlock()
			last = time.Now()
		} else if ctx.Err() == nil {
			failed(fmt.Errorf("look at the leases: %w", err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *watcher) look(ctx context.Context) error {
	shards, err := w.source.Shards(ctx)
	if err != nil {
		return fmt.Errorf("list shards: %w", err)
	}
	open := 0
	for _, s := range shards {
		if !s.Closed {
			open++
		}
	}
	for sink, of := range w.tenures {
		unread, err := w.unread(ctx, sink, shards)
		if err != nil {
			return err
		}
		leases, err := w.leases.List(ctx, sink)
		if err != nil {
			return fmt.Errorf("list leases: %w", err)
		}
		w.mu.Lock()
		of.observe(time.Now(), unread, leases)
		w.open = open
		w.mu.Unlock()
	}
	return nil
}

// unread are the shards that the sink has not read to their ends.
func (w *watcher) unread(ctx context.Context, sink string, shards []consumer.Shard) ([]string, error) {
	var unread []string
	for _, s := range shards {
		if s.Closed && !w.drained[sink][s.ID] {
			end, err := w.ends[sink](ctx, s.ID)
			if err != nil {
				return nil, fmt.Errorf("progress of the %s sink in %s: %w", sink, s.ID, err)
			}
			w.drained[sink][s.ID] = end
		}
		if !w.drained[sink][s.ID] {
			unread = append(unread, s.ID)
		}
	}
	return unread, nil
}

// unowned are the longest times without a worker, and the longest between two looks.
func (w *watcher) unowned() (all []unowned, missed time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, of := range w.tenures {
		all = append(all, of.longest()...)
	}
	slices.SortStableFunc(all, func(a, b unowned) int { return cmp.Compare(b.For, a.For) })
	return all, w.missed
}
