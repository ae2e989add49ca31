//go:build !nolocal

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/consumer/query"
	"penstock/infra/iceberg"
	"penstock/infra/local"
	"penstock/infra/telemetry"
	"penstock/ingest"
	"penstock/ingest/httpapi"
)

// What one machine does not need to have told by flags.
const (
	bodiesBucket = "penstock"
	// localOwner names this process in the leases. The data directory's lock admits one process, so after a restart the
	// leases are its own again at once.
	localOwner   = "local"
	leaseLife    = 10 * time.Second
	pageBytes    = 2 << 20
	tendInterval = 10 * time.Second
	// freshTimeout is how long a query waits for what was acked before it to be flushed.
	freshTimeout = 10 * time.Second
	// flushGap keeps the flushes that queries ask for at 4 a second.
	flushGap = 250 * time.Millisecond
	// Results that are kept for those who come back for them.
	maxQueuedQueries = 64
	maxExecutions    = 256
	resultTTL        = time.Hour
	// queryPoll is how often DuckDB's executions are looked at, if one should change without a word.
	queryPoll = 2 * time.Second
)

// localCore is all that must be durable: from the ack to both sinks, on one file system.
type localCore struct {
	store      *local.Store
	bodies     *local.Bodies
	table      *iceberg.Lake
	upkeep     *iceberg.Upkeep
	events     consumer.Index // without what was erased
	eraser     *consumer.Eraser
	indexSink  *consumer.IndexSink
	lakeSink   *consumer.LakeSink
	index      *consumer.Fleet
	lake       *consumer.Fleet
	watermarks *consumer.Watermarks
	budget     *ingest.Budget
	ingest     *ingest.Ingest
}

// putBytes is the most that one write has for a shard: a disk takes what memory holds.
const putBytes = 10 << 20

// localCalls writes are under way at a time: while one is synced the next is packed. With more of them each sync carries less.
const localCalls = 2

// localLinger is between two writes under load: a write takes some 0.5 ms of processor, whatever it carries.
const localLinger = 2 * time.Millisecond

func objectsDir(c *localCmd) string { return filepath.Join(c.Data, "objects") }

