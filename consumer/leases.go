package consumer

import (
	"slices"
	"strings"
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
		if seen, ok := s[l.Shard]; !ok || !seen.lease.Same(l) {
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

// workerPrefix+owner, in place of a shard, is a lease by which a worker shows that it is there, also while it has no shard.
const workerPrefix = "worker/"

// take is a lease that should be tried for: prev is what the store held, nil for none.
type take struct {
	prev *Lease
	next Lease
}

// balancer decides which leases one worker goes for, and which it lets go.
type balancer struct {
	sink, self string
	life       time.Duration
	seen       sightings
	// held are the shards that this process works on now.
	held func(shard string) bool
}

// plan returns the leases to try for and the shards to let go, among those that have anything left to read. Every worker
// works out the same shares: the shards divided by the workers alive, and what is left over to those who have most, so that
// nothing moves without need. Then it takes
//   - its own presence;
//   - those that bear its name but nobody works on, since they are its own from before a restart;
//   - free and stale ones, up to its share;
//
// and lets go what it works on beyond that. So a shard changes hands only when its worker gives it back or is gone.
func (b balancer) plan(shards []string, now time.Time) (takes []take, leave []string) {
	takes = append(takes, b.take(workerPrefix+b.self, now))
	load := b.workers(now)
	var own, free, held []string
	for _, shard := range shards {
		holder := b.seen.holder(shard, now, b.life)
		switch {
		case b.held(shard):
			held = append(held, shard)
			load[b.self]++
		case b.seen[shard].lease.Owner == b.self:
			own = append(own, shard)
			load[b.self]++
		case holder == "":
			free = append(free, shard)
		default:
			load[holder]++
		}
	}
	spare := b.share(len(shards), load) - load[b.self]
	for _, shard := range slices.Concat(own, free[:min(len(free), max(0, spare))]) {
		takes = append(takes, b.take(shard, now))
	}
	return takes, held[:min(len(held), max(0, -spare))]
}

// workers are those that are alive, each with a load of nothing yet.
func (b balancer) workers(now time.Time) map[string]int {
	load := map[string]int{b.self: 0}
	for name := range b.seen {
		if strings.HasPrefix(name, workerPrefix) {
			if owner := b.seen.holder(name, now, b.life); owner != "" {
				load[owner] = 0
			}
		}
	}
	return load
}

// share is how many of the shards are to be this worker's.
func (b balancer) share(shards int, load map[string]int) int {
	rank := 0 // how many go before it when what is left over is handed out
	for owner, n := range load {
		if n > load[b.self] || n == load[b.self] && owner < b.self {
			rank++
		}
	}
	share := shards / len(load)
	if rank < shards%len(load) {
		share++
	}
	return share
}

func (b balancer) take(shard string, now time.Time) take {
	t := take{next: Lease{Sink: b.sink, Shard: shard, Owner: b.self, Renewal: 1}}
	if seen, ok := b.seen[shard]; ok {
		t.prev = &seen.lease
		t.next.Renewal = seen.lease.Renewal + 1
		t.next.Report = seen.lease.Report.aged(seen.lease.Age + now.Sub(seen.since)) // until there is something newer to tell
	}
	return t
}
