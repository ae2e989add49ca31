package consumer

import (
	"cmp"
	"slices"
	"time"
)

// FleetStats is a fleet as this process sees it.
type FleetStats struct {
	Sink   string
	Shards []ShardStats // by shard
}

// ShardStats is one listed shard. What lies below Owner is known only while this process works on the shard.
type ShardStats struct {
	Shard string
	// Owner is who holds the lease; empty when nobody has renewed it for a lease's life, which for longer than a few
	// lives is worth an alarm. A drained shard needs no owner.
	Owner   string
	Drained bool
	Ours    bool
	// Position is what the sink has taken; for the lake it is durable only after the next flush.
	Position string
	// AsOf: every event that arrived before it is at or before Position. By the stream's clock.
	AsOf time.Time
	// Lag is the age of the newest moment that the sink is known to have reached, durably or not.
	Lag time.Duration
	// Report has the iterator age, and the last error, also one that is overcome.
	Report Report
	// Doubles were left out by this process's worker, since they stand earlier in the stream already.
	Doubles uint64
	// Err is the error that the shard is waiting to be retried after; nil when it goes on.
	Err error
}

// Stats describes every listed shard.
func (f *Fleet) Stats() FleetStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	stats := FleetStats{Sink: f.sink.Name(), Shards: make([]ShardStats, 0, len(f.listed))}
	for shard := range f.listed {
		s := ShardStats{
			Shard: shard, Owner: f.seen.holder(shard, now, f.cfg.LeaseLife),
			Drained: f.drained[shard] || f.seen[shard].lease.Report.At.End, // by us, or another that has told so
		}
		if h := f.held[shard]; h != nil {
			p := h.worker.state()
			s.Owner, s.Ours = f.cfg.Owner, true
			s.Position, s.AsOf, s.Err = p.at.Position.String(), p.at.AsOf, p.err
			s.Lag, s.Doubles = lag(now, p), p.doubles
			durable, known := f.sink.Durable(shard)
			s.Report = p.report(now, durable, known)
		}
		stats.Shards = append(stats.Shards, s)
	}
	slices.SortFunc(stats.Shards, func(a, b ShardStats) int { return cmp.Compare(a.Shard, b.Shard) })
	return stats
}

// lag is zero for a drained shard and for one that has shown nothing yet.
func lag(now time.Time, p progress) time.Duration {
	reached := p.reached()
	if p.at.End || reached.IsZero() {
		return 0
	}
	return max(0, now.Sub(reached))
}

// reached is the newest moment, by the stream's clock, that the worker has come to; zero when it has shown nothing yet.
func (p progress) reached() time.Time {
	if p.arrived.After(p.at.AsOf) {
		return p.arrived
	}
	return p.at.AsOf
}

// LakeStats are a lake sink's counters since the start and present gauges.
type LakeStats struct {
	// BufferedRows and BufferedBytes wait for a commit, those in a running flush included. Bytes also count what is
	// being fetched.
	BufferedRows  int
	BufferedBytes int64
	// Flushes were committed, with Rows in them.
	Flushes, Rows uint64
	// Conflicts were refused by the table's fence, Failures ended in another error. Their rows were read again.
	Conflicts, Failures uint64
	// Overtaken are commits that were made again, since another worker's came before them; their rows were not read again.
	Overtaken uint64
	// LastFlush is how long the last commit took.
	LastFlush time.Duration
}
