//go:build !nolocal

package main

import (
	"context"
	"time"

	"penstock/consumer"
	"penstock/ingest/httpapi"
)

// localEraser is the Eraser as the HTTP API knows it.
type localEraser struct {
	*consumer.Eraser
	cfg *localCmd
}

var _ httpapi.Eraser = (*localEraser)(nil)

// Erase implements httpapi.Eraser.
func (e *localEraser) Erase(ctx context.Context, id string) (httpapi.Erasure, error) {
	t, err := e.Eraser.Erase(ctx, id)
	if err != nil {
		return httpapi.Erasure{}, err
	}
	// Forgotten at one run of upkeep, seen to be so by the next, removed by a later one.
	sweeps := snapshotAge + e.cfg.safeAge() + 3*e.cfg.UpkeepInterval
	return httpapi.Erasure{Erased: t.Erased, HeldBy: []httpapi.Holder{
		{Holder: "stream", Until: t.Received.Add(e.cfg.Retention),
			Detail: "unless trimmed for its size before (--retention, --retention-bytes)"},
		{Holder: "lake files", Until: t.Erased.Add(sweeps), Detail: "those of old snapshots, while the server runs; or see lake expire and lake orphans"},
		{Holder: "query results", Until: t.Erased.Add(e.cfg.QueryTimeout + resultTTL + resultTTL/4), Detail: "of SQL that had it, while the server runs"},
		{Holder: "query executions", Until: t.Erased.Add(e.cfg.QueryTimeout + executionsKept), Detail: "whose SQL or error quotes it, while the server runs"},
		{Holder: "dead letters", Detail: "if a sink could not take it; a requeue brings nothing back"},
		{Holder: "state files", Detail: "until Pebble has compacted them"},
	}}, nil
}

// finishErasures goes on with what a crash has cut, once at the start and then now and again.
func (l *localProcess) finishErasures(ctx context.Context) {
	tick := time.NewTicker(tendInterval)
	defer tick.Stop()
	for {
		if err := l.eraser.Finish(ctx); err != nil && ctx.Err() == nil {
			l.logger.Warn("an erasure is not complete; it is tried again", "error", err, "in", tendInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
