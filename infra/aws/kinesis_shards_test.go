package aws

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// A listing of many pages is one (redpanda-data/connect 2649), also for a stream whose closed shards fill whole pages.
func TestListShardsByPages(t *testing.T) {
	t.Parallel()
	st := newStub(5)
	for i := range 3 {
		st.shards = slices.Insert(st.shards, 0, &stubShard{id: shardName(100 + i), first: "0", last: "9", closed: true})
	}
	st.listPage = 2
	open, err := NewStream(st.client(), stubStream).Shards(t.Context())
	if err != nil || len(open) != 5 || open[0].First != (schemas.HashKey{}) || open[4].Last != schemas.MaxHashKey {
		t.Errorf("open: %v, %v", open, err)
	}
	all, err := NewSource(st.client(), stubStream).Shards(t.Context())
	if err != nil || len(all) != 8 {
		t.Errorf("all: %v, %v", all, err)
	}
	if n := st.count("ListShards"); n != 8 {
		t.Errorf("%d pages were asked for, want 8", n)
	}
}

// Closed shards are listed as such, and children with both parents, whether those are still listed or not.
func TestShardsHaveParents(t *testing.T) {
	t.Parallel()
	st := newStub(1)
	st.shards = []*stubShard{
		{id: "merged", parent: "left", adjacent: "gone", first: "0", last: "9"},
		{id: "left", parent: "before", first: "0", last: "4", closed: true},
	}
	shards, err := NewSource(st.client(), stubStream).Shards(t.Context())
	if err != nil || len(shards) != 2 {
		t.Fatalf("%v, %v", shards, err)
	}
	want := []consumer.Shard{
		{ID: "merged", Parents: []string{"left", "gone"}}, {ID: "left", Parents: []string{"before"}, Closed: true},
	}
	for i := range want {
		if got := shards[i]; got.ID != want[i].ID || got.Closed != want[i].Closed || !slices.Equal(got.Parents, want[i].Parents) {
			t.Errorf("%+v, want %+v", got, want[i])
		}
	}
}

// While shards are split and merged a listing may hold neither parent nor children, or both: it is asked for again, and never
// taken.
func TestShardsWhileResharding(t *testing.T) {
	t.Parallel()
	whole := newStub(4).shards
	closed := &stubShard{id: "closed", first: whole[1].first, last: whole[1].last, closed: true}
	parent := &stubShard{id: "parent", first: whole[1].first, last: whole[2].last}
	for name, wrong := range map[string][]*stubShard{
		"none":                 {},
		"all are closed":       {closed},
		"a gap":                {whole[0], closed, whole[2], whole[3]},
		"a gap at the start":   whole[1:],
		"a gap at the end":     whole[:3],
		"children and parent":  {whole[0], parent, whole[1], whole[2], whole[3]},
		"a child and a parent": {whole[0], parent, whole[2], whole[3]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newStub(4)
				stream := NewStream(st.client(), stubStream)
				st.listings = [][]*stubShard{wrong, wrong, whole}
				if open, err := stream.Shards(t.Context()); err != nil || len(open) != 4 {
					t.Errorf("after a while: %v, %v", open, err)
				}
				st.listings = [][]*stubShard{wrong}
				began := time.Now()
				_, err := stream.Shards(t.Context())
				if !errors.Is(err, errUncovered) || time.Since(began) > 10*time.Second {
					t.Errorf("for good: %v after %s", err, time.Since(began))
				}
				mustContain(t, err, stubStream, "resharded", "ACTIVE")
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := stream.Shards(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("for longer than there is time: %v", err)
				}
			})
		})
	}
}

func TestParseHashKey(t *testing.T) {
	t.Parallel()
	for _, k := range []schemas.HashKey{{}, schemas.HashKeyOf("a"), schemas.MaxHashKey} {
		if got, err := parseHashKey(k.String()); err != nil || got != k {
			t.Errorf("%s came back as %s, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "-1", "x", "340282366920938463463374607431768211456"} {
		if k, err := parseHashKey(s); err == nil {
			t.Errorf("%q was read as %s", s, k)
		}
	}
}
