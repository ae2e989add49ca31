package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"slices"
	"time"

	"penstock/consumer/query"
	"penstock/infra/aws"
	"penstock/infra/telemetry"
	"penstock/ingest"
	"penstock/ingest/httpapi"
)

const (
	// putSlots are the calls of PutRecords with records of one shard that may be under way: with more of some 10 ms each, one
	// busy front end alone would come near the 1,000 records a second that a shard takes.
	putSlots = 8
	// putCalls are those of all shards together. One ends every 0.6 ms then, for which an event may have to wait; more of them
	// would cost more processor than they save time.
	putCalls = 16
	// putLaneBytes is what a shard takes in a second: it would throttle the rest of a larger call
	// (https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html).
	putLaneBytes = 1 << 20
	// gcPercent has garbage grow to four times of what is in use before it is collected. A front end has little in use and makes
	// much garbage; the memory limit goes before it.
	gcPercent = 400
	// refreshInterval is how often the stream's shards are listed: until then the events of two new shards all go to one.
	refreshInterval = 10 * time.Second
)

// ingestProcess is everything that `penstock ingest` runs.
type ingestProcess struct {
	*parts
	cfg     *ingestCmd
	aws     *awsParts
	ingest  *ingest.Ingest
	server  *httpapi.Server
	engine  *aws.Athena // nil where no SQL is served, as queries
	queries *query.Service
	// ticketSecret is what all front ends sign tickets with.
	ticketSecret []byte

	http, admin net.Listener // admin is nil when /metrics is served by http
	background  context.CancelFunc
}

// openIngest opens the listeners first, so that connections queue from then on, and builds every part.
func openIngest(ctx context.Context, c *ingestCmd, logs io.Writer) (_ *ingestProcess, err error) {
	p := &ingestProcess{parts: newParts(), cfg: c}
	if p.logger, err = telemetry.NewLogger(logs, c.LogFormat, c.LogLevel); err != nil {
		return nil, err
	}
	debug.SetMemoryLimit(2*int64(c.Memory) + 256<<20)
	debug.SetGCPercent(gcPercent)
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.http, p.admin, err = c.listen(ctx); err != nil {
		return nil, err
	}
	if p.aws, err = connectAWS(ctx, &c.awsFlags); err != nil {
		return nil, err
	}
	budget := ingest.NewBudget(int64(c.Memory))
	ledger := aws.NewLedger(p.aws.clients, p.aws.tables, p.aws.index, p.aws.watermark.Index)
	checks := []func(context.Context) error{p.aws.bodies.Check}
	if c.serves(routesIngest) {
		checks = append(checks, func(ctx context.Context) (err error) {
			if _, err := p.aws.stream.Check(ctx); err != nil {
				return err
			}
			p.ingest, err = ingest.New(ctx, ingest.Config{
				Slots: putSlots, Calls: putCalls, LaneBytes: putLaneBytes, Large: largeRequests, Now: time.Now,
			},
				p.aws.stream, p.aws.bodies, aws.NewClaims(p.aws.clients, p.aws.tables), ledger, budget)
			return err
		})
	}
	if c.serves(routesQuery) {
		p.engine = p.aws.newAthena(&c.queryFlags, p.logger)
		checks = append(checks, p.engine.Check)
	}
	if err := p.aws.check(ctx, checks...); err != nil {
		return nil, err
	}
	if p.engine != nil {
		if p.ticketSecret, err = aws.Secret(ctx, p.aws.clients, p.aws.tables, "tickets"); err != nil { // the tables are there by now
			return nil, err
		}
		executions := aws.NewExecutions(p.aws.clients, p.aws.tables)
		if p.queries, err = newQueries(p.engine, executions, athenaPoll, athenaMaxPoll, athenaGrace, p.logger); err != nil {
			return nil, err
		}
	}
	return p, p.buildServer(budget, ledger)
}

