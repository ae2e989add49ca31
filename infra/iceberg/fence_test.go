package iceberg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"penstock/consumer"
)

var errInjected = errors.New("injected")

// Moments in an Append at which something may happen beside it: its n-th look at the pointer (the first before the data
// files are written, the second before the commit is built, the third between building the commit and checking its
// requirements), or after that, just before the swap.
const (
	firstMoment = 1
	beforeSwap  = 4
	lastMoment  = beforeSwap
)

// interrupt makes do run once at the given moment of the next Append on a lake that uses the returned pointer, which
// tells whether it has.
func interrupt(shared Pointer, moment int, do func() error) *hookedPointer {
	p := &hookedPointer{Pointer: shared}
	looks := 0
	once := func() error {
		if p.fired {
			return nil
		}
		p.fired = true
		return do()
	}
	p.load = func() error {
		if looks++; looks == moment {
			return once()
		}
		return nil
	}
	p.before = func() error {
		if moment == beforeSwap {
			return once()
		}
		return nil
	}
	return p
}

// withPointer is the lake with its pointer seen through another.
func withPointer(l *Lake, p Pointer) *Lake {
	return &Lake{
		files: l.files, catalog: &catalog{files: l.files, pointer: p, log: l.log}, arrow: l.arrow, admit: l.admit, log: l.log,
		commits: make(chan struct{}, 1), live: liveFiles{files: l.files},
	}
}

// TestFence: what a peer may do in the midst of an Append of the events 11 … 20, and what must come of it.
func TestFence(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		peer   func(context.Context, *Lake) error
		fenced bool
		want   map[string]int // events in the table in the end, by shard
		offset int            // of shard a in the end
	}{
		{"commits the same range", func(ctx context.Context, l *Lake) error {
			return appendSpan(ctx, l, "a", 10, 20)
		}, false, map[string]int{"a": 20}, 20},
		{"commits a part of it", func(ctx context.Context, l *Lake) error {
			return appendSpan(ctx, l, "a", 10, 15)
		}, true, map[string]int{"a": 15}, 15},
		{"commits more than it", func(ctx context.Context, l *Lake) error {
			return appendSpan(ctx, l, "a", 10, 30)
		}, true, map[string]int{"a": 30}, 30},
		{"moves only the offset", func(ctx context.Context, l *Lake) error {
			return l.Append(ctx, nil, []consumer.Move{move("a", 10, 12)})
		}, true, map[string]int{"a": 10}, 12},
		{"ends the shard", func(ctx context.Context, l *Lake) error {
			end := at(10)
			end.End = true
			return l.Append(ctx, nil, []consumer.Move{{Shard: "a", From: at(10), To: end}})
		}, true, map[string]int{"a": 10}, -1},
		{"takes the shard out", func(ctx context.Context, l *Lake) error {
			return l.Append(ctx, nil, []consumer.Move{move("a", 10, 0)})
		}, true, map[string]int{"a": 10}, 0},
		{"says only how far the shard is known", func(ctx context.Context, l *Lake) error {
			to := at(10)
			to.AsOf = received
			return l.Append(ctx, nil, []consumer.Move{{Shard: "a", From: at(10), To: to}})
		}, false, map[string]int{"a": 20}, 20},
		{"commits another shard", func(ctx context.Context, l *Lake) error {
			return appendSpan(ctx, l, "b", 0, 5)
		}, false, map[string]int{"a": 20, "b": 5}, 20},
		{"moves only another shard's offset", func(ctx context.Context, l *Lake) error {
			return l.Append(ctx, nil, []consumer.Move{move("b", 0, 5)})
		}, false, map[string]int{"a": 20}, 20},
		{"commits and goes far on, while this one is frozen", func(ctx context.Context, l *Lake) error {
			if err := appendSpan(ctx, l, "a", 10, 20); err != nil {
				return err
			}
			for n := 20; n < 60; n++ { // so many commits that the metadata it had loaded is gone
				if err := l.Append(ctx, nil, []consumer.Move{move("a", n, n+1)}); err != nil {
					return err
				}
			}
			return nil
		}, true, map[string]int{"a": 20}, 60},
	} {
		for moment := firstMoment; moment <= lastMoment; moment++ {
			t.Run(fmt.Sprintf("%s/%d", c.name, moment), func(t *testing.T) {
				t.Parallel()
				l, shared, _ := newLake(t)
				if err := appendSpan(t.Context(), l, "a", 0, 10); err != nil {
					t.Fatal(err)
				}
				p := interrupt(shared, moment, func() error { return c.peer(t.Context(), l) })
				err := appendSpan(t.Context(), withPointer(l, p), "a", 10, 20)
				if !p.fired { // else the worker alone may be what gives the wanted end
					t.Error("the peer did nothing")
				}
				if errors.Is(err, consumer.ErrFenced) != c.fenced || !c.fenced && err != nil {
					t.Errorf("answer is %v, want fenced: %t", err, c.fenced)
				}
				wantOnce(t, l, c.want)
				wantNoStray(t, l)
				if c.offset >= 0 {
					wantOffset(t, l, "a", c.offset)
				}
			})
		}
	}
}

