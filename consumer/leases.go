package consumer

import (
	"slices"
	"time"
)

// sightings remembers since when each lease of a sink has stood as it stands, by this process's monotonic clock. No two
// clocks are ever compared: a lease is stale when we ourselves saw it unchanged for a lease's life.
type sightings map[string]sighting

type sighting struct {
	lease Lease
	since time.Time
}

// observe takes in what the store holds now.
func (s sightings) observe(leases []Lease, now time.Time) {
	for _, l := range leases {
		if seen, ok := s[l.Shard]; !ok || seen.lease != l {
			s[l.Shard] = sighting{lease: l, since: now}
		}
	}
}

// holder is who has the shard: "" when nobody does, or when its holder has not renewed for a lease's life.
func (s sightings) holder(shard string, now time.Time, life time.Duration) string {
	seen, ok := s[shard]
	if !ok || now.Sub(seen.since) >= life {
		return ""
	}
	return seen.lease.Owner
}

// take is a lease that should be tried for: prev is what the store held, nil for none.
type take struct {
	prev *Lease
	next Lease
}

// balancer decides which leases one worker goes for.
type balancer struct {
	sink, self string
	life       time.Duration
	seen       sightings
	// held are the shards that this process works on now.
	held func(shard string) bool
}

// plan returns the leases to try for, among the shards that have anything left to read:
//   - those that bear our own name but nobody works on, since they are ours from before a restart;
//   - free and stale ones, up to our share, the shards divided by the workers alive, rounded up;
//   - if there were none: one of the most loaded worker's, if that leaves it no less than us.
//
// One at a time, so that workers that start together don't overshoot and take each other's.
func (b balancer) plan(shards []string, now time.Time) []take {
	load := map[string]int{b.self: 0}
	var own, free []string
	for _, shard := range shards {
		holder := b.seen.holder(shard, now, b.life)
		switch {
		case b.held(shard):
			load[b.self]++
		case b.seen[shard].lease.Owner == b.self:
			load[b.self]++
			own = append(own, shard)
		case holder == "":
			free = append(free, shard)
		default:
			load[holder]++
		}
	}
	share := (len(shards) + len(load) - 1) / len(load)
	chosen := slices.Concat(own, free[:min(len(free), max(0, share-load[b.self]))])
	if len(chosen) == 0 {
		chosen = b.steal(shards, load, now)
	}
	takes := make([]take, 0, len(chosen))
	for _, shard := range chosen {
		takes = append(takes, b.take(shard))
	}
	return takes
}

// steal picks one shard of the most loaded worker.
func (b balancer) steal(shards []string, load map[string]int, now time.Time) []string {
	victim := b.self
	for owner, n := range load {
		if n > load[victim] || n == load[victim] && owner < victim {
			victim = owner
		}
	}
	if load[victim] < load[b.self]+2 {
		return nil
	}
	i := slices.IndexFunc(shards, func(shard string) bool {
		return !b.held(shard) && b.seen.holder(shard, now, b.life) == victim
	})
	return shards[i : i+1]
}

func (b balancer) take(shard string) take {
	t := take{next: Lease{Sink: b.sink, Shard: shard, Owner: b.self, Renewal: 1}}
	if seen, ok := b.seen[shard]; ok {
		t.prev = &seen.lease
		t.next.Renewal = seen.lease.Renewal + 1
	}
	return t
}