func (p *ingestProcess) buildServer(budget *ingest.Budget, ledger *aws.Ledger) (err error) {
	var sources telemetry.Sources
	deps := httpapi.Deps{Budget: budget, Dependencies: p.aws.dependencies(), Logger: p.logger}
	if p.ingest != nil {
		sources.Ingest, deps.Ingest = p.ingest.Stats, p.ingest
		deps.Stats = frontStats{p.ingest, time.Now()}
	}
	if p.cfg.serves(routesRead) {
		deps.Index, deps.Bodies, deps.Ledger, deps.Watermarks = p.aws.index, p.aws.bodies, ledger, p.aws.watermark
		deps.DeadLetters = p.aws.letters
	}
	if p.queries != nil {
		deps.Queries = p.queries
	}
	metrics := telemetry.NewMetrics(sources)
	deps.Metrics, deps.Observe = metrics.Handler(), metrics.Observe
	cfg, err := p.cfg.serverConfig(p.admin == nil)
	if err != nil {
		return err
	}
	if p.ticketSecret != nil {
		cfg.TicketSecret, cfg.UsedTickets = p.ticketSecret, aws.NewUsedTickets(p.aws.clients, p.aws.tables)
	}
	if p.server, err = httpapi.New(cfg, deps); err != nil {
		return err
	}
	metrics.Connections(p.server.Connections)
	return nil
}

// frontStats are those of a front end, which knows nothing of sinks and lake: other processes are those.
type frontStats struct {
	ingest *ingest.Ingest
	since  time.Time
}

var _ httpapi.Stats = frontStats{}

// Stats implements httpapi.Stats.
func (s frontStats) Stats(context.Context) httpapi.ServerStats {
	return httpapi.ServerStats{At: time.Now(), Since: s.since, Ingest: s.ingest.Stats()}
}

func (p *ingestProcess) start(ctx context.Context) {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.background = cancel
	if p.ingest != nil {
		p.goes("shards", func() error { return p.refresh(background) })
	}
	if p.engine != nil {
		p.goes("Athena's events", func() error { p.engine.Listen(background); return nil })
	}
	if p.admin != nil {
		p.goes("admin HTTP", func() error { return p.server.ServeAdmin(p.admin) })
	}
	p.goes("HTTP", func() error { return p.server.Serve(p.http) })
}

// refresh has the lanes follow the stream's shards.
func (p *ingestProcess) refresh(ctx context.Context) error {
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := p.ingest.Refresh(ctx); err != nil && ctx.Err() == nil {
			p.logger.Warn("the stream's shards could not be listed; going on with those that are known", "error", err,
				"retry_in", refreshInterval)
		}
	}
}

// stop answers what has come, and waits for the last flight.
func (p *ingestProcess) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	err := p.server.Shutdown(ctx)
	if p.ingest != nil {
		err = errors.Join(err, p.ingest.Drain(ctx))
	}
	p.background()
	return errors.Join(err, p.await(), p.close())
}

// close gives back what openIngest opened. Queries go on in Athena, and whoever asks again is told by another process.
func (p *ingestProcess) close() error {
	if p.queries != nil {
		p.queries.Close()
	}
	return closeListeners(p.http, p.admin)
}

// Names of what a front end may serve.
const (
	routesIngest = "ingest"
	routesRead   = "read"
	routesQuery  = "query"
)

// ingestCmd is the configuration of `penstock ingest`.
type ingestCmd struct {
	awsFlags
	frontFlags
	Routes []string `default:"ingest,read" enum:"ingest,read,query" env:"PENSTOCK_ROUTES" help:"What to serve: ingest (POST), read (GET by id), query (SQL, by Athena)."`
	queryFlags
	logFlags
}

// Help implements kong.HelpProvider.
func (*ingestCmd) Help() string {
	return `Region, credentials and endpoints come from the AWS SDK's own variables and files, such as AWS_REGION, AWS_PROFILE and
AWS_ENDPOINT_URL_KINESIS.

Examples:

    penstock ingest --bucket my-bucket
    penstock ingest --bucket my-bucket --listen :8080 --key-file keys.txt
    penstock ingest --bucket my-bucket --routes ingest,read,query --workgroup my-workgroup`
}

func (c *ingestCmd) serves(routes string) bool { return slices.Contains(c.Routes, routes) }

func (c *ingestCmd) validate() error {
	return first([]error{c.awsFlags.validate(), c.frontFlags.validate(), c.queryFlags.validate(c.Bucket)})
}

// Run serves until ctx ends.
func (c *ingestCmd) Run(ctx context.Context, out *output) error {
	if err := c.validate(); err != nil {
		return err
	}
	p, err := openIngest(ctx, c, out.stderr)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to stop before anything was accepted
	}
	if err != nil {
		return err
	}
	p.start(ctx)
	if _, err := fmt.Fprintf(out.stdout, "Penstock is ready.\n  HTTP   http://%s\n%s  stream %s\n",
		p.http.Addr(), adminLine(p.admin), c.Stream); err != nil {
		return errors.Join(err, p.stop())
	}
	err = p.untilStopped(ctx)
	return errors.Join(err, p.stop())
}
