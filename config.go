//go:build !nolocal

package main

import (
	"fmt"
	"path/filepath"
	"time"
)

// localCommands are the commands that need everything embedded.
type localCommands struct {
	Local     localCmd     `cmd:"" help:"Run everything on this machine: HTTP front end, stream, index, lake and SQL."`
	SQLWorker sqlWorkerCmd `cmd:"" name:"sql-worker" hidden:""`
}

// localCmd is the configuration of `penstock local`. Bounds are checked by validate before anything starts.
type localCmd struct {
	Data     string `default:"./penstock-data" env:"PENSTOCK_DATA" help:"Directory that holds everything; made when missing."`
	S3Listen string `name:"s3-listen" default:"127.0.0.1:8081" env:"PENSTOCK_S3_LISTEN" help:"Address of the read-only S3 endpoint that serves the bodies over 1 MB. It must be loopback."`
	frontFlags

	Shards         int           `default:"4" env:"PENSTOCK_SHARDS" help:"Shards of the stream (1 to 64); fixed once the data directory is made."`
	Retention      time.Duration `default:"168h" env:"PENSTOCK_RETENTION" help:"How long the stream keeps events (1h to 8760h). Events that a sink still needs are always kept."`
	RetentionBytes byteSize      `default:"20GiB" env:"PENSTOCK_RETENTION_BYTES" help:"How much the stream keeps (at least 64MiB). Events that a sink still needs are always kept."`
	MinFree        byteSize      `default:"512MiB" env:"PENSTOCK_MIN_FREE" help:"Disk space left untouched: below it new events are refused with 503 (at least 64MiB). SQL leaves twice as much."`

	FlushAge   time.Duration `default:"30s" env:"PENSTOCK_FLUSH_AGE" help:"How long an event may wait for the lake when nobody asks (1s to 1h). A query flushes at once."`
	FlushBytes byteSize      `default:"32MiB" env:"PENSTOCK_FLUSH_BYTES" help:"Bytes after which the lake sink flushes (16MiB to 1GiB)."`

	UpkeepInterval time.Duration `default:"5m" env:"PENSTOCK_UPKEEP_INTERVAL" help:"How often the lake is compacted and swept (10s to 24h)."`
	OrphanAge      time.Duration `default:"1h" env:"PENSTOCK_ORPHAN_AGE" help:"How long a file of the lake stays that nothing refers to any more (1m to 8760h), and always longer than --query-timeout."`

	QueryMemory      byteSize      `default:"1GiB" env:"PENSTOCK_QUERY_MEMORY" help:"Memory of one SQL execution (128MiB to 1TiB); beyond it it spills to disk. All that its process takes is bounded by twice that and 512MiB (on Linux)."`
	QueryMaxSpill    byteSize      `default:"10GiB" env:"PENSTOCK_QUERY_MAX_SPILL" help:"Disk that one SQL execution may spill to (1MiB to 1TiB)."`
	QueryConcurrency int           `default:"2" env:"PENSTOCK_QUERY_CONCURRENCY" help:"SQL executions at once (1 to 64); more are queued."`
	QueryTimeout     time.Duration `default:"30m" env:"PENSTOCK_QUERY_TIMEOUT" help:"How long one SQL execution may run (1s to 24h)."`
	QueryMaxResult   byteSize      `default:"2GiB" env:"PENSTOCK_QUERY_MAX_RESULT" help:"Largest result of one SQL execution (1MiB to 1TiB)."`

	logFlags
}

// validate checks every field and its bounds, and makes Data absolute: the S3 endpoint changes the working directory.
func (c *localCmd) validate() error {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return fmt.Errorf("--data %q: %w", c.Data, err)
	}
	c.Data = data
	checks := []error{
		within("--shards", c.Shards, 1, 64),
		within("--retention", c.Retention, time.Hour, 8760*time.Hour),
		within("--retention-bytes", c.RetentionBytes, 64<<20, 1<<60),
		within("--min-free", c.MinFree, 64<<20, 1<<60),
		within("--flush-age", c.FlushAge, time.Second, time.Hour),
		within("--flush-bytes", c.FlushBytes, 16<<20, 1<<30),
		within("--upkeep-interval", c.UpkeepInterval, 10*time.Second, 24*time.Hour),
		within("--orphan-age", c.OrphanAge, time.Minute, 8760*time.Hour),
		within("--query-memory", c.QueryMemory, 128<<20, 1<<40),
		within("--query-max-spill", c.QueryMaxSpill, 1<<20, 1<<40),
		within("--query-concurrency", c.QueryConcurrency, 1, 64),
		within("--query-timeout", c.QueryTimeout, time.Second, 24*time.Hour),
		within("--query-max-result", c.QueryMaxResult, 1<<20, 1<<40),
		c.frontFlags.validate(),
		checkAddress("--s3-listen", c.S3Listen),
	}
	if !isLoopback(c.S3Listen) {
		checks = append(checks, fmt.Errorf("--s3-listen %s: must be a loopback address such as 127.0.0.1:8081", c.S3Listen))
	}
	return first(checks)
}
