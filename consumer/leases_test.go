package consumer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestBalancerSharesOut plays rounds of several workers on one lease table, on a clock of its own: whoever comes and
// goes, after a few lives every shard has one owner and no two workers differ by more than one.
func TestBalancerSharesOut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var shards []string
		for i := range rapid.IntRange(1, 20).Draw(t, "shards") {
			shards = append(shards, fmt.Sprintf("shard-%02d", i))
		}
		table := map[string]Lease{}
		now := time.Now()
		var workers []*tableWorker
		for i := range rapid.IntRange(1, 6).Draw(t, "workers") {
			workers = append(workers, &tableWorker{name: fmt.Sprintf("w%d", i), seen: sightings{}, held: map[string]bool{}})
		}
		round := func(alive []*tableWorker) {
			for _, w := range rapid.Permutation(alive).Draw(t, "order") {
				w.round(table, rapid.Permutation(shards).Draw(t, "shards"), now)
			}
			now = now.Add(testLife / 3)
		}
		// A worker alone has all; the others join it at once.
		const life, settling = 3, 4 // rounds
		for range settling {
			round(workers[:1])
		}
		checkBalance(t, table, shards, workers[:1])
		for range settling {
			round(workers)
		}
		checkBalance(t, table, shards, workers)
		// Some die without giving back.
		alive := workers[:rapid.IntRange(1, len(workers)).Draw(t, "alive")]
		for range life + 1 + settling {
			round(alive)
		}
		checkBalance(t, table, shards, alive)
		for _, w := range workers {
			if len(w.robbed) > 0 {
				t.Fatalf("%s took %v from a worker that was alive", w.name, w.robbed)
			}
		}
		// In balance nobody takes anything.
		before := fmt.Sprint(ownersOf(table))
		for range 5 {
			round(alive)
		}
		if after := fmt.Sprint(ownersOf(table)); after != before {
			t.Fatalf("leases wander: %s, then %s", before, after)
		}
	})
}

type tableWorker struct {
	name   string
	seen   sightings
	held   map[string]bool
	robbed []string // leases that were taken while their holder renewed them
}

func (w *tableWorker) round(table map[string]Lease, shards []string, now time.Time) {
	for shard := range w.held { // as the renewal does
		l := table[shard]
		if l.Owner != w.name {
			delete(w.held, shard)
			continue
		}
		l.Renewal++
		table[shard] = l
	}
	var leases []Lease
	for _, l := range table {
		leases = append(leases, l)
	}
	w.seen.observe(leases, now)
	b := balancer{sink: "s", self: w.name, life: testLife, seen: w.seen, held: func(s string) bool { return w.held[s] }}
	takes, leave := b.plan(shards, now)
	for _, t := range takes {
		l, ok := table[t.next.Shard]
		if ok != (t.prev != nil) || ok && !l.Same(*t.prev) {
			continue
		}
		if ok && l.Owner != "" && l.Owner != w.name && now.Sub(w.seen[t.next.Shard].since) < testLife {
			w.robbed = append(w.robbed, t.next.Shard)
		}
		table[t.next.Shard] = t.next
		if t.next.Shard != workerPrefix+w.name {
			w.held[t.next.Shard] = true
		}
	}
	for _, shard := range leave {
		l := table[shard]
		l.Owner, l.Renewal = "", l.Renewal+1
		table[shard] = l
		delete(w.held, shard)
	}
}

func ownersOf(table map[string]Lease) map[string]string {
	owners := map[string]string{}
	for shard, l := range table {
		if !strings.HasPrefix(shard, workerPrefix) {
			owners[shard] = l.Owner
		}
	}
	return owners
}

func checkBalance(t *rapid.T, table map[string]Lease, shards []string, alive []*tableWorker) {
	load := map[string]int{}
	for _, w := range alive {
		load[w.name] = 0
	}
	for _, shard := range shards {
		owner := table[shard].Owner
		if _, ok := load[owner]; !ok {
			t.Fatalf("shard %s belongs to %q, who is not alive", shard, owner)
		}
		load[owner]++
	}
	least, most := len(shards), 0
	for _, n := range load {
		least, most = min(least, n), max(most, n)
	}
	if most-least > 1 {
		t.Fatalf("unbalanced: %v", load)
	}
}

func TestFleetsBalance(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c", "d", "e", "f")
		one := w.start("one")
		elapse(time.Second)
		if got := w.leases.owners(IndexSinkName); got["one"] != 6 {
			t.Fatalf("alone: %v", got)
		}
		two := w.start("two")
		eventually(t, testLife, "balance of two", func() bool {
			got := w.leases.owners(IndexSinkName)
			return got["one"] == 3 && got["two"] == 3
		})
		w.send("a", w.inline())
		w.send("f", w.inline())
		eventually(t, time.Minute, "events of all shards", w.complete)
		one.shutdown()
		eventually(t, testLife/2, "takeover of what was given back", func() bool {
			return w.leases.owners(IndexSinkName)["two"] == 6 && w.leases.owners(LakeSinkName)["two"] == 6
		})
		two.shutdown()
		w.verify()
	})
}

func TestOwnLeasesAreResumedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		for _, shard := range []string{"a", "b"} { // as a killed process leaves them
			w.leases.leases[[2]string{IndexSinkName, shard}] = Lease{Sink: IndexSinkName, Shard: shard, Owner: "one", Renewal: 17}
			w.leases.leases[[2]string{LakeSinkName, shard}] = Lease{Sink: LakeSinkName, Shard: shard, Owner: "stranger", Renewal: 17}
		}
		w.send("a", w.inline())
		p := w.start("one")
		defer p.shutdown()
		eventually(t, 100*time.Millisecond, "event in the index", func() bool { return w.index.has(w.ids[0]) })
		elapse(testLife - time.Second)
		if got := w.leases.owners(LakeSinkName); got["stranger"] != 2 {
			t.Errorf("another's leases are respected while it may be alive: %v", got)
		}
		eventually(t, 2*testLife, "the dead stranger's shards", w.complete)
	})
}

// TestRenewalGoesOnWhileTheStoreIsDown: a store that fails for longer than a lease's life costs no work.
func TestRenewalGoesOnWhileTheStoreIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		p := w.start("one")
		defer p.shutdown()
		elapse(time.Second)
		w.faults.set(func(call string, done bool) error {
			if slices.Contains([]string{"PutLease", "List", "Shards"}, call) {
				return errInjected
			}
			return nil
		})
		elapse(5 * testLife)
		w.send("a", w.inline())
		eventually(t, 100*time.Millisecond, "event in the index", func() bool { return w.index.has(w.ids[0]) })
		w.faults.set(nil)
		elapse(testLife)
		if s := p.indexFleet.Stats().Shards; s[0].Owner != "one" || s[0].Err != nil {
			t.Errorf("shard %+v", s[0])
		}
	})
}
