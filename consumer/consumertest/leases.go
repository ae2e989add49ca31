package consumertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// LeasesSuite tests a consumer.Leases.
func LeasesSuite(t *testing.T, backend string, open func(t *testing.T) consumer.Leases) {
	t.Helper()
	t.Logf("leases on %s", backend)
	for name, test := range map[string]func(*testing.T, consumer.Leases){
		"compare and set":     testLeasePut,
		"sinks are separate":  testLeaseSinks,
		"one of many gets it": testLeaseRace,
		"hundreds of shards":  testManyLeases,
		"a lease of another":  testLeaseOfAnother,
		"tells what was told": testLeaseReport,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// leasesOf are those of a sink, by shard and without their age.
func leasesOf(t *testing.T, l consumer.Leases, sink string) []consumer.Lease {
	t.Helper()
	leases, err := l.List(t.Context(), sink)
	if err != nil {
		t.Fatalf("List(%s): %v", sink, err)
	}
	for i := range leases {
		if age := leases[i].Age; age < 0 || age > 10*time.Minute { // by clocks that are told to the second
			t.Errorf("%s has stood for %s", leases[i].Shard, age)
		}
		leases[i].Age = 0
	}
	slices.SortFunc(leases, func(a, b consumer.Lease) int { return strings.Compare(a.Shard, b.Shard) })
	return leases
}

func testLeasePut(t *testing.T, l consumer.Leases) {
	first := consumer.Lease{Sink: "index", Shard: "s", Owner: "a", Renewal: 1}
	if err := l.Put(t.Context(), nil, first); err != nil {
		t.Fatal(err)
	}
	renewed := first
	renewed.Renewal = 1 << 60
	steps := []struct {
		prev *consumer.Lease
		next consumer.Lease
		lost bool
	}{
		{prev: nil, next: renewed, lost: true},
		{prev: &renewed, next: first, lost: true},
		{prev: &first, next: renewed},
		{prev: &first, next: renewed, lost: true},
		{prev: &renewed, next: consumer.Lease{Sink: "index", Shard: "s"}},
		{prev: &consumer.Lease{Sink: "index", Shard: "s"}, next: first},
	}
	for i, step := range steps {
		before := leasesOf(t, l, "index")
		err := l.Put(t.Context(), step.prev, step.next)
		if errors.Is(err, consumer.ErrLeaseLost) != step.lost || (err != nil && !step.lost) {
			t.Fatalf("step %d: %v", i, err)
		}
		want := []consumer.Lease{step.next}
		if step.lost {
			want = before
		}
		if got := leasesOf(t, l, "index"); !slices.Equal(got, want) {
			t.Fatalf("step %d: leases %+v, want %+v", i, got, want)
		}
	}
	unknown := consumer.Lease{Sink: "index", Shard: "other", Owner: "a"}
	if err := l.Put(t.Context(), &unknown, unknown); !errors.Is(err, consumer.ErrLeaseLost) {
		t.Errorf("renewing a lease that is not there: %v, want ErrLeaseLost", err)
	}
}

func testLeaseSinks(t *testing.T, l consumer.Leases) {
	want := map[string][]consumer.Lease{}
	for _, sink := range []string{"index", "lake", "lak"} {
		for i := range 3 {
			lease := consumer.Lease{Sink: sink, Shard: fmt.Sprintf("shardId-%d", i), Owner: sink}
			if err := l.Put(t.Context(), nil, lease); err != nil {
				t.Fatal(err)
			}
			want[sink] = append(want[sink], lease)
		}
	}
	for sink, leases := range want {
		if got := leasesOf(t, l, sink); !slices.Equal(got, leases) {
			t.Errorf("leases of %s: %+v, want %+v", sink, got, leases)
		}
	}
	if got := leasesOf(t, l, "other"); len(got) != 0 {
		t.Errorf("leases of an unknown sink: %+v", got)
	}
}

func testManyLeases(t *testing.T, l consumer.Leases) {
	var want []consumer.Lease
	for i := range 230 {
		lease := consumer.Lease{Sink: "index", Shard: fmt.Sprintf("shardId-%012d", i), Owner: "host-1/4711", Renewal: uint64(i)}
		if err := l.Put(t.Context(), nil, lease); err != nil {
			t.Fatal(err)
		}
		want = append(want, lease)
	}
	if got := leasesOf(t, l, "index"); !slices.Equal(got, want) {
		t.Errorf("%d leases, want the %d that were put", len(got), len(want))
	}
}

// testLeaseOfAnother: a lease that is equal but for its sink or shard proves nothing.
func testLeaseOfAnother(t *testing.T, l consumer.Leases) {
	stored := consumer.Lease{Sink: "index", Shard: "s", Owner: "a", Renewal: 1}
	if err := l.Put(t.Context(), nil, stored); err != nil {
		t.Fatal(err)
	}
	for _, prev := range []consumer.Lease{
		{Sink: "lake", Shard: "s", Owner: "a", Renewal: 1}, {Sink: "index", Shard: "t", Owner: "a", Renewal: 1},
		{Sink: "index", Shard: "s", Owner: "b", Renewal: 1}, {Sink: "index", Shard: "s", Renewal: 1},
		{Sink: "index", Shard: "s", Owner: "a", Renewal: 2}, {Sink: "index", Shard: "s", Owner: "a"},
	} {
		next := consumer.Lease{Sink: "index", Shard: "s", Owner: "b", Renewal: 9}
		if err := l.Put(t.Context(), &prev, next); !errors.Is(err, consumer.ErrLeaseLost) {
			t.Errorf("Put(%+v): %v, want ErrLeaseLost", prev, err)
		}
	}
	if got := leasesOf(t, l, "index"); !slices.Equal(got, []consumer.Lease{stored}) {
		t.Errorf("leases %+v, want %+v", got, stored)
	}
}

// testLeaseReport: what was told comes back, and is no part of what a lease is known by.
func testLeaseReport(t *testing.T, l consumer.Leases) {
	full := consumer.Report{
		At: consumer.Checkpoint{
			Position: schemas.Position{Sequence: "49590338271490256608559692538361571095921575989136588898", Sub: 3},
			AsOf:     time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.UTC), End: true,
		},
		Lag: 90 * time.Second, LagKnown: true, Error: "läßt \"sich\" nicht\u2028schreiben", ErrorAge: time.Hour, Failing: true,
	}
	lease := consumer.Lease{Sink: "lake", Shard: "s", Owner: "a", Age: time.Hour}
	var prev *consumer.Lease
	for i, report := range []consumer.Report{
		{}, full, {LagKnown: true}, {At: consumer.Checkpoint{AsOf: full.At.AsOf}, Error: "e"}, {At: consumer.Checkpoint{Position: full.At.Position}}, {},
	} {
		lease.Renewal++
		lease.Report = report
		if err := l.Put(t.Context(), prev, lease); err != nil {
			t.Fatalf("report %d: %v", i, err)
		}
		want := lease
		want.Age = 0
		if got := leasesOf(t, l, "lake"); !slices.Equal(got, []consumer.Lease{want}) {
			t.Errorf("report %d: %+v, want %+v", i, got, want)
		}
		last := lease
		last.Report = full // is not what was put, mostly
		prev = &last
	}
}

func testLeaseRace(t *testing.T, l consumer.Leases) {
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			err := l.Put(t.Context(), nil, consumer.Lease{Sink: "index", Shard: "s", Owner: fmt.Sprint(i)})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, consumer.ErrLeaseLost):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d workers got the lease", won.Load())
	}
}
