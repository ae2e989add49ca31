package consumer

import (
	"context"
	"errors"
	"testing"
	"time"
)

// told is a state table and a stream that say what a test has them say, and in which order they were asked.
type told struct {
	leases []Lease
	shards []Shard
	err    error
	asked  string
	// between is called when the leases were read.
	between func()
}

func (o *told) List(_ context.Context, sink string) ([]Lease, error) {
	o.asked += "leases of " + sink + ", "
	leases := o.leases
	if o.between != nil {
		o.between()
	}
	return leases, o.err
}

func (o *told) Put(context.Context, *Lease, Lease) error {
	return errors.New("nobody may put a lease here")
}

func (o *told) Shards(context.Context) ([]Shard, error) {
	o.asked += "shards, "
	return o.shards, nil
}

func (o *told) Read(context.Context, string, string, int) (Page, error) {
	return Page{}, errors.New("nobody may read here")
}

// The lake is complete up to its slowest shard, and never further than anybody has told.
func TestReported(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	const settle = 10 * time.Second
	lease := func(shard string, asOf time.Time, end bool) Lease {
		return Lease{Sink: LakeSinkName, Shard: shard, Report: Report{At: Checkpoint{AsOf: asOf, End: end}}}
	}
	shards := func(ids ...string) (list []Shard) {
		for _, id := range ids {
			list = append(list, Shard{ID: id})
		}
		return list
	}
	o := &told{}
	r := NewReported(o, o, settle)
	for name, step := range []struct {
		leases []Lease
		shards []Shard
		want   time.Time
	}{
		{nil, nil, time.Time{}},
		{nil, shards("a"), time.Time{}},
		{[]Lease{lease("a", time.Time{}, false)}, shards("a"), time.Time{}},
		{[]Lease{lease("a", at, false), lease("b", at.Add(time.Hour), false)}, shards("a", "b"), at.Add(-settle)},
		{[]Lease{lease("a", at.Add(time.Minute), false), lease("b", at.Add(time.Hour), false), lease("#worker", at.Add(-time.Hour), false)}, shards("a", "b"), at.Add(time.Minute - settle)},
		// One that is read to its end counts no more.
		{[]Lease{lease("a", at, true), lease("b", at.Add(2*time.Minute), false)}, shards("a", "b"), at.Add(2*time.Minute - settle)},
		// Of one nobody has told: what was true before is.
		{[]Lease{lease("a", at.Add(time.Hour), false)}, shards("a", "new"), at.Add(2*time.Minute - settle)},
		{[]Lease{lease("a", at.Add(time.Hour), false), lease("new", time.Time{}, false)}, shards("a", "new"), at.Add(2*time.Minute - settle)},
		// So it is when somebody tells less than he knew.
		{[]Lease{lease("a", at.Add(time.Second), false)}, shards("a"), at.Add(2*time.Minute - settle)},
		{[]Lease{lease("a", at.Add(time.Hour), false)}, shards("a"), at.Add(time.Hour - settle)},
	} {
		o.leases, o.shards = step.leases, step.shards
		if got, err := r.CompleteThrough(t.Context()); err != nil || !got.Equal(step.want) {
			t.Errorf("step %d: %s, %v, want %s", name, got, err, step.want)
		}
	}
	o.err = errors.New("no table")
	if got, err := r.CompleteThrough(t.Context()); !errors.Is(err, o.err) {
		t.Errorf("%s, %v", got, err)
	}
}

// A shard that is split between the two looks: its children hold what came later, and they are in the list, so nothing is claimed.
func TestReportedWhileAShardIsSplit(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	o := &told{leases: []Lease{{Shard: "a", Report: Report{At: Checkpoint{AsOf: at, End: true}}}}, shards: []Shard{{ID: "a"}}}
	o.between = func() { o.shards = []Shard{{ID: "a", Closed: true}, {ID: "b", Parents: []string{"a"}}} }
	if got, err := NewReported(o, o, 0).CompleteThrough(t.Context()); err != nil || !got.IsZero() {
		t.Errorf("%s, %v, want nothing claimed", got, err)
	}
	if o.asked != "leases of lake, shards, " {
		t.Errorf("asked for %s", o.asked)
	}
}
