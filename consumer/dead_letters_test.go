package consumer

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

// buried makes a world in which both sinks have given up on the events of one record of shard a.
func buried(t *testing.T, events int) (w *world, places []schemas.Position) {
	w = newWorld(t, "a")
	var encoded [][]byte
	for range events {
		encoded = append(encoded, w.stored(2_000))
	}
	sequence := w.send("a", encoded...)
	for i, raw := range encoded {
		at := schemas.Position{Sequence: sequence, Sub: i}
		for _, sink := range []string{IndexSinkName, LakeSinkName} {
			d := DeadLetter{Sink: sink, Shard: "a", Position: at, Arrived: time.Now(), Reason: "test", Raw: raw}
			if err := w.letters.Put(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		places = append(places, at)
		w.lake.offsets["a"] = Checkpoint{Position: at}
	}
	return w, places
}

func (w *world) requeuer() *Requeuer {
	return NewRequeuer(NewIndexSink(w.index, w.letters, discard()), NewLakeSink(testLake(), w.lake, w.bodies, w.letters))
}

// TestRequeueOnceDespiteCrashes lets a requeue fail at its first call of a port, before or after its effect, then at its
// second, and so on, and repeats it.
func TestRequeueOnceDespiteCrashes(t *testing.T) {
	t.Parallel()
	for step := 1; step < 60; step++ {
		w, places := buried(t, 3)
		n := 0
		w.faults.set(func(string, bool) error {
			if n++; n >= step && n < step+2 { // the process dies at this call
				return errInjected
			}
			return nil
		})
		for _, sink := range []string{LakeSinkName, IndexSinkName} {
			for _, at := range places {
				for tries := 0; ; tries++ {
					err := w.requeuer().Requeue(t.Context(), sink, "a", at)
					if err == nil || errors.Is(err, ErrNotFound) && tries > 0 {
						break
					}
					if !errors.Is(err, errInjected) {
						t.Fatalf("fault at call %d: requeue %s: %v", step, at, err)
					}
				}
			}
		}
		w.verify()
		if left := len(w.letters.letters); left != 0 {
			t.Fatalf("fault at call %d: %d letters left", step, left)
		}
		if len(w.index.checkpoints) != 0 || w.lake.offsets["a"].Position != places[2] {
			t.Fatalf("a requeue moved progress: %v, %v", w.index.checkpoints, w.lake.offsets)
		}
		if n < step {
			return
		}
	}
	t.Fatal("more calls than expected")
}

// TestRequeueTwiceAtATime: of two requeues of the same letters, in the same or the other order, each counts once.
func TestRequeueTwiceAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for delay := range 40 {
			w, places := buried(t, 4)
			w.lake.delay = func() time.Duration { return time.Duration(delay*7%20) * time.Millisecond }
			w.bodies.delay = func() time.Duration { return rand.N(30 * time.Millisecond) }
			var both sync.WaitGroup
			for who := range 3 {
				both.Go(func() {
					r := w.requeuer()
					for i := range places {
						at := places[i]
						if who == 1 {
							at = places[len(places)-1-i]
						}
						elapse(time.Duration(delay*who%9) * time.Millisecond)
						err := r.Requeue(t.Context(), LakeSinkName, "a", at)
						if err != nil && !errors.Is(err, ErrNotFound) {
							t.Errorf("requeue %s: %v", at, err)
						}
					}
				})
			}
			both.Wait()
			for id, n := range w.lake.ids() {
				if n != 1 {
					t.Fatalf("delay %d: event %s is in the lake %d times", delay, id, n)
				}
			}
			if got := len(w.lake.ids()); got != len(places) {
				t.Fatalf("delay %d: %d events in the lake, want %d", delay, got, len(places))
			}
		}
	})
}

// TestRequeueAnotherInBetween: a requeue dies between commit and deletion, others follow, then it is repeated.
func TestRequeueAnotherInBetween(t *testing.T) {
	t.Parallel()
	w, places := buried(t, 3)
	w.faults.set(func(call string, done bool) error {
		if call == "DeleteLetter" {
			return errInjected
		}
		return nil
	})
	if err := w.requeuer().Requeue(t.Context(), LakeSinkName, "a", places[0]); !errors.Is(err, errInjected) {
		t.Fatalf("Requeue: %v", err)
	}
	w.faults.set(nil)
	for _, at := range []schemas.Position{places[1], places[2], places[0]} {
		err := w.requeuer().Requeue(t.Context(), LakeSinkName, "a", at)
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatalf("Requeue: %v", err)
		}
	}
	for _, at := range places {
		if err := w.requeuer().Requeue(t.Context(), IndexSinkName, "a", at); err != nil {
			t.Fatal(err)
		}
	}
	w.verify()
}

