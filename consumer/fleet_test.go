package consumer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"penstock/schemas"
)

func TestIndexIsCurrentAtLowLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		p := w.start("one")
		defer p.shutdown()
		elapse(3 * time.Second)
		w.send("b", w.inline())
		eventually(t, 50*time.Millisecond, "event in the index", func() bool { return w.index.has(w.ids[0]) })
	})
}

func TestEachEventOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(rt *rapid.T) {
			w := newWorld(rt, "a", "b", "c")
			// Leases that stop nobody: every process works on every shard.
			w.leases.blind = rapid.Bool().Draw(rt, "blind leases")
			rate := rapid.IntRange(0, 3).Draw(rt, "faults of 10")
			seed := rapid.Uint64().Draw(rt, "seed")
			random := rand.New(rand.NewPCG(seed, 1))
			w.faults.set(func(string, bool) error {
				if random.IntN(10) < rate {
					return errInjected
				}
				return nil
			})
			w.lake.delay = func() time.Duration { return time.Duration(seed % uint64(3*time.Second)) }
			processes := []*process{w.start("one"), w.start("two")}
			steps := rapid.SliceOfN(rapid.SampledFrom([]string{
				"small", "small", "batch", "stored", "wait", "restart", "restart two", "split",
			}), 1, 25).Draw(rt, "steps")
			shards := []string{"a", "b", "c"}
			for i, step := range steps {
				shard := shards[i%len(shards)]
				switch step {
				case "small":
					w.send(shard, w.inline())
				case "batch":
					w.send(shard, w.inline(), w.inline(), w.inline(), w.inline())
				case "stored":
					w.send(shard, w.inline(), w.stored(20<<10), w.stored(30<<10), w.inline(), w.stored(200<<10), w.stored(10))
				case "wait":
					elapse(2 * time.Second)
				case "restart", "restart two":
					n := 0
					if step == "restart two" {
						n = 1
					}
					processes[n].shutdown()
					processes[n] = w.start([]string{"one", "two"}[n])
				case "split":
					if len(shards) < 6 {
						child := fmt.Sprintf("%s%d", shard, i)
						w.stream.split(shard, child)
						shards = append(slices.DeleteFunc(shards, func(s string) bool { return s == shard }), child)
					}
				}
			}
			elapse(time.Second)
			w.faults.set(nil)
			eventually(rt, 10*time.Minute, "everything in both sinks", w.complete)
			for _, p := range processes {
				p.shutdown()
			}
			w.verify()
		})
	})
}

// TestCrashAtEveryStep stops the world at the first call of a port, then at the second, and so on: from there on every
// call fails, as if the process had died there. A new process must finish the work.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for step := 1; ; step++ {
			w := newWorld(t, "a")
			w.send("a", w.inline(), w.inline())
			w.send("a", []byte("no event"), w.inline())
			w.send("a", w.stored(40<<10), w.stored(50<<10), w.stored(60<<10), w.inline())
			w.stream.put("a", []byte("\xf3\x89\x9a\xc2 no aggregate"))
			w.send("a", w.stored(40<<10), w.inline())
			n, dead := 0, false
			w.faults.set(func(call string, done bool) error {
				n++
				dead = dead || n == step
				if dead {
					return errInjected
				}
				return nil
			})
			p := w.start("one")
			elapse(20 * time.Second)
			crashed := func() bool { w.faults.mu.Lock(); defer w.faults.mu.Unlock(); return dead }()
			p.shutdown()
			w.faults.set(nil)
			p = w.start("one")
			eventually(t, time.Minute, fmt.Sprintf("complete after a crash at step %d", step), w.complete)
			p.shutdown()
			w.verify()
			for _, sink := range []string{IndexSinkName, LakeSinkName} {
				if got := len(w.letters.of(sink)); got != 2 {
					t.Fatalf("crash at step %d: %d dead letters of %s, want 2", step, got, sink)
				}
			}
			if !crashed {
				if step < 30 {
					t.Fatalf("only %d steps", step)
				}
				return
			}
			if step > 200 {
				return // from here on it is idling
			}
		}
	})
}

func TestBadRecordsStopNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		sequence := w.send("a", w.inline(), []byte(`{"no":"event"}`), w.inline())
		broken := w.stream.put("a", []byte("\xf3\x89\x9a\xc2garbage"))
		w.send("a", w.inline())
		p := w.start("one")
		eventually(t, 30*time.Second, "the good events", w.complete)
		p.shutdown()
		w.verify()
		for _, sink := range []string{IndexSinkName, LakeSinkName} {
			letters := w.letters.of(sink)
			if len(letters) != 2 {
				t.Fatalf("%s: %d letters, want 2", sink, len(letters))
			}
			if want := (schemas.Position{Sequence: sequence, Sub: 1}); letters[0].Position != want ||
				string(letters[0].Raw) != `{"no":"event"}` || letters[0].Reason == "" {
				t.Errorf("%s: letter %+v", sink, letters[0])
			}
			if want := (schemas.Position{Sequence: broken}); letters[1].Position != want ||
				string(letters[1].Raw) != "\xf3\x89\x9a\xc2garbage" {
				t.Errorf("%s: letter %+v", sink, letters[1])
			}
		}
	})
}

func TestSlowLakeDoesNotSlowIndex(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		w.lake.delay = func() time.Duration { return time.Hour }
		p := w.start("one")
		defer p.shutdown()
		for range 200 {
			w.send("a", w.inline(), w.inline())
			w.send("b", w.inline(), w.inline())
		}
		eventually(t, time.Second, "everything in the index", func() bool {
			for _, id := range w.ids {
				if !w.index.has(id) {
					return false
				}
			}
			return true
		})
		// The lake's workers wait for room by now, and keep their leases for all that.
		elapse(10 * testLife)
		for _, s := range p.lakeFleet.Stats().Shards {
			if s.Owner != "one" || !s.Ours {
				t.Errorf("shard %s: owner %q", s.Shard, s.Owner)
			}
		}
		if got := w.leases.owners(LakeSinkName); got["one"] != 2 {
			t.Errorf("leases %v", got)
		}
	})
}

func TestFailingShardBlocksNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		w.send("a", w.inline())
		w.stream.trim("a", w.send("a", w.inline()))
		w.ids = nil // both are gone
		w.index.checkpoints["a"] = Checkpoint{Position: schemas.Position{Sequence: "5"}}
		w.send("b", w.inline())
		p := w.start("one")
		defer p.shutdown()
		eventually(t, 30*time.Second, "shard b", w.complete)
		elapse(5 * time.Minute)
		stats := p.indexFleet.Stats().Shards
		if !errors.Is(stats[0].Err, ErrTrimmed) || stats[1].Err != nil {
			t.Errorf("errors %v and %v, want ErrTrimmed and none", stats[0].Err, stats[1].Err)
		}
		if c, err := w.index.Checkpoint(t.Context(), "a"); err != nil || c.Position.Sequence != "5" {
			t.Errorf("the shard was skipped to %v, %v", c, err)
		}
	})
}

func TestChildWaitsForParent(t *testing.T) {
	t.Parallel()
	for _, blind := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "parent")
			w.leases.blind = blind
			for range 20 {
				w.send("parent", w.inline())
			}
			w.stream.split("parent", "left", "right")
			w.send("left", w.inline())
			w.send("right", w.inline())
			// A lake that is down when the children appear.
			w.faults.set(func(call string, done bool) error {
				if call == "Append" || call == "Apply" {
					return errInjected
				}
				return nil
			})
			one, two := w.start("one"), w.start("two")
			elapse(time.Minute)
			if len(w.lake.snapshot()) > 0 || w.index.size() > 0 {
				t.Fatal("something was stored while the stores were down")
			}
			for _, child := range []string{"left", "right"} {
				for _, s := range one.lakeFleet.Stats().Shards {
					if s.Shard == child && (s.Position != "" || !s.AsOf.IsZero()) {
						t.Errorf("child %s was read before its parent was drained", child)
					}
				}
			}
			w.faults.set(nil)
			eventually(t, 5*time.Minute, "everything", w.complete)
			one.shutdown()
			two.shutdown()
			w.verify()
			var order []string
			for _, r := range w.lake.snapshot() {
				order = append(order, r.Shard)
			}
			if slices.Index(order, "left") < 20 || slices.Index(order, "right") < 20 {
				t.Errorf("rows landed in the order %v", order)
			}
			if !w.lake.offset("parent").End || !w.index.checkpoints["parent"].End {
				t.Error("the parent bears no END mark")
			}
		})
	}
}

