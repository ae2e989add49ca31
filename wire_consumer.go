//go:build !frontend

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"penstock/consumer"
	"penstock/infra/aws"
	"penstock/infra/iceberg"
	"penstock/infra/telemetry"
	"penstock/ingest/httpapi"
)

// awsPageBytes is about what a shard gives in one GetRecords.
const awsPageBytes = 2 << 20

// consumerProcess is everything that `penstock consumer` runs: one sink's part of a fleet.
type consumerProcess struct {
	*parts
	cfg   *consumerCmd
	aws   *awsParts
	fleet *consumer.Fleet
	admin *httpapi.Admin
	ln    net.Listener
	// upkeep is nil unless this process may look after the lake.
	upkeep *iceberg.Upkeep

	background context.CancelFunc
}

func openConsumer(ctx context.Context, c *consumerCmd, logs io.Writer) (_ *consumerProcess, err error) {
	p := &consumerProcess{parts: newParts(), cfg: c}
	if p.logger, err = telemetry.NewLogger(logs, c.LogFormat, c.LogLevel); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	var lc net.ListenConfig
	if p.ln, err = lc.Listen(ctx, "tcp", c.AdminListen); err != nil {
		return nil, fmt.Errorf("--admin-listen: %w", err)
	}
	if p.aws, err = connectAWS(ctx, &c.awsFlags); err != nil {
		return nil, err
	}
	if err := p.aws.check(ctx, p.checkStream, p.aws.bodies.Check); err != nil {
		return nil, err
	}
	sources := telemetry.Sources{Fleets: func() []consumer.FleetStats { return []consumer.FleetStats{p.fleet.Stats()} }}
	fleet := consumer.FleetConfig{
		Owner: c.Owner, LeaseLife: awsLeaseLife, PageBytes: awsPageBytes, Busy: func() bool { return false }, Log: p.logger,
	}
	dependencies := p.aws.dependencies()
	var sink consumer.Sink
	switch c.Sink {
	case consumer.IndexSinkName:
		sink = consumer.NewIndexSink(p.aws.index, p.aws.letters, p.logger)
	case consumer.LakeSinkName:
		lake, err := p.openLake(ctx)
		if err != nil {
			return nil, err
		}
		lakeSink := consumer.NewLakeSink(consumer.LakeConfig{
			FlushBytes: int64(c.FlushBytes), MaxBytes: 2 * int64(c.FlushBytes), FlushAge: c.FlushAge, QueryInterval: c.FlushAge,
			FinalFlush: drainTime / 2, Fetches: 4, Settle: settle, Log: p.logger,
		}, lake, p.aws.bodies, p.aws.letters)
		sink, fleet.History, sources.Lake = lakeSink, p.aws.source, lakeSink.Stats
		if c.UpkeepInterval > 0 {
			if p.upkeep, err = p.newUpkeep(lake); err != nil {
				return nil, err
			}
			sources.Table = func() telemetry.TableStats { return tableStats(lake, p.upkeep) }
		}
		dependencies = append(dependencies, httpapi.Dependency{Name: "lake", Ready: func(ctx context.Context) error {
			_, err := lake.Offsets(ctx)
			return err
		}})
	}
	p.fleet = consumer.NewFleet(fleet, p.aws.source, aws.NewLeases(p.aws.clients, p.aws.tables), sink, p.aws.letters)
	p.admin = httpapi.NewAdmin(httpapi.Defaults(), dependencies, telemetry.NewMetrics(sources).Handler(), p.logger)
	return p, nil
}

// checkStream proves the stream, and warns of one that keeps records for too short a time.
func (p *consumerProcess) checkStream(ctx context.Context) error {
	_, warning, err := p.aws.proveReading(ctx)
	if err == nil && warning != "" {
		p.logger.Warn("the stream keeps records for too short a time", "stream", p.cfg.Stream, "detail", warning)
	}
	return err
}

// openLake opens the table of the lake, below lake/ in the bucket, and makes it when it is missing.
func (p *consumerProcess) openLake(ctx context.Context) (*iceberg.Lake, error) {
	// The files' requests end with the process, not with its start.
	files, pointer, err := lakeAt(context.WithoutCancel(ctx), p.aws, p.cfg.Bucket, p.cfg.Database)
	if err != nil {
		return nil, err
	}
	return iceberg.Open(ctx, iceberg.Config{
		Files: files, Pointer: pointer, Admit: func(int64) error { return nil }, Logger: p.logger, // S3 is never full
	})
}