// TestLostAnswer: a commit whose answer is an error, whether it landed or not.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	fail := func() error { return errInjected }
	again := func(l *Lake, shared Pointer) func() error { // lands, then a peer goes on from there
		return func() error {
			if err := appendSpan(t.Context(), withPointer(l, shared), "a", 20, 25); err != nil {
				return err
			}
			return errInjected
		}
	}
	for _, c := range []struct {
		name string
		hook func(l *Lake, p *hookedPointer)
		ok   bool
		want int
	}{
		{"landed", func(_ *Lake, p *hookedPointer) { p.after = fail }, true, 20},
		{"did not land", func(_ *Lake, p *hookedPointer) { p.before = fail }, false, 10},
		{"landed, and a peer committed behind it", func(l *Lake, p *hookedPointer) { p.after = again(l, p.Pointer) }, true, 25},
		{"landed, and the table can't be read", func(_ *Lake, p *hookedPointer) {
			p.after = func() error { p.load = fail; return errInjected }
		}, false, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, shared, _ := newLake(t)
			if err := appendSpan(t.Context(), l, "a", 0, 10); err != nil {
				t.Fatal(err)
			}
			p := &hookedPointer{Pointer: shared}
			c.hook(l, p)
			err := appendSpan(t.Context(), withPointer(l, p), "a", 10, 20)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, errInjected) {
				t.Errorf("answer is %v", err)
			}
			wantOnce(t, l, map[string]int{"a": c.want})
			wantOffset(t, l, "a", c.want)
			// The worker goes on from the table's offsets.
			if c.want < 20 {
				if err := appendSpan(t.Context(), l, "a", c.want, 20); err != nil {
					t.Fatal(err)
				}
				wantOnce(t, l, map[string]int{"a": 20})
			}
		})
	}
}

// TestNoRoom: an append that the disk has no room for writes nothing, and one whose commit is in doubt removes nothing.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	l, shared, _ := newLake(t)
	full := errors.New("disk full")
	var asked int64
	l.admit = func(n int64) error { asked = n; return full }
	rows := span("a", 0, 10)
	if err := l.Append(t.Context(), rows, []consumer.Move{move("a", 0, 10)}); !errors.Is(err, full) {
		t.Errorf("answer is %v", err)
	}
	if asked < int64(10*len(rows[0].Body)) {
		t.Errorf("asked for %d bytes", asked)
	}
	wantNoStray(t, l)
	if err := l.Append(t.Context(), nil, []consumer.Move{move("a", 0, 10)}); err != nil {
		t.Errorf("a move without rows: %v", err)
	}

	l.admit = admitAll
	var late func()
	worker := withPointer(l, &hookedPointer{Pointer: shared, before: func() error { return errInjected }})
	worker.catalog.pointer = latePointer{worker.catalog.pointer, func(prev, next string) {
		late = func() { _, _ = shared.Swap(t.Context(), prev, next) }
	}}
	if err := appendSpan(t.Context(), worker, "a", 10, 20); !errors.Is(err, errInjected) {
		t.Errorf("answer is %v", err)
	}
	late()
	wantOffset(t, l, "a", 20)
	wantFiles(t, l)
	if got := ids(t, l); len(got) != 10 {
		t.Errorf("%d events are in the table", len(got))
	}
}

// latePointer tells what each Swap was asked for, as a store would know that answers before it acts.
type latePointer struct {
	Pointer
	asked func(prev, next string)
}

func (p latePointer) Swap(ctx context.Context, prev, next string) (bool, error) {
	p.asked(prev, next)
	return p.Pointer.Swap(ctx, prev, next)
}

// TestLostAnswerWithoutMoves: rows that no offset fences are found again by the mark on their snapshot.
func TestLostAnswerWithoutMoves(t *testing.T) {
	t.Parallel()
	l, shared, _ := newLake(t)
	worker := withPointer(l, &hookedPointer{Pointer: shared, after: func() error { return errInjected }})
	if err := worker.Append(t.Context(), span("a", 0, 3), nil); err != nil {
		t.Fatal(err)
	}
	wantOnce(t, l, map[string]int{"a": 3})
}

// TestEndOfContext: an Append whose context ends while it commits says what became of it.
func TestEndOfContext(t *testing.T) {
	t.Parallel()
	l, shared, _ := newLake(t)
	ctx, cancel := context.WithCancel(t.Context())
	p := &hookedPointer{Pointer: shared, after: func() error { cancel(); return ctx.Err() }}
	if err := appendSpan(ctx, withPointer(l, p), "a", 0, 2); err != nil {
		t.Error(err)
	}
	wantOnce(t, l, map[string]int{"a": 2})
	if err := appendSpan(ctx, l, "a", 2, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("answer is %v", err)
	}
	wantOnce(t, l, map[string]int{"a": 2})
}