// TestWaitingForAParentTouchesNothing: the sink is asked how far the parent is, and keeps what it buffers of it.
func TestWaitingForAParentTouchesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "parent")
		sink := NewLakeSink(testLake(), w.lake, w.bodies, w.letters)
		if _, err := sink.Resume(t.Context(), "parent"); err != nil {
			t.Fatal(err)
		}
		if err := sink.Deliver(t.Context(), oneEvent(t, w, "parent")); err != nil {
			t.Fatal(err)
		}
		cfg := FleetConfig{Owner: "one", LeaseLife: testLife, PageBytes: 1, Busy: never, Log: discard()}
		f := NewFleet(cfg, w.stream, w.leases, sink, w.letters)
		f.listed["parent"] = Shard{ID: "parent"}
		waited := make(chan error, 1)
		go func() { waited <- f.awaitParents(t.Context(), Shard{ID: "child", Parents: []string{"parent"}}) }()
		elapse(testLife)
		if n := sink.Stats().BufferedRows; n != 1 || len(waited) > 0 {
			t.Errorf("%d rows are buffered, %d have stopped waiting", n, len(waited))
		}
		w.lake.mu.Lock()
		w.lake.offsets["parent"] = Checkpoint{Position: schemas.Position{Sequence: "1"}, End: true}
		w.lake.mu.Unlock()
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}

// TestShutdownGivesLeasesBackLast: when the leases are free, everything that was read is in the table.
func TestShutdownGivesLeasesBackLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		w.lake.delay = func() time.Duration { return time.Second }
		p := w.start("one")
		elapse(3 * time.Second)
		w.send("a", w.inline())
		elapse(time.Second)
		w.leases.freed = func(l Lease) {
			if l.Sink == LakeSinkName && !w.complete() {
				t.Errorf("lease of %s %s was given back before the last flush", l.Sink, l.Shard)
			}
		}
		p.shutdown()
		if !w.complete() {
			t.Error("the last flush is missing")
		}
		for _, sink := range []string{IndexSinkName, LakeSinkName} {
			if got := w.leases.owners(sink); got[""] != 2 {
				t.Errorf("%s leases %v, want both given back", sink, got)
			}
		}
	})
}

func TestSinkThatFailsStopsTheFleet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		cfg := FleetConfig{Owner: "one", LeaseLife: testLife, PageBytes: 1, Busy: never, Log: discard()}
		f := NewFleet(cfg, w.stream, w.leases, failingSink{NewIndexSink(w.index, w.letters, discard())}, w.letters)
		if err := f.Run(t.Context()); !errors.Is(err, errInjected) {
			t.Errorf("Run: %v, want the sink's error", err)
		}
	})
}

type failingSink struct{ *IndexSink }

func (failingSink) Run(ctx context.Context) error {
	pause(ctx, time.Minute)
	return errInjected
}

// TestDestinationsAreDown: while the stores refuse everything nothing is lost and nothing passed over; events go on to arrive, and
// are all there, once, when the stores are back.
func TestDestinationsAreDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		p := w.start("one")
		w.send("a", w.inline())
		eventually(t, time.Minute, "what came before", w.complete)
		stored := w.index.size()
		w.faults.set(func(call string, done bool) error {
			if !done && (call == "Append" || call == "Apply") {
				return errInjected
			}
			return nil
		})
		for range 20 {
			w.send("a", w.inline())
			w.send("b", w.inline())
			elapse(30 * time.Second)
		}
		if n := w.index.size(); n != stored {
			t.Errorf("%d events were stored by an index that is down", n-stored)
		}
		w.faults.set(nil)
		eventually(t, 2*time.Minute, "everything, since the stores are back", w.complete)
		p.shutdown()
		w.verify()
	})
}
