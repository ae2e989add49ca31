//go:build !nolocal

package main

import (
	"context"

	"penstock/consumer"
	"penstock/infra/telemetry"
	"penstock/ingest/httpapi"
)

// buildServer puts the HTTP side on the core and the queries.
func (l *localProcess) buildServer() error {
	metrics := telemetry.NewMetrics(telemetry.Sources{
		Ingest: l.ingest.Stats,
		Fleets: func() []consumer.FleetStats { return []consumer.FleetStats{l.index.Stats(), l.lake.Stats()} },
		Lake:   l.lakeSink.Stats,
		Table:  func() telemetry.TableStats { return tableStats(l.table, l.upkeep) },
		Store:  l.storeStats,
	})
	cfg, err := l.cfg.serverConfig(l.admin == nil)
	if err != nil {
		return err
	}
	l.server, err = httpapi.New(cfg, httpapi.Deps{
		Ingest: l.ingest, Budget: l.budget, Index: l.events, Bodies: l.bodies,
		Ledger: l.store.Ledger(), Watermarks: l.watermarks,
		Queries: l.queries, Lake: lakeStatus{l.localCore}, Stats: newLiveStats(l.localCore),
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