// TestRequeueBeforeTheOffsetPasses: a flush that would have passed a letter's place fails, so that the stream gives the
// event again, now with its body. A requeue before or after that must not add it a second time.
func TestRequeueBeforeTheOffsetPasses(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "a")
			raw := w.stored(2_000)
			bodies := maps.Clone(w.bodies.objects)
			clear(w.bodies.objects)
			at := schemas.Position{Sequence: w.send("a", raw)}
			p := w.start("p")
			eventually(t, time.Second, "dead letter", func() bool { return len(w.letters.of(LakeSinkName)) == 1 })
			w.bodies.mu.Lock()
			w.bodies.objects = bodies
			w.bodies.mu.Unlock()
			requeue := func(p *process) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := NewRequeuer(p.indexSink, p.lakeSink).Requeue(ctx, LakeSinkName, "a", at)
				if err != nil && !errors.Is(err, errInjected) {
					t.Errorf("requeue: %v", err)
				}
			}
			if early {
				requeue(p)
			}
			w.faults.set(func(call string, done bool) error { // the process dies before it commits
				if call == "Append" && !done {
					return errInjected
				}
				return nil
			})
			p.shutdown()
			w.faults.set(nil)
			p = w.start("p")
			eventually(t, 10*time.Second, "offset", func() bool { return w.lake.offset("a").Position == at })
			if !early {
				requeue(p)
			}
			p.shutdown()
			w.verify()
			if left := w.letters.of(LakeSinkName); len(left) > 0 {
				t.Errorf("%d letters left", len(left))
			}
		})
	}
}

func TestRequeueRefuses(t *testing.T) {
	t.Parallel()
	w, places := buried(t, 1)
	ctx := t.Context()
	for name, raw := range map[string]string{"event": `{"no":"event"}`, "record": "\xf3\x89\x9a\xc2garbage"} {
		for _, sink := range []string{IndexSinkName, LakeSinkName} {
			at := schemas.Position{Sequence: "99", Sub: len(name)}
			if err := w.letters.Put(ctx, DeadLetter{Sink: sink, Shard: "a", Position: at, Raw: []byte(raw)}); err != nil {
				t.Fatal(err)
			}
			if err := w.requeuer().Requeue(ctx, sink, "a", at); !errors.Is(err, schemas.ErrCorrupt) {
				t.Errorf("undecodable %s to %s: %v, want ErrCorrupt", name, sink, err)
			}
			if _, err := w.letters.Get(ctx, sink, "a", at); err != nil {
				t.Errorf("undecodable %s of %s is gone: %v", name, sink, err)
			}
		}
	}
	absent := schemas.Position{Sequence: "98"}
	for _, sink := range []string{IndexSinkName, LakeSinkName} {
		if err := w.requeuer().Requeue(ctx, sink, "a", absent); !errors.Is(err, ErrNotFound) {
			t.Errorf("absent letter of %s: %v, want ErrNotFound", sink, err)
		}
	}
	if err := w.requeuer().Requeue(ctx, "attic", "a", places[0]); err == nil {
		t.Error("unknown sink: no error")
	}
	clear(w.bodies.objects)
	if err := w.requeuer().Requeue(ctx, LakeSinkName, "a", places[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("body still missing: %v", err)
	}
	if _, err := w.letters.Get(ctx, LakeSinkName, "a", places[0]); err != nil {
		t.Errorf("letter with a missing body is gone: %v", err)
	}
	w.index.refuse[w.ids[0]] = true
	if err := w.requeuer().Requeue(ctx, IndexSinkName, "a", places[0]); !errors.Is(err, ErrRefused) {
		t.Errorf("still refused by the index: %v", err)
	}
	if len(w.lake.snapshot()) != 0 {
		t.Errorf("%d rows", len(w.lake.snapshot()))
	}
}

// TestWholeRecordIsRequeued: the letter is a whole record that a later version can take apart.
func TestWholeRecordIsRequeued(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a")
	raw := schemas.AppendAggregate(nil, "k", schemas.HashKey{}, [][]byte{w.inline(), w.inline(), w.inline()})
	at := schemas.Position{Sequence: "7"}
	w.lake.offsets["a"] = Checkpoint{Position: schemas.Position{Sequence: "7", Sub: 2}}
	for _, sink := range []string{IndexSinkName, LakeSinkName} {
		if err := w.letters.Put(t.Context(), DeadLetter{Sink: sink, Shard: "a", Position: at, Raw: raw}); err != nil {
			t.Fatal(err)
		}
		if err := w.requeuer().Requeue(t.Context(), sink, "a", at); err != nil {
			t.Fatal(err)
		}
	}
	w.verify()
	if got := w.lake.snapshot()[2].Position; got != (schemas.Position{Sequence: "7", Sub: 2}) {
		t.Errorf("third event at %s", got)
	}
}
