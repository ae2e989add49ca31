package consumer

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestRenewalGoesOnWhileTheSinkHangs: a destination that hangs for many lease lives holds up its shard, not the lease: nobody else
// takes the shard, and what hung is done once.
func TestRenewalGoesOnWhileTheSinkHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lives = 10
		w := newWorld(t, "a")
		w.lake.delay = func() time.Duration { return lives * testLife }
		w.send("a", w.inline())
		p, q := w.start("one"), w.start("two")
		defer q.shutdown()
		defer p.shutdown()
		elapse(time.Second)
		owner := p.lakeFleet.Stats().Shards[0].Owner
		for range lives {
			for _, fleet := range []*Fleet{p.lakeFleet, q.lakeFleet} {
				if s := fleet.Stats().Shards; len(s) != 1 || s[0].Owner != owner || owner == "" {
					t.Fatalf("the shard of %q is now %+v", owner, s)
				}
			}
			if w.lake.commitCount() > 0 {
				t.Fatal("the commit does not hang")
			}
			elapse(testLife)
		}
		eventually(t, 2*testLife, "the commit", w.complete)
		w.verify()
	})
}
