//go:build !nolocal

package main

import (
	"context"
	"sync"
	"time"

	"penstock/ingest/httpapi"
)

// statsFor is how long a look is shown again, so that a hundred open consoles cost what one does.
const statsFor = 250 * time.Millisecond

// liveStats tells open consoles how the process does. A look costs one seek in the stream for each shard and sink: the table's
// manifests are remembered, and all else is counters.
type liveStats struct {
	core  *localCore
	since time.Time

	mu   sync.Mutex
	last httpapi.ServerStats
}

var _ httpapi.Stats = (*liveStats)(nil)

func newLiveStats(core *localCore) *liveStats { return &liveStats{core: core, since: time.Now()} }

// Stats implements httpapi.Stats. One caller looks; the others wait for it.
func (s *liveStats) Stats(ctx context.Context) httpapi.ServerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.last.At) >= statsFor {
		s.last = s.look(ctx)
	}
	return s.last
}

// look leaves out what can't be read just now: /readyz tells of it.
func (s *liveStats) look(ctx context.Context) httpapi.ServerStats {
	stats := httpapi.ServerStats{At: time.Now(), Since: s.since, Ingest: s.core.ingest.Stats()}
	if stream, err := s.core.streamStatus(ctx); err == nil {
		stats.Sinks, stats.Stream = stream.Sinks, &httpapi.StreamSize{Bytes: stream.Bytes}
	}
	if table, err := s.core.table.Status(ctx); err == nil {
		stats.Lake = &httpapi.LakeSize{Rows: table.Rows, Files: table.Files, Bytes: table.Bytes}
	}
	return stats
}
