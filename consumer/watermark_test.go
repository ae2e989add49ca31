package consumer

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"
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