// TestSlowReader: between a look at the pointer and the reading of the metadata so many commits go by that the file is
// removed.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	l, shared, _ := newLake(t)
	looks := 0
	reader := withPointer(l, &hookedPointer{Pointer: shared, loaded: func() {
		if looks++; looks > 1 {
			return
		}
		for n := range 40 {
			if err := l.Append(t.Context(), nil, []consumer.Move{move("a", n, n+1)}); err != nil {
				t.Error(err)
			}
		}
	}})
	wantOffset(t, reader, "a", 40)
	if looks != 2 {
		t.Errorf("the pointer was looked at %d times", looks)
	}
}

func TestUnsuitableMoves(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	bad := at(1)
	bad.Position.Sub = -1
	for name, moves := range map[string][]consumer.Move{
		"twice":      {move("a", 0, 1), move("a", 1, 2)},
		"no shard":   {move("", 0, 1)},
		"unreadable": {{Shard: "a", To: bad}},
	} {
		if err := l.Append(t.Context(), span("a", 0, 1), moves); err == nil || errors.Is(err, consumer.ErrFenced) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantOnce(t, l, nil)
}

// TestWorkers: workers of several processes fight over the same shards, and answers get lost.
func TestWorkers(t *testing.T) {
	t.Parallel()
	const workers, shards, events = 8, 3, 20
	fs, shared := vfs.NewMem(), &memoryPointer{}
	openLake(t, fs, "/lake", shared)
	var fenced, lost atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		rng := rand.New(rand.NewPCG(1, uint64(w)))
		p := &hookedPointer{Pointer: shared}
		l := openLake(t, fs, "/lake", p)
		p.after = func() error {
			if rng.IntN(4) == 0 {
				lost.Add(1)
				return errInjected
			}
			return nil
		}
		wg.Go(func() {
			for {
				offsets, err := l.Offsets(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				shard, from, open := pick(offsets, shards, events, rng)
				if !open {
					return
				}
				to := min(events, from+1+rng.IntN(5))
				switch err := appendSpan(t.Context(), l, shard, from, to); {
				case errors.Is(err, consumer.ErrFenced):
					fenced.Add(1)
				case err != nil && !errors.Is(err, errInjected):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d appends fenced, %d answers lost", fenced.Load(), lost.Load())
	want := make(map[string]int)
	for s := range shards {
		want[fmt.Sprint("s", s)] = events
	}
	wantOnce(t, openLake(t, fs, "/lake", shared), want)
}

// pick chooses a shard that is not done, and says where its offset is.
func pick(offsets map[string]consumer.Checkpoint, shards, events int, rng *rand.Rand) (string, int, bool) {
	first := rng.IntN(shards)
	for i := range shards {
		shard := fmt.Sprint("s", (first+i)%shards)
		from := 0
		_, _ = fmt.Sscan(offsets[shard].Position.Sequence, &from)
		if from < events {
			return shard, from, true
		}
	}
	return "", 0, false
}

// TestInterleavings holds random sequences of appends, peers' appends in their midst, and lost answers against a model.
func TestInterleavings(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l, shared, _ := newLake(t)
		offset := map[string]int{"a": 0, "b": 0} // the model: events in the table, and the offset, by shard
		// push appends as one worker would that believes the offset of the shard to be from.
		push := func(worker *Lake, shard string, from, n int) error {
			return appendSpan(rt.Context(), worker, shard, from, from+n)
		}
		steps := rapid.IntRange(1, 4).Draw(rt, "steps")
		for range steps {
			shard := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "shard")
			n := rapid.IntRange(1, 4).Draw(rt, "rows")
			from := max(0, offset[shard]-rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(rt, "stale by"))
			before := offset[shard]
			var p *hookedPointer
			switch rapid.SampledFrom([]string{"nothing", "peer", "landed", "failed"}).Draw(rt, "happens") {
			case "nothing":
				p = &hookedPointer{Pointer: shared}
			case "landed":
				p = &hookedPointer{Pointer: shared, after: func() error { return errInjected }}
			case "failed":
				p = &hookedPointer{Pointer: shared, before: func() error { return errInjected }}
			case "peer":
				peerShard := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "peer's shard")
				m := rapid.IntRange(1, 4).Draw(rt, "peer's rows")
				p = interrupt(shared, rapid.IntRange(firstMoment, lastMoment).Draw(rt, "moment"), func() error {
					if err := push(l, peerShard, offset[peerShard], m); err != nil {
						return err
					}
					offset[peerShard] += m
					return nil
				})
			}
			err := push(withPointer(l, p), shard, from, n)
			got := tableOffset(rt, l, shard)
			switch {
			case err == nil && got == from+n:
				offset[shard] = got
			case errors.Is(err, consumer.ErrFenced) && got == offset[shard]:
			case errors.Is(err, errInjected) && got == before:
			default:
				rt.Fatalf("append of %s %d+%d at %d: %v, offset is now %d", shard, from, n, before, err, got)
			}
		}
		wantOnce(rt, l, offset)
	})
}
