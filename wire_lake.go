//go:build !frontend

package main

import (
	"context"
	"time"

	"penstock/consumer"
	"penstock/infra/iceberg"
	"penstock/infra/telemetry"
)

const (
	// snapshotAge is when a snapshot of the lake is forgotten. Queries don't need it: their files are spared by themselves.
	snapshotAge = time.Hour
	// statusTimeout bounds a look at the lake's table for a scrape.
	statusTimeout = 5 * time.Second
)

// tableStats are what a scrape shows of the lake's table and its upkeep.
func tableStats(lake *iceberg.Lake, upkeep *iceberg.Upkeep) telemetry.TableStats {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	u := upkeep.Stats()
	stats := telemetry.TableStats{
		FilesCompacted: u.FilesCompacted, SnapshotsForgotten: u.SnapshotsExpired, OrphansRemoved: u.OrphansRemoved,
		OrphanBytesRemoved: u.OrphanBytesRemoved, UpkeepFailures: u.Failures, LastCompaction: u.LastCompaction, LastSweep: u.LastSweep,
	}
	table, err := lake.Status(ctx)
	if err != nil {
		return stats // /readyz tells of it
	}
	stats.Known, stats.Files, stats.SmallFiles, stats.Bytes = true, table.Files, table.SmallFiles, table.Bytes
	stats.Rows, stats.Snapshots = table.Rows, int64(table.Snapshots)
	return stats
}

// newUpkeep makes the upkeep of a table that a fleet writes and others query.
func (p *consumerProcess) newUpkeep(lake *iceberg.Lake) (*iceberg.Upkeep, error) {
	return iceberg.NewUpkeep(lake, iceberg.UpkeepConfig{
		TargetBytes: iceberg.DefaultTargetBytes, SafeAge: p.cfg.OrphanAge, SnapshotAge: snapshotAge, Shared: true,
		Room: func(int64) error { return nil }, // S3 is never full
		Busy: func() bool { return false },     // no client waits for this process
		Now:  time.Now, Logger: p.logger,
	})
}

// tendLake does the upkeep of the lake at its interval, while this is the one process of the fleet that should.
func (p *consumerProcess) tendLake(ctx context.Context, upkeep *iceberg.Upkeep) {
	tick := time.NewTicker(p.cfg.UpkeepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !tends(p.fleet.Stats()) {
			continue
		}
		if err := upkeep.Once(ctx); err != nil && ctx.Err() == nil {
			p.logger.Warn("lake upkeep failed; it is tried again", "error", err, "in", p.cfg.UpkeepInterval)
		}
	}
}

// tends tells whether this process is the one that looks after the lake: who has the first shard that is not drained. Two at
// once, while a shard changes hands, do each other's work again and no harm.
func tends(stats consumer.FleetStats) bool {
	for _, s := range stats.Shards {
		if !s.Drained {
			return s.Ours
		}
	}
	return false
}
