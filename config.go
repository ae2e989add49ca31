//go:build !nolocal

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"penstock/ingest/httpapi"
	"penstock/schemas"
)

// localCommands are the commands that need everything embedded.
type localCommands struct {
	Local localCmd `cmd:"" help:"Run everything on this machine: HTTP front end, stream, index, lake and SQL in one process."`
}

// byteSize is a number of bytes written like 256MiB or 1GB.
type byteSize int64

// UnmarshalText implements encoding.TextUnmarshaler for the command line.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a size: write it like 512MiB or 10GB", text)
	}
	*b = byteSize(n)
	return nil
}

func (b byteSize) String() string { return humanize.IBytes(uint64(b)) }

// localCmd is the configuration of `penstock local`. Bounds are checked by validate before anything starts.
type localCmd struct {
	Data        string `default:"./penstock-data" env:"PENSTOCK_DATA" help:"Directory that holds everything; made when missing."`
	Listen      string `default:"127.0.0.1:8080" env:"PENSTOCK_LISTEN" help:"Address of the HTTP API. Without --key-file it must be loopback."`
	S3Listen    string `name:"s3-listen" default:"127.0.0.1:8081" env:"PENSTOCK_S3_LISTEN" help:"Address of the read-only S3 endpoint that serves the bodies over 1 MB. It must be loopback."`
	AdminListen string `env:"PENSTOCK_ADMIN_LISTEN" help:"Address of /metrics. Default: the HTTP API's when that is loopback, else 127.0.0.1:9090." placeholder:"HOST:PORT"`
	KeyFile     string `env:"PENSTOCK_KEY_FILE" help:"File of API keys, a line each: a name and the key's SHA-256 in hex." placeholder:"FILE"`

	Shards         int           `default:"4" env:"PENSTOCK_SHARDS" help:"Shards of the stream (1 to 64); fixed once the data directory is made."`
	Retention      time.Duration `default:"168h" env:"PENSTOCK_RETENTION" help:"How long the stream keeps events (1h to 8760h). Events that a sink still needs are always kept."`
	RetentionBytes byteSize      `default:"20GiB" env:"PENSTOCK_RETENTION_BYTES" help:"How much the stream keeps (at least 64MiB). Events that a sink still needs are always kept."`
	MinFree        byteSize      `default:"512MiB" env:"PENSTOCK_MIN_FREE" help:"Disk space left untouched: below it new events are refused with 503 (at least 64MiB). SQL leaves twice as much."`
	Memory         byteSize      `default:"256MiB" env:"PENSTOCK_MEMORY" help:"Bytes of requests in flight, beyond which new ones are refused with 503 (32MiB to 64GiB)."`

	FlushAge   time.Duration `default:"30s" env:"PENSTOCK_FLUSH_AGE" help:"How long an event may wait for the lake when nobody asks (1s to 1h). A query flushes at once."`
	FlushBytes byteSize      `default:"32MiB" env:"PENSTOCK_FLUSH_BYTES" help:"Bytes after which the lake sink flushes (16MiB to 1GiB)."`

	UpkeepInterval time.Duration `default:"5m" env:"PENSTOCK_UPKEEP_INTERVAL" help:"How often the lake is compacted and swept (10s to 24h)."`
	OrphanAge      time.Duration `default:"1h" env:"PENSTOCK_ORPHAN_AGE" help:"How long a file of the lake stays that nothing refers to any more (1m to 8760h), and always longer than --query-timeout."`

	QueryMemory      byteSize      `default:"1GiB" env:"PENSTOCK_QUERY_MEMORY" help:"Memory of one SQL execution (128MiB to 1TiB); beyond it it spills to disk."`
	QueryMaxSpill    byteSize      `default:"10GiB" env:"PENSTOCK_QUERY_MAX_SPILL" help:"Disk that one SQL execution may spill to (1MiB to 1TiB)."`
	QueryConcurrency int           `default:"2" env:"PENSTOCK_QUERY_CONCURRENCY" help:"SQL executions at once (1 to 64); more are queued."`
	QueryTimeout     time.Duration `default:"30m" env:"PENSTOCK_QUERY_TIMEOUT" help:"How long one SQL execution may run (1s to 24h)."`
	QueryMaxResult   byteSize      `default:"2GiB" env:"PENSTOCK_QUERY_MAX_RESULT" help:"Largest result of one SQL execution (1MiB to 1TiB)."`

	LogLevel  string `default:"info" enum:"debug,info,warn,error" env:"PENSTOCK_LOG_LEVEL" help:"debug, info, warn or error."`
	LogFormat string `default:"text" enum:"text,json" env:"PENSTOCK_LOG_FORMAT" help:"text or json."`
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
		within("--memory", c.Memory, 32<<20, 64<<30),
		within("--flush-age", c.FlushAge, time.Second, time.Hour),
		within("--flush-bytes", c.FlushBytes, 16<<20, 1<<30),
		within("--upkeep-interval", c.UpkeepInterval, 10*time.Second, 24*time.Hour),
		within("--orphan-age", c.OrphanAge, time.Minute, 8760*time.Hour),
		within("--query-memory", c.QueryMemory, 128<<20, 1<<40),
		within("--query-max-spill", c.QueryMaxSpill, 1<<20, 1<<40),
		within("--query-concurrency", c.QueryConcurrency, 1, 64),
		within("--query-timeout", c.QueryTimeout, time.Second, 24*time.Hour),
		within("--query-max-result", c.QueryMaxResult, 1<<20, 1<<40),
		checkAddress("--listen", c.Listen),
		checkAddress("--s3-listen", c.S3Listen),
	}
	if c.AdminListen != "" {
		checks = append(checks, checkAddress("--admin-listen", c.AdminListen))
	}
	if c.Memory < 3*schemas.MaxBody {
		checks = append(checks, fmt.Errorf("--memory %s: must hold three of the largest bodies (30MiB)", c.Memory))
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	if !isLoopback(c.S3Listen) {
		return fmt.Errorf("--s3-listen %s: must be a loopback address such as 127.0.0.1:8081", c.S3Listen)
	}
	if c.KeyFile == "" && !isLoopback(c.Listen) {
		return fmt.Errorf("--listen %s: is not loopback, so it needs --key-file with at least one API key", c.Listen)
	}
	if c.KeyFile != "" {
		if _, err := os.Stat(c.KeyFile); err != nil {
			return fmt.Errorf("--key-file: %w", err)
		}
	}
	return nil
}

// within checks that low ≤ value ≤ high.
func within[T int | byteSize | time.Duration](field string, value, low, high T) error {
	if value < low || value > high {
		return fmt.Errorf("%s %v: must be between %v and %v", field, value, low, high)
	}
	return nil
}

func checkAddress(field, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("%s %q: must be HOST:PORT such as 127.0.0.1:8080", field, address)
	}
	return nil
}

// isLoopback reports whether the host of HOST:PORT can only be reached from this machine, by the rule of the HTTP API.
func isLoopback(address string) bool { return httpapi.CheckListen(address, false) == nil }
