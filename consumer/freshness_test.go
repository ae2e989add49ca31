package consumer

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func (w *world) freshness(p *process) *Freshness {
	return NewFreshness(w.stream, p.lakeSink, 3*time.Second, time.Now)
}

func TestFreshSeesWhatWasAcked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		w.lake.delay = func() time.Duration { return 20 * time.Millisecond }
		p := w.start("one")
		defer p.shutdown()
		f := w.freshness(p)
		elapse(2 * time.Second)
		for range 5 {
			w.send("a", w.inline())
			w.send("b", w.inline(), w.stored(2_000))
			asked := time.Now()
			through, err := f.Fresh(t.Context())
			if err != nil || !through.Equal(asked) {
				t.Fatalf("complete through %s, %v; want %s", through, err, asked)
			}
			if !w.complete() {
				t.Fatal("what was acked is not in the lake")
			}
			if took := time.Since(asked); took > 300*time.Millisecond {
				t.Errorf("took %s", took)
			}
		}
		commits := w.lake.commitCount()
		asked := time.Now()
		if _, err := f.Fresh(t.Context()); err != nil || time.Since(asked) > 0 || w.lake.commitCount() != commits {
			t.Errorf("clean: %v, took %s, %d commits", err, time.Since(asked), w.lake.commitCount()-commits)
		}
	})
}

func TestFreshIsCoalesced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		w.lake.delay = func() time.Duration { return time.Millisecond }
		cfg := testLake()
		cfg.FlushBytes, cfg.MaxBytes = 1<<20, 2<<20
		p := w.startWith("one", cfg)
		defer p.shutdown()
		f := w.freshness(p)
		elapse(2 * time.Second)
		began := time.Now()
		var callers sync.WaitGroup
		for i := range 200 {
			callers.Go(func() {
				elapse(time.Duration(i) * 10 * time.Millisecond)
				w.send("a", w.inline())
				if _, err := f.Fresh(t.Context()); err != nil {
					t.Errorf("Fresh: %v", err)
				}
			})
		}
		callers.Wait()
		seconds := time.Since(began).Seconds()
		if !w.complete() {
			t.Error("not everything is in the lake")
		}
		if limit := int(seconds*4) + 1; w.lake.commitCount() > limit {
			t.Errorf("%d commits in %.2f s, at most 4/s are allowed", w.lake.commitCount(), seconds)
		}
	})
}

// What was received may not have come to the stream yet, so the tips don't show it.
func TestFreshClaimsOnlyWhatHasArrived(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		cfg := testLake()
		cfg.Settle = 10 * time.Second
		p := w.startWith("one", cfg)
		defer p.shutdown()
		elapse(20 * time.Second)
		onItsWay := time.Now().Add(-time.Second)
		f := NewFreshness(w.stream, p.lakeSink, 3*time.Second, func() time.Time {
			arrived := onItsWay
			w.send("a", w.inline()) // it arrives between the two questions
			return arrived
		})
		if through, err := f.Fresh(t.Context()); err != nil || !through.Equal(onItsWay) {
			t.Errorf("complete through %s, %v; want %s", through, err, onItsWay)
		}

		// When the flush is late, what arrived is all that is known, and that is not when it was received.
		w.faults.set(func(call string, done bool) error {
			if call == "Append" {
				return errInjected
			}
			return nil
		})
		sent := time.Now()
		f = NewFreshness(w.stream, p.lakeSink, 3*time.Second, func() time.Time { w.send("a", w.inline()); return time.Now() })
		if through, err := f.Fresh(t.Context()); err != nil || through.IsZero() || through.After(sent.Add(-cfg.Settle)) {
			t.Errorf("complete through %s, %v; want %s before %s", through, err, cfg.Settle, sent)
		}
		w.faults.set(nil)
	})
}

func TestFreshWhenLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		p := w.start("one")
		defer p.shutdown()
		f := w.freshness(p)
		if through, err := f.Fresh(t.Context()); err != nil || through.IsZero() {
			t.Fatalf("empty stream: %s, %v", through, err)
		}
		elapse(10 * time.Second)
		w.faults.set(func(call string, done bool) error {
			if call == "Append" {
				return errInjected
			}
			return nil
		})
		sent := time.Now()
		w.send("a", w.inline())
		asked := time.Now()
		through, err := f.Fresh(t.Context())
		if err != nil || through.After(sent) || through.Before(sent.Add(-2*time.Second)) {
			t.Errorf("complete through %s, %v; want just before %s", through, err, sent)
		}
		if took := time.Since(asked); took != 3*time.Second {
			t.Errorf("took %s, the deadline is 3 s", took)
		}
		again, err := f.Fresh(t.Context())
		if err != nil || again.Before(through) || again.After(sent) {
			t.Errorf("complete through %s, %v; want %s or later, before %s", again, err, through, sent)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Fresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("caller gone: %v", err)
		}
		w.faults.set(nil)
		asked = time.Now()
		if through, err := f.Fresh(t.Context()); err != nil || !through.Equal(asked) && through.After(sent) {
			t.Errorf("after the fault: %s, %v", through, err)
		}
		eventually(t, time.Minute, "everything in the lake", w.complete)
	})
}
