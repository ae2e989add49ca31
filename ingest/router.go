package ingest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"penstock/schemas"
)

// router chooses an event's lane. Its lanes never change: another listing of the shards makes another router.
type router struct {
	lanes []*lane // by hash key, ascending
	// retired are earlier lanes that still have events: should their hash key come back, so do they.
	retired []*lane
	turn    atomic.Uint64
	last    atomic.Pointer[lane] // where the last event without a partition key went
}

// newRouter gets a lane for the first hash key of every shard. The ranges must cover the hash key space without gap and
// overlap, else some key had no lane or two, and its order were lost.
func newRouter(shards []Shard, laneOf func(schemas.HashKey) *lane) (*router, error) {
	if len(shards) == 0 {
		return nil, errors.New("the stream has no open shard")
	}
	shards = slices.Clone(shards)
	slices.SortFunc(shards, func(a, b Shard) int { return a.First.Compare(b.First) })
	r := &router{}
	var next schemas.HashKey // the first key that is not covered yet
	for i, s := range shards {
		if s.First != next || s.Last.Compare(s.First) < 0 {
			return nil, fmt.Errorf("shard %s covers hash keys %v to %v where %v should come next", s.ID, s.First, s.Last, next)
		}
		if next = successor(s.Last); (next == schemas.HashKey{}) != (i == len(shards)-1) {
			return nil, fmt.Errorf("the open shards do not cover the hash key space: shard %s ends at %v", s.ID, s.Last)
		}
		r.lanes = append(r.lanes, laneOf(s.First))
	}
	return r, nil
}

// successor is k + 1; zero after the last one.
func successor(k schemas.HashKey) schemas.HashKey {
	for i := len(k) - 1; i >= 0; i-- {
		k[i]++
		if k[i] != 0 {
			break
		}
	}
	return k
}

// lane is the one whose range holds the hash of the partition key, as Kinesis itself would choose it, so that events of
// one key share a shard. Without a key it is the lane where such events wait for a call, so that they share a record; where
// none wait, the lane with the fewest bytes queued and in flight; among equals they take turns.
func (r *router) lane(partitionKey string) *lane {
	if partitionKey != "" {
		return r.lanes[r.index(schemas.HashKeyOf(partitionKey))]
	}
	if l := r.last.Load(); l != nil && l.gathers() {
		return l
	}
	start := int(r.turn.Add(1) % uint64(len(r.lanes)))
	best := r.lanes[start]
	least := best.bytes.Load()
	for i := 1; i < len(r.lanes) && least > 0; i++ {
		l := r.lanes[(start+i)%len(r.lanes)]
		if load := l.bytes.Load(); load < least {
			best, least = l, load
		}
	}
	r.last.Store(best)
	return best
}

// index finds the last lane whose hash key is at or before the given one.
func (r *router) index(k schemas.HashKey) int {
	i, exact := r.search(k)
	if exact {
		return i
	}
	return i - 1
}

func (r *router) search(k schemas.HashKey) (i int, exact bool) {
	return slices.BinarySearchFunc(r.lanes, k, func(l *lane, k schemas.HashKey) int { return l.hashKey.Compare(k) })
}

// with gives the lane of exactly this hash key, also a retired one, or nil.
func (r *router) with(k schemas.HashKey) *lane {
	if i, exact := r.search(k); exact {
		return r.lanes[i]
	}
	for _, l := range r.retired {
		if l.hashKey == k {
			return l
		}
	}
	return nil
}

// retire takes over from old what is not among the lanes and still has events.
func (r *router) retire(old *router) {
	for _, l := range slices.Concat(old.lanes, old.retired) {
		if r.with(l.hashKey) == nil && l.bytes.Load() > 0 {
			r.retired = append(r.retired, l)
		}
	}
}
