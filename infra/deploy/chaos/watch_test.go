package main

import (
	"testing"
	"time"

	"penstock/consumer"
)

// A shard is without a worker from the last renewal to the next, whoever makes it, and for no longer than it has something to read.
func TestTenure(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_800_000_000, 0)
	mine := func(owner string, renewal uint64) []consumer.Lease {
		return []consumer.Lease{{Sink: "lake", Shard: "other", Owner: "x", Renewal: renewal}, {Sink: "lake", Shard: "s", Owner: owner, Renewal: renewal}}
	}
	type look struct {
		at     int // seconds
		unread bool
		leases []consumer.Lease
	}
	for name, of := range map[string]struct {
		looks []look
		want  int // seconds
	}{
		"renewed in time":      {[]look{{0, true, mine("a", 1)}, {2, true, mine("a", 2)}, {4, true, mine("a", 3)}}, 2},
		"never taken":          {[]look{{0, true, nil}, {20, true, nil}, {40, true, nil}}, 40},
		"taken late":           {[]look{{0, true, nil}, {31, true, mine("a", 1)}, {32, true, mine("a", 2)}}, 31},
		"held by a dead one":   {[]look{{0, true, mine("a", 1)}, {20, true, mine("a", 1)}, {35, true, mine("b", 2)}}, 35},
		"given back and left":  {[]look{{0, true, mine("a", 1)}, {1, true, mine("", 2)}, {9, true, mine("", 2)}}, 9},
		"given back is no one": {[]look{{0, true, mine("a", 1)}, {2, true, mine("", 2)}, {4, true, mine("", 3)}, {6, true, mine("", 4)}}, 6},
		"read to its end":      {[]look{{0, true, mine("a", 1)}, {2, true, mine("a", 2)}, {40, false, nil}}, 2},
		"listed late":          {[]look{{0, false, nil}, {40, true, nil}, {45, true, mine("a", 1)}}, 5},
	} {
		watched := newTenure("lake")
		for _, l := range of.looks {
			var unread []string
			if l.unread {
				unread = []string{"s"}
			}
			watched.observe(begin.Add(time.Duration(l.at)*time.Second), unread, l.leases)
		}
		got := watched.longest()
		if len(got) != 1 || got[0].Sink != "lake" || got[0].Shard != "s" || got[0].For != time.Duration(of.want)*time.Second {
			t.Errorf("%s: %v, want %d s", name, got, of.want)
		}
	}
}
