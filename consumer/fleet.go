package consumer

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// FleetConfig shapes a Fleet. All fields but History are required; the caller validates them.
type FleetConfig struct {
	// Owner names this process in leases: unique among the processes that run now, and the same after a restart, so
	// that a restarted process goes on with its leases at once.
	Owner string
	// LeaseLife is for how long a lease must stand still before others may take it. It is renewed three times as
	// often.
	LeaseLife time.Duration
	// PageBytes is how much of a shard is read at once.
	PageBytes int
	// History has the sink get each event once though the stream may hold it twice; nil where no write of the stream is
	// ever tried again, or where the sink bears doubles.
	History History
	// Busy reports whether clients wait on this machine for acks, to which the fleet then gives way.
	Busy func() bool
	Log  *slog.Logger
}

// Fleet is this process's part of the workers that feed one sink. The processes of a fleet share the shards by leases,
// which are for efficiency only: exactly-once is the sink's doing (invariant 10).
type Fleet struct {
	cfg     FleetConfig
	source  Source
	leases  Leases
	sink    Sink
	letters DeadLetters
	pacer   *pacer
	log     *slog.Logger

	workers  sync.WaitGroup // workers that may still deliver
	holdings sync.WaitGroup // leases that may still be ours

	mu      sync.Mutex
	listed  map[string]Shard
	seen    sightings
	held    map[string]*holding
	drained map[string]bool
	news    chan struct{} // closed and replaced when drained grows

	presence Lease // the manager's own: what shows others that this worker is there
}

// NewFleet makes a fleet. It does nothing before Run.
func NewFleet(cfg FleetConfig, source Source, leases Leases, sink Sink, letters DeadLetters) *Fleet {
	return &Fleet{
		cfg: cfg, source: source, leases: leases, sink: sink, letters: letters,
		pacer:   newPacer(cfg.Busy),
		log:     cfg.Log.With("sink", sink.Name()),
		listed:  map[string]Shard{},
		seen:    sightings{},
		held:    map[string]*holding{},
		drained: map[string]bool{},
		news:    make(chan struct{}),
	}
}

// Run works until ctx ends, and returns once everything it started has stopped. It is called once. The order of the end:
// the workers stop, so that nothing more is delivered; the sink makes durable what it holds; only then are the leases
// given back, so that a successor does not read the same again. An error is the sink's; then the fleet stops too.
func (f *Fleet) Run(ctx context.Context) error {
	ctx, stopWorkers := context.WithCancel(ctx)
	defer stopWorkers()
	sinkCtx, stopSink := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSink()
	keepCtx, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()

	sinkDone := make(chan error, 1)
	go func() {
		sinkDone <- f.sink.Run(sinkCtx)
		stopWorkers()
	}()

	f.manage(ctx, keepCtx)
	f.workers.Wait()
	stopSink()
	err := <-sinkDone
	stopKeeping()
	f.holdings.Wait()
	f.depart(keepCtx)
	if err != nil {
		return fmt.Errorf("%s sink: %w", f.sink.Name(), err)
	}
	return nil
}

// manage looks after the shards until ctx ends.
func (f *Fleet) manage(ctx, keepCtx context.Context) {
	var retry backoff
	for {
		wait := f.cfg.LeaseLife / 3
		if err := f.balance(ctx, keepCtx); err != nil {
			if ctx.Err() != nil {
				return
			}
			wait = min(wait, retry.delay())
			f.log.Warn("shards could not be shared out", "err", err, "retry_in", wait)
		} else {
			retry.reset()
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// balance lists shards and leases, takes what falls to this process, and lets go of what the stream no longer lists.
func (f *Fleet) balance(ctx, keepCtx context.Context) error {
	shards, err := f.source.Shards(ctx)
	if err != nil {
		return fmt.Errorf("list shards: %w", err)
	}
	leases, err := f.leases.List(ctx, f.sink.Name())
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for _, t := range f.plan(shards, leases) {
		err := f.put(ctx, t.prev, t.next)
		if err != nil {
			// Somebody was quicker, or the store hiccups: if the lease became ours after all, the next round sees it.
			f.log.Info("lease not taken", "shard", t.next.Shard, "err", err)
			continue
		}
		if t.next.Shard == workerPrefix+f.cfg.Owner {
			f.presence = t.next
			continue
		}
		f.start(ctx, keepCtx, t.next)
	}
	return nil
}

// depart lets the other workers know that this one is gone.
func (f *Fleet) depart(ctx context.Context) {
	if f.presence.Owner == "" {
		return
	}
	gone := f.presence
	gone.Owner = ""
	gone.Renewal++
	if err := f.put(ctx, &f.presence, gone); err != nil {
		f.log.Warn("presence not taken back", "err", err)
	}
}

// plan takes note of the lists, decides which leases to try for, and lets go of shards that are more than this worker's share.
func (f *Fleet) plan(shards []Shard, leases []Lease) []take {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.seen.observe(leases, now)
	f.listed = make(map[string]Shard, len(shards))
	var unread []string
	for _, s := range shards {
		f.listed[s.ID] = s
		if !f.drained[s.ID] {
			unread = append(unread, s.ID)
		}
	}
	for shard := range f.drained {
		if _, ok := f.listed[shard]; !ok {
			delete(f.drained, shard)
		}
	}
	for shard, h := range f.held {
		if _, ok := f.listed[shard]; !ok {
			h.stop()
		}
	}
	// Workers that look at the same time should not all reach for the same shard.
	rand.Shuffle(len(unread), func(i, j int) { unread[i], unread[j] = unread[j], unread[i] })
	b := balancer{
		sink: f.sink.Name(), self: f.cfg.Owner, life: f.cfg.LeaseLife, seen: f.seen,
		held: func(shard string) bool { return f.held[shard] != nil },
	}
	takes, leave := b.plan(unread, now)
	for _, shard := range leave {
		f.held[shard].stop()
	}
	return takes
}

// awaitParents waits until this sink has read every parent of the shard to its end. A parent that is no longer listed
// counts: nobody can read it any more.
func (f *Fleet) awaitParents(ctx context.Context, shard Shard) error {
	for {
		f.mu.Lock()
		var open []string
		ours := false
		for _, p := range shard.Parents {
			if _, listed := f.listed[p]; listed && !f.drained[p] {
				open = append(open, p)
				ours = ours || f.held[p] != nil
			}
		}
		news := f.news
		f.mu.Unlock()
		if len(open) == 0 {
			return nil
		}
		// Of a parent that we read ourselves we hear; another process's progress must be asked for.
		if !ours {
			parent, err := f.sink.Checkpoint(ctx, open[0])
			if err != nil {
				return fmt.Errorf("load progress of parent %s: %w", open[0], err)
			}
			if parent.End {
				f.markDrained(open[0])
				continue
			}
		}
		timer := time.NewTimer(f.cfg.LeaseLife / 3)
		select {
		case <-news:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// parents are the listed shards that the shard came from by a split or a merge.
func (f *Fleet) parents(shard string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.listed[shard].Parents), func(parent string) bool {
		_, listed := f.listed[parent]
		return !listed
	})
}

// markDrained remembers that the sink holds the shard to its end: it needs no worker any more.
func (f *Fleet) markDrained(shard string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drained[shard] = true
	close(f.news)
	f.news = make(chan struct{})
}
