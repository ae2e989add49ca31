package consumer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Roster tells an operator who works on what, from what the stream and the leases say: it needs no worker to be alive.
type Roster struct {
	source Source
	leases Leases
	life   time.Duration
}

// NewRoster makes one. life is FleetConfig.LeaseLife.
func NewRoster(source Source, leases Leases, life time.Duration) *Roster {
	return &Roster{source: source, leases: leases, life: life}
}

// SinkRoster is a sink's part of it.
type SinkRoster struct {
	Sink string
	// Workers are the owners' names of those that are alive, sorted.
	Workers []string
	Shards  []ShardRoster // every shard that the stream lists, by id
}

// Unowned are the shards that nobody works on.
func (r SinkRoster) Unowned() []ShardRoster {
	return slices.DeleteFunc(slices.Clone(r.Shards), func(s ShardRoster) bool { return s.State != ShardUnowned })
}

// ShardRoster is one shard.
type ShardRoster struct {
	Shard Shard
	State ShardState
	// Lease is the zero Lease when there never was one. Its Report is brought up to now.
	Lease Lease
}

// ShardState is how a shard stands with a sink.
type ShardState string

// States of a shard.
const (
	// ShardOwned: a worker that is alive works on it.
	ShardOwned ShardState = "owned"
	// ShardDrained: it is closed, and the sink has read it to its end. It needs no worker.
	ShardDrained ShardState = "drained"
	// ShardChanging: it goes from one worker to another, or is new.
	ShardChanging ShardState = "changing"
	// ShardUnowned: nobody has worked on it for a lease's life.
	ShardUnowned ShardState = "unowned"
)

// Look tells how each sink's shards stand. When a shard seems to have no worker it looks again after a lease's life, since
// one that is handed over has none for a moment, and clocks are not to be trusted; so it may take that long.
func (r *Roster) Look(ctx context.Context, sinks ...string) ([]SinkRoster, error) {
	first, err := r.look(ctx, sinks)
	if err != nil || !slices.ContainsFunc(first, func(s SinkRoster) bool { return len(s.Unowned()) > 0 }) {
		return first, err
	}
	if !pause(ctx, r.life) {
		return nil, ctx.Err()
	}
	second, err := r.look(ctx, sinks)
	if err != nil {
		return nil, err
	}
	for i := range second {
		second[i].compare(first[i])
	}
	return second, nil
}

// look is one look.
func (r *Roster) look(ctx context.Context, sinks []string) ([]SinkRoster, error) {
	shards, err := r.source.Shards(ctx)
	if err != nil {
		return nil, fmt.Errorf("list shards: %w", err)
	}
	shards = slices.Clone(shards)
	slices.SortFunc(shards, func(a, b Shard) int { return strings.Compare(a.ID, b.ID) })
	rosters := make([]SinkRoster, 0, len(sinks))
	for _, sink := range sinks {
		leases, err := r.leases.List(ctx, sink)
		if err != nil {
			return nil, fmt.Errorf("list leases: %w", err)
		}
		rosters = append(rosters, r.of(sink, shards, leases))
	}
	return rosters, nil
}

// of puts a sink's roster together, by how old the store says that its leases are.
func (r *Roster) of(sink string, shards []Shard, leases []Lease) SinkRoster {
	roster := SinkRoster{Sink: sink, Shards: make([]ShardRoster, 0, len(shards))}
	byShard := make(map[string]Lease, len(leases))
	for _, l := range leases {
		byShard[l.Shard] = l
		if strings.HasPrefix(l.Shard, workerPrefix) && l.Owner != "" && l.Age < r.life {
			roster.Workers = append(roster.Workers, l.Owner)
		}
	}
	slices.Sort(roster.Workers)
	for _, shard := range shards {
		lease := byShard[shard.ID]
		lease.Report = lease.Report.aged(lease.Age)
		s := ShardRoster{Shard: shard, State: ShardUnowned, Lease: lease}
		switch {
		case lease.Report.At.End:
			s.State = ShardDrained
		case lease.Owner != "" && lease.Age < r.life:
			s.State = ShardOwned
		}
		roster.Shards = append(roster.Shards, s)
	}
	return roster
}

// compare corrects the roster by an earlier one, a lease's life older: a shard that only now seems to have no worker, or whose
// lease has moved, is on its way to one.
func (r SinkRoster) compare(earlier SinkRoster) {
	for i := range r.Shards {
		s := &r.Shards[i]
		was := slices.IndexFunc(earlier.Shards, func(e ShardRoster) bool { return e.Shard.ID == s.Shard.ID })
		if s.State == ShardUnowned && (was < 0 || earlier.Shards[was].State != ShardUnowned || !s.Lease.Same(earlier.Shards[was].Lease)) {
			s.State = ShardChanging
		}
	}
}
