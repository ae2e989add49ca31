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
	lanes []*lane // by range, ascending
	turn  atomic.Uint64
}

// newRouter makes a lane for every shard. The ranges must cover the hash key space without gap and overlap, else some
// key had no lane or two, and its order were lost.
func newRouter(shards []Shard, newLane func(Shard) *lane) (*router, error) {
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
		r.lanes = append(r.lanes, newLane(s))
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
// one key share a shard. Without a key it is the lane with the fewest bytes queued and in flight; among equals they take
// turns.
func (r *router) lane(partitionKey string) *lane {
	if partitionKey != "" {
		return r.lanes[r.index(schemas.HashKeyOf(partitionKey))]
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
	return best
}

// index finds the last lane that begins at or before the hash key.
func (r *router) index(k schemas.HashKey) int {
	i, exact := slices.BinarySearchFunc(r.lanes, k, func(l *lane, k schemas.HashKey) int { return l.shard.First.Compare(k) })
	if exact {
		return i
	}
	return i - 1
}
