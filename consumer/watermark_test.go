package consumer

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

func TestIndexWatermark(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		p := w.start("one")
		marks := NewWatermarks(w.stream, p.indexSink, w.lake)
		elapse(30 * time.Second)
		// The newest AsOf is known although it is written down only now and then.
		through, err := marks.Index(t.Context())
		if err != nil || time.Since(through) > 2*time.Second {
			t.Errorf("watermark %s, %v", through, err)
		}
		applies := w.index.applyCount()
		elapse(10 * time.Second)
		if n := w.index.applyCount() - applies; n < 2 || n > 6 {
			t.Errorf("%d writes of two idle shards in 10 s, want one each every 5 s", n)
		}
		w.send("a", w.inline())
		w.faults.set(func(call string, done bool) error {
			if call == "Apply" {
				return errInjected
			}
			return nil
		})
		stuck := time.Now()
		w.send("a", w.inline())
		elapse(20 * time.Second)
		if through, err = marks.Index(t.Context()); err != nil || through.After(stuck) {
			t.Errorf("watermark %s, %v, although the index is stuck since %s", through, err, stuck)
		}
		w.faults.set(nil)
		w.stream.split("a", "c")
		eventually(t, time.Minute, "the drained shard to count no more", func() bool {
			through, err = marks.Index(t.Context())
			return err == nil && time.Since(through) < 2*time.Second
		})
		p.shutdown()
		drained := NewWatermarks(newMemStream("a"), p.indexSink, w.lake)
		if through, err := drained.Index(t.Context()); err != nil || !through.IsZero() {
			t.Errorf("no open shard: %s, %v", through, err)
		}
		unread := NewWatermarks(newMemStream("b", "unread"), p.indexSink, w.lake)
		if through, err := unread.Index(t.Context()); err != nil || !through.IsZero() {
			t.Errorf("an unread shard: %s, %v", through, err)
		}
	})
}

func TestSafeToTrimIsTheSlowestSink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		first := w.send("a", w.inline())
		p := w.start("one")
		eventually(t, time.Minute, "the first event", w.complete)
		w.faults.set(func(call string, done bool) error {
			if call == "Append" {
				return errInjected
			}
			return nil
		})
		second := w.send("a", w.inline())
		w.send("b", w.inline())
		elapse(10 * time.Second)
		safe := func() map[string]string {
			safe, err := NewWatermarks(w.stream, w.index, w.lake).SafeToTrim(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return safe
		}
		if got := safe(); !maps.Equal(got, map[string]string{"a": first}) {
			t.Errorf("lake behind: %v", got)
		}
		sinks, err := NewWatermarks(w.stream, w.index, w.lake).Held(t.Context())
		if err != nil || len(sinks) != 2 || sinks[0].Sink != IndexSinkName || sinks[0].Through["a"] != second || len(sinks[0].Through) != 2 ||
			sinks[1].Sink != LakeSinkName || !maps.Equal(sinks[1].Through, map[string]string{"a": first}) {
			t.Errorf("the sinks hold %v, %v", sinks, err)
		}
		w.faults.set(func(call string, done bool) error {
			if call == "Apply" {
				return errInjected
			}
			return nil
		})
		w.send("a", w.inline())
		eventually(t, time.Minute, "the lake", func() bool { return len(w.lake.ids()) == 4 })
		if got := safe(); got["a"] != second {
			t.Errorf("index behind: %v, want %s", got, second)
		}
		p.shutdown()
	})
}

// splitting is a Source and a Checkpointer for it: the moment that the checkpoint of a is looked at for the n-th time, a is split,
// drained, and an event arrives in its child that the index does not have.
type splitting struct {
	splitAt int
	looks   int
	arrived time.Time // in the child
	Source
}

func (s *splitting) Shards(context.Context) ([]Shard, error) {
	shards := []Shard{{ID: "a", Closed: s.looks >= s.splitAt}, {ID: "b"}}
	if s.looks >= s.splitAt {
		shards = append(shards, Shard{ID: "child", Parents: []string{"a"}})
	}
	return shards, nil
}

func (s *splitting) Checkpoint(_ context.Context, shard string) (Checkpoint, error) {
	at := Checkpoint{Position: schemas.Position{Sequence: "1"}, AsOf: s.arrived.Add(time.Minute)}
	switch shard {
	case "a":
		s.looks++
		at.End = s.looks >= s.splitAt
		if !at.End {
			at.AsOf = s.arrived.Add(-time.Minute)
		}
	case "child":
		at.AsOf = s.arrived.Add(-time.Second)
	}
	return at, nil
}

// However a split falls between the looks at the list and at the checkpoints, the watermark never passes what is not in the
// index.
func TestIndexWatermarkIsNeverTooNew(t *testing.T) {
	t.Parallel()
	for splitAt := 1; splitAt <= 4; splitAt++ {
		s := &splitting{splitAt: splitAt, arrived: time.Unix(1_800_000_000, 0)}
		marks := NewWatermarks(s, s, nil)
		for ask := range 4 {
			through, err := marks.Index(t.Context())
			if err != nil || through.IsZero() || through.After(s.arrived) {
				t.Errorf("split at look %d, asked %d times: %s, %v; an event that is not in the index arrived at %s",
					splitAt, ask+1, through, err, s.arrived)
			}
		}
	}
}

// The watermark is found once in a while, whoever asks, and by one at a time.
func TestRecentIndex(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const life, takes = time.Second, 300 * time.Millisecond
		began, asked := time.Now(), 0
		var fail error
		recent := NewRecentIndex(func(ctx context.Context) (time.Time, error) {
			asked++
			if !pause(ctx, takes) {
				return time.Time{}, ctx.Err()
			}
			return time.Now(), fail
		}, life)
		index := func(ctx context.Context) (time.Duration, error) {
			through, err := recent.Index(ctx)
			return through.Sub(began), err
		}
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				if got, err := index(t.Context()); err != nil || got != takes {
					t.Errorf("%s, %v", got, err)
				}
			})
		}
		callers.Wait()
		elapse(life - time.Millisecond)
		if got, err := index(t.Context()); got != takes || err != nil || asked != 1 {
			t.Errorf("just within its life: %s, %v, asked %d times", got, err, asked)
		}
		elapse(time.Millisecond)
		fail = errInjected
		if got, err := index(t.Context()); !errors.Is(err, errInjected) || asked != 2 {
			t.Errorf("a failure: %s, %v, asked %d times", got, err, asked)
		}
		fail = nil
		if got, err := index(t.Context()); err != nil || got != time.Since(began) || asked != 3 {
			t.Errorf("after a failure: %s, %v, asked %d times", got, err, asked)
		}
		// Who gives up gives up alone.
		elapse(life)
		hasty, cancel := context.WithTimeout(t.Context(), takes/2)
		defer cancel()
		callers.Go(func() {
			if _, err := index(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if _, err := index(hasty); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave up: %v", err)
		}
		callers.Wait()
	})
}
