package consumer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

// sharedLake is one worker's way to a table that all share, where a commit takes a while and counts only if none came in
// between, as on a remote catalog.
type sharedLake struct {
	*memLake
	shared *sharedTable
	takes  time.Duration

	mu        sync.Mutex
	overtaken uint64
	landed    []time.Time
}

// sharedTable counts the commits of all.
type sharedTable struct {
	mu      sync.Mutex
	version int
}

func (t *sharedTable) at() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.version
}

func (t *sharedTable) swap(from int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.version != from {
		return false
	}
	t.version++
	return true
}

func (l *sharedLake) Append(ctx context.Context, rows []Row, moves []Move) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		from := l.shared.at()
		if !pause(ctx, l.takes) {
			return ctx.Err()
		}
		if l.shared.swap(from) {
			l.mu.Lock()
			l.landed = append(l.landed, time.Now())
			l.mu.Unlock()
			return l.memLake.Append(ctx, rows, moves)
		}
		l.mu.Lock()
		l.overtaken++
		l.mu.Unlock()
		if !pause(ctx, rand.N(wait)) {
			return ctx.Err()
		}
	}
}

func (l *sharedLake) Overtaken() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.overtaken
}

// commits since a moment, and the longest time between two of them.
func (l *sharedLake) commits(since time.Time) (n int, gap time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := since
	for _, at := range l.landed {
		if at.After(since) {
			n++
			gap, last = max(gap, at.Sub(last)), at
		}
	}
	return n, max(gap, time.Since(last))
}

// TestSixteenLakeWorkers: sixteen workers on one table, each with a shard of its own, whose commits take longer together than
// their FlushAge is. They find a pace at which few commits are made again; none starves, the one far from the catalog
// neither; each event is in the table once.
func TestSixteenLakeWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const workers = 16
		w, table := newWorld(t), &sharedTable{}
		cfg := testLake()
		cfg.FlushAge, cfg.FinalFlush = time.Second, time.Minute
		sending, hush := context.WithCancel(t.Context())
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var senders, running sync.WaitGroup
		var lakes []*sharedLake
		var sinks []*LakeSink
		for i := range workers {
			lake := &sharedLake{memLake: w.lake, shared: table, takes: 100 * time.Millisecond}
			if i == 0 {
				lake.takes = 400 * time.Millisecond
			}
			sink := NewLakeSink(cfg, lake, w.bodies, w.letters)
			lakes, sinks = append(lakes, lake), append(sinks, sink)
			running.Go(func() {
				if err := sink.Run(ctx); err != nil {
					t.Error(err)
				}
			})
			senders.Go(func() { deliverSteadily(sending, t, w, sink, fmt.Sprint("shard-", i)) })
		}
		again := func() (n uint64) {
			for _, l := range lakes {
				n += l.Overtaken()
			}
			return n
		}
		const early, late = 10 * time.Second, time.Minute
		elapse(early)
		first := float64(again()) / float64(table.at())
		elapse(4 * time.Minute)
		since, againBefore, before := time.Now(), again(), table.at()
		elapse(late)
		last := float64(again()-againBefore) / float64(table.at()-before)
		t.Logf("commits made again for each that landed: %.2f at first, %.2f after a while", first, last)
		if last > first/3 {
			t.Errorf("the conflict rate did not fall: %.2f, then %.2f", first, last)
		}
		for i, l := range lakes {
			n, gap := l.commits(since)
			if gap > 3*maxStretch*cfg.FlushAge {
				t.Errorf("worker %d starves: %d commits in %s, none for %s", i, n, late, gap)
			}
		}
		hush()
		senders.Wait()
		stop()
		running.Wait()
		for i, sink := range sinks {
			if s := sink.Stats(); s.BufferedRows != 0 || s.Failures != 0 || s.Conflicts != 0 || s.Overtaken != lakes[i].Overtaken() {
				t.Errorf("worker %d: %+v", i, s)
			}
		}
		ids := w.lake.ids()
		for _, id := range w.ids {
			if ids[id] != 1 {
				t.Errorf("event %s is in the table %d times", id, ids[id])
			}
		}
	})
}

// deliverSteadily gives a sink an event of a shard twice a second.
func deliverSteadily(ctx context.Context, t *testing.T, w *world, sink *LakeSink, shard string) {
	start, err := sink.Resume(ctx, shard)
	if err != nil {
		t.Error(err)
		return
	}
	at := start.From
	for n := 1; pause(ctx, 500*time.Millisecond); n++ {
		event, err := schemas.DecodeEvent(w.inline())
		if err != nil {
			t.Error(err)
			return
		}
		to := Checkpoint{Position: schemas.Position{Sequence: strconv.Itoa(n)}}
		entry := Entry{Shard: shard, Position: to.Position, Event: event}
		if err := sink.Deliver(context.WithoutCancel(ctx), Batch{Shard: shard, From: at, To: to, Entries: []Entry{entry}}); err != nil {
			t.Error(err)
			return
		}
		at = to
	}
}