// openCore opens the data directory on fsys and builds the core over it; nothing runs yet. A failure leaves nothing open.
func openCore(ctx context.Context, c *localCmd, fsys vfs.FS, logger *slog.Logger) (_ *localCore, err error) {
	k := &localCore{budget: ingest.NewBudget(int64(c.Memory))}
	k.store, err = local.Open(ctx, local.Config{
		Dir: c.Data, FS: fsys, Shards: c.Shards, Retention: c.Retention, RetentionBytes: int64(c.RetentionBytes),
		MinFree: int64(c.MinFree), Now: time.Now, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.store.Close())
		}
	}()
	if k.bodies, err = local.NewBodies(fsys, objectsDir(c), bodiesBucket, k.store.Guard()); err != nil {
		return nil, err
	}
	files, err := iceberg.NewLocalFiles(fsys, filepath.Join(c.Data, "lake", "events"))
	if err != nil {
		return nil, err
	}
	k.table, err = iceberg.Open(ctx, iceberg.Config{
		Files: files, Pointer: k.store.Pointer(), Admit: k.store.Guard().AdmitReserve, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	stream, letters := k.store.Stream(), k.store.DeadLetters()
	source := stream.Source()
	erasures := consumer.NewErasures(k.store.Tombstones())
	k.events = erasures.Index(k.store.Index())
	k.indexSink = consumer.NewIndexSink(k.events, letters, logger)
	k.lakeSink = consumer.NewLakeSink(consumer.LakeConfig{
		FlushBytes: int64(c.FlushBytes), MaxBytes: 2 * int64(c.FlushBytes), FlushAge: c.FlushAge,
		QueryInterval: flushGap, FinalFlush: drainTime / 2, Fetches: 4, Settle: settle, Log: logger,
	}, erasures.Lake(k.table), k.bodies, letters)
	k.watermarks = consumer.NewWatermarks(source, k.indexSink, k.table)
	k.ingest, err = ingest.New(ctx, ingest.Config{
		Slots: 1, Calls: localCalls, Linger: localLinger, LaneBytes: putBytes, Large: largeRequests, Now: time.Now,
	},
		stream, k.bodies, k.store.Claims(), k.store.Ledger(), k.budget)
	if err != nil {
		return nil, err
	}
	if k.upkeep, err = k.newUpkeep(c, logger); err != nil {
		return nil, err
	}
	k.eraser = consumer.NewEraser(erasures, consumer.ErasedFrom{Index: k.store.Index(), Bodies: k.bodies, Lake: k.upkeep},
		stream, k.lakeSink, time.Now)
	// A sink gives way to acks unless somebody waits for the sink itself.
	fleet := consumer.FleetConfig{Owner: localOwner, LeaseLife: leaseLife, PageBytes: pageBytes, Log: logger}
	fleet.Busy = func() bool { return k.ingest.Busy() && !k.store.Index().Awaited() }
	k.index = consumer.NewFleet(fleet, source, k.store.Leases(), k.indexSink, letters)
	fleet.Busy = func() bool { return k.ingest.Busy() && !k.lakeSink.Awaited() }
	k.lake = consumer.NewFleet(fleet, source, k.store.Leases(), k.lakeSink, letters)
	return k, nil
}

// localProcess is everything that `penstock local` runs.
type localProcess struct {
	*localCore
	*parts
	cfg *localCmd

	http, admin net.Listener // admin is nil when /metrics is served by http
	server      *httpapi.Server
	engine      *local.DuckDB
	runner      *query.Runner
	queries     *query.Service
	s3          local.S3Config
	s3Address   string

	background context.CancelFunc // ends the fleets, the housekeeping and the S3 endpoint
}

// openLocal opens the listeners and the data directory and builds every part; nothing serves yet. A failure leaves
// nothing open.
func openLocal(ctx context.Context, c *localCmd, logs io.Writer) (_ *localProcess, err error) {
	l := &localProcess{parts: newParts(), cfg: c}
	if l.logger, err = telemetry.NewLogger(logs, c.LogFormat, c.LogLevel); err != nil {
		return nil, err
	}
	// The collector works harder before memory grows past what the operator allowed for.
	debug.SetMemoryLimit(2*int64(c.Memory) + 256<<20)
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if err := l.listen(ctx); err != nil {
		return nil, err
	}
	if l.localCore, err = openCore(ctx, c, vfs.Default, l.logger); err != nil {
		return nil, err
	}
	keys, err := local.LoadS3Credentials(filepath.Join(c.Data, "s3-credentials"))
	if err != nil {
		return nil, err
	}
	l.s3 = local.S3Config{Listen: c.S3Listen, Dir: objectsDir(c), AccessKey: keys.AccessKey, SecretKey: keys.SecretKey}
	if err := l.buildQueries(); err != nil {
		return nil, err
	}
	return l, l.buildServer()
}

func (l *localProcess) listen(ctx context.Context) (err error) {
	if l.http, l.admin, err = l.cfg.listen(ctx); err != nil {
		return err
	}
	var lc net.ListenConfig
	// versitygw binds its port by itself, and late; here it is only tried.
	s3, err := lc.Listen(ctx, "tcp", l.cfg.S3Listen)
	if err != nil {
		return fmt.Errorf("--s3-listen: %w", err)
	}
	return s3.Close()
}

// buildQueries puts DuckDB on the lake.
func (l *localProcess) buildQueries() (err error) {
	scratch, guard := local.ScratchDir(l.cfg.Data), l.store.Guard()
	l.engine, err = local.NewDuckDB(local.DuckDBConfig{
		TempDir: filepath.Join(scratch, "spill"), MaxTemp: int64(l.cfg.QueryMaxSpill), MemoryLimit: int64(l.cfg.QueryMemory),
		Room: func() (int64, error) {
			room, err := guard.ScratchRoom()
			return room / int64(l.cfg.QueryConcurrency), err
		},
		Threads: runtime.GOMAXPROCS(0), Now: time.Now, Worker: sqlWorker,
	}, l.table)
	if err != nil {
		return err
	}
	l.runner, err = query.NewRunner(query.RunnerConfig{
		Dir: filepath.Join(l.cfg.Data, "results"), Concurrency: l.cfg.QueryConcurrency, MaxQueued: maxQueuedQueries,
		MaxExecutions: maxExecutions, ResultTTL: resultTTL, Timeout: l.cfg.QueryTimeout,
		MaxResultBytes: int64(l.cfg.QueryMaxResult), Admit: guard.AdmitScratch, Now: time.Now, Logger: l.logger,
	}, l.engine, consumer.NewFreshness(l.store.Stream(), l.lakeSink, freshTimeout, l.ingest.CompleteThrough))
	if err != nil {
		return err
	}
	l.queries, err = newQueries(l.runner, l.store.Executions(), queryPoll, queryPoll, 0, l.logger)
	return err
}
