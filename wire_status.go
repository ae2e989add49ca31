//go:build !nolocal

package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"penstock/infra/telemetry"
	"penstock/ingest/httpapi"
	"penstock/schemas"
)

// lakeStatus puts together what table, sinks, stream and disk know.
type lakeStatus struct{ *localCore }

var _ httpapi.Lake = lakeStatus{}

// Status implements httpapi.Lake.
func (s lakeStatus) Status(ctx context.Context) (httpapi.LakeStatus, error) {
	asked := s.ingest.CompleteThrough() // before the tips
	tips, err := s.store.Stream().Tips(ctx)
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
		CompleteThrough: s.lakeSink.CompleteThrough(tips, asked),
	}
	for shard, checkpoint := range table.Offsets {
		if _, ok := tips[shard]; !ok {
			continue // the sink keeps notes of its own among the offsets
		}
		status.Shards = append(status.Shards, httpapi.LakeShard{Shard: shard, Checkpoint: checkpoint})
	}
	slices.SortFunc(status.Shards, func(a, b httpapi.LakeShard) int { return cmp.Compare(a.Shard, b.Shard) })
	if status.Stream, err = s.streamStatus(ctx); err != nil {
		return httpapi.LakeStatus{}, err
	}
	status.Disk, err = s.diskStatus()
	return status, err
}

// streamStatus tells what the stream keeps, and for whom.
func (k *localCore) streamStatus(ctx context.Context) (httpapi.StreamStatus, error) {
	stream := k.store.Stream()
	status := httpapi.StreamStatus{HeldBytes: stream.Trimmed().HeldBytes}
	for _, shard := range stream.Stats() {
		status.Bytes += shard.Bytes
	}
	sinks, err := k.watermarks.Held(ctx)
	if err != nil {
		return httpapi.StreamStatus{}, err
	}
	var most int64
	for _, sink := range sinks {
		backlog, err := stream.Backlog(ctx, sink.Through)
		if err != nil {
			return httpapi.StreamStatus{}, err
		}
		if backlog.Bytes > most {
			most, status.Slowest = backlog.Bytes, sink.Sink
		}
		status.Sinks = append(status.Sinks, httpapi.SinkBacklog{Sink: sink.Sink, Bytes: backlog.Bytes, Oldest: backlog.Oldest})
	}
	return status, nil
}

func (k *localCore) diskStatus() (httpapi.DiskStatus, error) {
	state, index, stateErr := k.store.DiskUsage()
	free, size, diskErr := k.store.Guard().Disk()
	return httpapi.DiskStatus{State: state, Index: index, Free: free, Size: size}, errors.Join(stateErr, diskErr)
}

// storeStats are what a scrape shows of the stream and the disk. What can't be read is left out: /readyz tells of it.
func (k *localCore) storeStats() telemetry.StoreStats {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	stream := k.store.Stream()
	trimmed := stream.Trimmed()
	stats := telemetry.StoreStats{TrimmedBytes: uint64(trimmed.Bytes), HeldBytes: trimmed.HeldBytes}
	for _, s := range stream.Stats() {
		stats.Shards = append(stats.Shards, telemetry.StoreShard{Shard: s.Shard, Records: s.Records, Bytes: s.Bytes})
	}
	if disk, err := k.diskStatus(); err == nil {
		stats.StateBytes, stats.IndexBytes, stats.DiskFree, stats.DiskSize = disk.State, disk.Index, disk.Free, disk.Size
	}
	if status, err := k.streamStatus(ctx); err == nil {
		for _, s := range status.Sinks {
			sink := telemetry.StoreSink{Sink: s.Sink, Backlog: s.Bytes, Slowest: s.Sink == status.Slowest}
			if !s.Oldest.IsZero() {
				sink.Age = max(0, time.Since(s.Oldest))
			}
			stats.Sinks = append(stats.Sinks, sink)
		}
	}
	return stats
}
