//go:build !nolocal

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"penstock/consumer"
	"penstock/infra/iceberg"
	"penstock/ingest/httpapi"
)

// queryMargin is how much longer than a query may run its files stay.
const queryMargin = 10 * time.Minute

// safeAge is how long files of the lake stay that nothing refers to.
func (c *localCmd) safeAge() time.Duration { return max(c.OrphanAge, c.QueryTimeout+queryMargin) }

// newUpkeep makes the upkeep of the lake's table. It gives way to clients, and leaves the disk's reserve to those who
// must write.
func (k *localCore) newUpkeep(c *localCmd, logger *slog.Logger) (*iceberg.Upkeep, error) {
	return iceberg.NewUpkeep(k.table, iceberg.UpkeepConfig{
		TargetBytes: iceberg.DefaultTargetBytes, SafeAge: c.safeAge(), SnapshotAge: snapshotAge,
		Room: k.store.Guard().Admit, Busy: k.ingest.Busy, Now: time.Now, Logger: logger,
	})
}

// lakeUpkeep is the upkeep as the HTTP API knows it.
type lakeUpkeep struct{ upkeep *iceberg.Upkeep }

var _ httpapi.Upkeep = lakeUpkeep{}

// Start implements httpapi.Upkeep.
func (l lakeUpkeep) Start(_ context.Context, task string) (httpapi.UpkeepTask, error) {
	return shownTask(l.upkeep.Start(iceberg.Kind(task)))
}

// Wait implements httpapi.Upkeep.
func (l lakeUpkeep) Wait(ctx context.Context, task string) (httpapi.UpkeepTask, error) {
	return shownTask(l.upkeep.Wait(ctx, iceberg.Kind(task)))
}

func shownTask(t iceberg.Task, err error) (httpapi.UpkeepTask, error) {
	if errors.Is(err, iceberg.ErrUnknownTask) {
		return httpapi.UpkeepTask{}, fmt.Errorf("%w: %w", consumer.ErrNotFound, err)
	}
	if err != nil {
		return httpapi.UpkeepTask{}, err
	}
	shown := httpapi.UpkeepTask{Task: string(t.Kind), Started: t.Started, Ended: t.Ended, Failed: t.Err != nil}
	switch t.Kind {
	case iceberg.KindCompact:
		shown.Compacted = &httpapi.UpkeepCompacted{
			FilesBefore: t.Compaction.FilesBefore, FilesAfter: t.Compaction.FilesAfter,
			BytesBefore: t.Compaction.BytesBefore, BytesAfter: t.Compaction.BytesAfter,
		}
	case iceberg.KindExpire:
		shown.Expired = &httpapi.UpkeepExpired{SnapshotsForgotten: int64(t.Forgotten)}
	case iceberg.KindOrphans:
		shown.Swept = &httpapi.UpkeepSwept{
			FilesRemoved: t.Sweep.Files, BytesRemoved: t.Sweep.Bytes, FilesKept: t.Sweep.Young, BytesKept: t.Sweep.YoungBytes,
		}
	}
	return shown, nil
}
