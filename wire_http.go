//go:build !nolocal

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"penstock/consumer"
	"penstock/infra/iceberg"
	"penstock/infra/local"
	"penstock/infra/telemetry"
	"penstock/ingest"
	"penstock/ingest/httpapi"
	"penstock/schemas"
)

// buildServer puts the HTTP side on the core and the queries.
func (l *localProcess) buildServer() error {
	metrics := telemetry.NewMetrics(telemetry.Sources{
		Ingest: l.ingest.Stats,
		Fleets: func() []consumer.FleetStats { return []consumer.FleetStats{l.index.Stats(), l.lake.Stats()} },
		Lake:   l.lakeSink.Stats,
		Table:  l.tableStats,
		Store:  func() telemetry.StoreStats { return storeStats(l.store.Stream()) },
	})
	cfg := httpapi.Defaults()
	cfg.MetricsOnMain = l.admin == nil
	if l.cfg.KeyFile != "" {
		keys, err := httpapi.LoadKeys(l.cfg.KeyFile)
		if err != nil {
			return fmt.Errorf("--key-file: %w", err)
		}
		cfg.Keys = keys
	}
	var err error
	l.server, err = httpapi.New(cfg, httpapi.Deps{
		Ingest: l.ingest, Budget: l.budget, Index: l.events, Bodies: l.bodies,
		Ledger: l.store.Ledger(), Watermarks: l.watermarks,
		Queries: l.queries, Lake: lakeStatus{l.table, l.upkeep, l.lakeSink, l.store.Stream(), l.ingest},
		Upkeep: lakeUpkeep{l.upkeep}, Eraser: &localEraser{l.eraser, l.cfg},
		DeadLetters: l.store.DeadLetters(), Requeuer: consumer.NewRequeuer(l.indexSink, l.lakeSink),
		Dependencies: []httpapi.Dependency{
			{Name: "state", Ready: l.store.Prove},
			{Name: "disk", Ready: func(context.Context) error { return l.store.Guard().Admit(0) }},
			{Name: "lake", Ready: func(ctx context.Context) error { _, err := l.table.Offsets(ctx); return err }},
		},
		Metrics: metrics.Handler(), Observe: metrics.Observe, Logger: l.logger,
	})
	if err != nil {
		return err
	}
	metrics.Connections(l.server.Connections)
	return nil
}

// lakeStatus puts together what the table and the lake sink know.
type lakeStatus struct {
	table  *iceberg.Lake
	upkeep *iceberg.Upkeep
	sink   *consumer.LakeSink
	tips   consumer.Tips
	in     *ingest.Ingest
}

func (s lakeStatus) Status(ctx context.Context) (httpapi.LakeStatus, error) {
	asked := s.in.CompleteThrough() // before the tips
	tips, err := s.tips.Tips(ctx)
	if err != nil {
		return httpapi.LakeStatus{}, err
	}
	table, err := s.table.Status(ctx)
	if err != nil {
		return httpapi.LakeStatus{}, err
	}
	upkeep := s.upkeep.Stats()
	status := httpapi.LakeStatus{
		SmallFiles: table.SmallFiles, LastCompaction: upkeep.LastCompaction, OrphansRemoved: upkeep.OrphansRemoved,
		Table: schemas.LakeNamespace + "." + schemas.LakeTable, SnapshotID: table.SnapshotID, Snapshots: table.Snapshots,
		Committed: table.LastCommit, Rows: table.Rows, DataFiles: table.Files, DataBytes: table.Bytes,
		CompleteThrough: s.sink.CompleteThrough(tips, asked),
	}
	for shard, checkpoint := range table.Offsets {
		if _, ok := tips[shard]; !ok {
			continue // the sink keeps notes of its own among the offsets
		}
		status.Shards = append(status.Shards, httpapi.LakeShard{Shard: shard, Checkpoint: checkpoint})
	}
	slices.SortFunc(status.Shards, func(a, b httpapi.LakeShard) int { return cmp.Compare(a.Shard, b.Shard) })
	return status, nil
}

func storeStats(stream *local.Stream) telemetry.StoreStats {
	var stats telemetry.StoreStats
	for _, s := range stream.Stats() {
		stats.Shards = append(stats.Shards, telemetry.StoreShard{Shard: s.Shard, Records: s.Records, Bytes: s.Bytes})
	}
	return stats
}
