package ingest

import (
	"context"
	"math/big"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"penstock/schemas"
)

func newTestRouter(shards []Shard) (*router, error) {
	return newRouter(shards, func(k schemas.HashKey) *lane { return &lane{hashKey: k} })
}

func TestKeyGoesToTheShardOfItsHash(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		shards := evenShards(rapid.IntRange(1, 256).Draw(t, "shards"))
		r, err := newTestRouter(shards)
		if err != nil {
			t.Fatal(err)
		}
		key := rapid.StringN(1, 20, -1).Draw(t, "key")
		k := schemas.HashKeyOf(key)
		l := r.lane(key)
		i := slices.IndexFunc(shards, func(s Shard) bool { return s.First == l.hashKey })
		if s := shards[i]; s.First.Compare(k) > 0 || k.Compare(s.Last) > 0 {
			t.Fatalf("key %q with hash %v went to shard %v to %v", key, k, s.First, s.Last)
		}
	})
}

func TestRangesOfLanesMeet(t *testing.T) {
	t.Parallel()
	shards := evenShards(4)
	r, err := newTestRouter([]Shard{shards[2], shards[0], shards[3], shards[1]})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range shards {
		for _, k := range []schemas.HashKey{s.First, s.Last} {
			if got := r.index(k); got != i {
				t.Errorf("%v: lane %d, want %d", k, got, i)
			}
		}
	}
}

func TestRouterRefusesBadRanges(t *testing.T) {
	t.Parallel()
	good := func() []Shard { return evenShards(3) }
	gap, overlap, end, start := good(), good(), good(), good()
	gap[1].First[15]++
	overlap[1].First[0]--
	end[2].Last[15]--
	start[0].First[15]++
	whole := good()
	whole[0].Last = schemas.MaxHashKey
	for name, shards := range map[string][]Shard{
		"none": nil, "gap": gap, "overlap": overlap, "end": end, "start": start, "whole": whole,
	} {
		if _, err := newTestRouter(shards); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSuccessor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k := schemas.HashKey(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 254, 255}), 16, 16).Draw(t, "k"))
		want := new(big.Int).Add(new(big.Int).SetBytes(k[:]), big.NewInt(1))
		got := successor(k)
		if want.BitLen() > 128 {
			want.SetInt64(0)
		}
		if new(big.Int).SetBytes(got[:]).Cmp(want) != 0 {
			t.Fatalf("%v: %v", k, got)
		}
	})
}

func TestWithoutKeyTheLeastBusyLane(t *testing.T) {
	t.Parallel()
	r, err := newTestRouter(evenShards(4))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[*lane]bool{}
	for range 4 {
		seen[r.lane("")] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d of 4 idle lanes took their turn", len(seen))
	}
	for i, l := range r.lanes {
		l.bytes.Store(int64(100 + i))
	}
	r.lanes[2].bytes.Store(7)
	for range 8 {
		if l := r.lane(""); l != r.lanes[2] {
			t.Errorf("went to lane %v", l.hashKey)
		}
	}
}

// TestBatchFillsRecordsAndSpreads: items count for their lane from the moment they are placed; a lane that has a full record of them
// takes no more while others have none.
func TestBatchFillsRecordsAndSpreads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(4, 1, call{delay: time.Millisecond}), ample)
		items := make([]Submission, 100)
		for i := range items {
			items[i] = w.submission(large(10_000)) // 25 and some more fill a record
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := w.AcceptBatch(ctx, items, nil, ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for id, log := range w.stream.log {
			if len(log) < 20 || len(log) > 26 {
				t.Errorf("%s got %d of 100", id, len(log))
			}
		}
		if len(w.stream.log) != 4 || len(w.stream.sizes) > 5 {
			t.Errorf("%d shards, records per call: %v", len(w.stream.log), w.stream.sizes)
		}
		w.settle(t)
	})
}
