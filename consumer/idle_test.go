package consumer

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// keptFor is for how long the streams of these tests keep records. A sink's AsOf is never older than asOfCommit and a flush.
const keptFor = 3 * asOfCommit

// idleWorld is a world whose shard has given one event, which both sinks hold, and which the stream keeps for keptFor.
func idleWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, "a", "never written")
	w.stream.keep = keptFor
	p := w.start("one")
	w.send("a", w.inline())
	eventually(t, time.Minute, "the event", w.complete)
	elapse(time.Second) // and to the tip
	p.shutdown()
	return w
}

// A shard in which nothing arrives for longer than the stream keeps records goes on after a restart, for what was lost is
// nothing that the sinks do not have.
func TestIdleShardOutlivesItsRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := idleWorld(t)
		p := w.start("one")
		elapse(2 * keptFor)
		p.shutdown()
		elapse(keptFor - asOfCommit - time.Minute)

		commits := w.lake.commitCount()
		p = w.start("two")
		elapse(time.Minute)
		for _, f := range []*Fleet{p.indexFleet, p.lakeFleet} {
			for _, s := range f.Stats().Shards {
				if s.Err != nil {
					t.Errorf("shard %s: %v", s.Shard, s.Err)
				}
			}
		}
		w.send("a", w.inline())
		eventually(t, time.Minute, "an event after the pause", w.complete)
		w.send("a", w.inline())
		eventually(t, time.Minute, "and another", w.complete)
		p.shutdown()
		w.verify()
		if n := w.lake.commitCount() - commits; n > 3 {
			t.Errorf("%d commits for two events and a newer time", n)
		}
	})
}

// Who was away for longer than the stream keeps records may have missed some, and stops, whatever is there now.
func TestAwayForTooLong(t *testing.T) {
	t.Parallel()
	for name, missed := range map[string]bool{"something was missed": true, "nothing was": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := idleWorld(t)
				index, lake := w.index.checkpoints["a"], w.lake.offset("a")
				elapse(time.Minute)
				if missed {
					w.send("a", w.inline())
				}
				elapse(keptFor + time.Minute)
				w.send("a", w.inline())
				p := w.start("one")
				elapse(10 * time.Minute)
				for _, f := range []*Fleet{p.indexFleet, p.lakeFleet} {
					if s := f.Stats().Shards[0]; !errors.Is(s.Err, ErrTrimmed) || !s.Report.Failing || s.Report.Lag < keptFor {
						t.Errorf("%+v, want ErrTrimmed", s)
					}
				}
				p.shutdown()
				if w.index.checkpoints["a"] != index || w.lake.offset("a") != lake || len(w.lake.snapshot()) != 1 {
					t.Error("a sink has gone on behind a gap")
				}
			})
		})
	}
}

// A stream that does not tell since when it keeps everything is not believed.
func TestIdleShardOfASilentStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := idleWorld(t)
		w.stream.keep = 0
		w.stream.trim("a", "15") // what the checkpoint stands at is gone, at 10
		w.send("a", w.inline())
		p := w.start("one")
		elapse(time.Minute)
		if s := p.indexFleet.Stats().Shards[0]; !errors.Is(s.Err, ErrTrimmed) {
			t.Errorf("%+v, want ErrTrimmed", s)
		}
		p.shutdown()
	})
}

// An idle table is committed to once in a while, so that its offsets' times stay within what the stream keeps.
func TestIdleLakeCommitsItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := idleWorld(t)
		p := w.start("one")
		commits := w.lake.commitCount()
		elapse(10*asOfCommit + time.Minute)
		if n := w.lake.commitCount() - commits; n < 9 || n > 10 {
			t.Errorf("%d commits in 10 idle hours, want one in each", n)
		}
		if behind := time.Since(w.lake.offset("a").AsOf); behind > asOfCommit+time.Minute {
			t.Errorf("the table's time is %s behind", behind)
		}
		if c := w.lake.offset("never written"); c != (Checkpoint{}) {
			t.Errorf("a shard without a record has an offset: %+v", c)
		}
		p.shutdown()
	})
}