func (p *consumerProcess) start(ctx context.Context) {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.background = cancel
	p.goes(p.cfg.Sink+" fleet", func() error { return p.fleet.Run(background) })
	if p.upkeep != nil {
		p.goes("lake upkeep", func() error { p.tendLake(background, p.upkeep); return nil })
	}
	p.goes("admin HTTP", func() error { return p.admin.Serve(p.ln) })
}

// stop has the fleet flush what it has and give its shards back.
func (p *consumerProcess) stop() error {
	p.background()
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	return errors.Join(p.admin.Shutdown(ctx), p.await(), p.close())
}

// close gives back what openConsumer opened.
func (p *consumerProcess) close() error { return closeListeners(p.ln) }

// consumerCommands are the commands of a build that can write the lake.
type consumerCommands struct {
	Consumer consumerCmd `cmd:"" help:"Run one sink's part of a fleet on AWS: index or lake."`
}

// consumerCmd is the configuration of `penstock consumer`.
type consumerCmd struct {
	Sink string `required:"" enum:"index,lake" env:"PENSTOCK_SINK" help:"What to feed: index or lake."`
	awsFlags
	Owner          string        `env:"PENSTOCK_OWNER" help:"Name of this process in the leases, unique among those that run. Default: host name and process id." placeholder:"NAME"`
	AdminListen    string        `default:"127.0.0.1:9090" env:"PENSTOCK_ADMIN_LISTEN" help:"Address of /metrics, /healthz and /readyz."`
	Database       string        `default:"penstock" env:"PENSTOCK_DATABASE" help:"Glue database of the lake's table; made when missing."`
	FlushAge       time.Duration `default:"60s" env:"PENSTOCK_FLUSH_AGE" help:"How long an event may wait for the lake (1s to 1h)."`
	FlushBytes     byteSize      `default:"64MiB" env:"PENSTOCK_FLUSH_BYTES" help:"Bytes after which the lake sink flushes (16MiB to 1GiB)."`
	UpkeepInterval time.Duration `default:"5m" env:"PENSTOCK_UPKEEP_INTERVAL" help:"How often one process of the lake's fleet compacts and sweeps the table (10s to 24h); 0 leaves that to others, such as Glue's table optimizers."`
	OrphanAge      time.Duration `default:"24h" env:"PENSTOCK_ORPHAN_AGE" help:"How long a file of the lake stays that nothing refers to any more (2h to 8760h); longer than any query of Athena runs."`
	logFlags
}

// Help implements kong.HelpProvider.
func (*consumerCmd) Help() string {
	return `Any number of processes share a sink's shards. Region, credentials and endpoints come from the AWS SDK's own variables and
files.

Examples:

    penstock consumer --sink index --bucket my-bucket
    penstock consumer --sink lake --bucket my-bucket --flush-age 30s`
}

func (c *consumerCmd) validate() error {
	if c.Owner == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("--owner is needed, since this host has no name: %w", err)
		}
		c.Owner = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	return first([]error{
		c.awsFlags.validate(), checkAddress("--admin-listen", c.AdminListen),
		within("--flush-age", c.FlushAge, time.Second, time.Hour),
		within("--flush-bytes", c.FlushBytes, 16<<20, 1<<30),
		c.checkUpkeepInterval(),
		within("--orphan-age", c.OrphanAge, 2*iceberg.CommitWithin, 8760*time.Hour),
	})
}

func (c *consumerCmd) checkUpkeepInterval() error {
	if c.UpkeepInterval == 0 {
		return nil
	}
	return within("--upkeep-interval", c.UpkeepInterval, 10*time.Second, 24*time.Hour)
}

// Run works until ctx ends.
func (c *consumerCmd) Run(ctx context.Context, out *output) error {
	if err := c.validate(); err != nil {
		return err
	}
	p, err := openConsumer(ctx, c, out.stderr)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	if err != nil {
		return err
	}
	p.start(ctx)
	if _, err := fmt.Fprintf(out.stdout, "Penstock is ready.\n  sink   %s\n  stream %s\n  owner  %s\n  admin  http://%s\n",
		c.Sink, c.Stream, c.Owner, p.ln.Addr()); err != nil {
		return errors.Join(err, p.stop())
	}
	err = p.untilStopped(ctx)
	return errors.Join(err, p.stop())
}
