package httpapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"penstock/consumer"
	"penstock/consumer/query"
	"penstock/ingest"
	"penstock/schemas"
)

// Acceptor makes documents durable.
type Acceptor interface {
	Accept(ctx context.Context, s ingest.Submission, idempotencyKey string) (ack ingest.Ack, replayed bool, err error)
	AcceptBatch(ctx context.Context, items []ingest.Submission, refused []error, idempotencyKey string) (
		results []ingest.Result, replayed bool, err error)
}

// Budget gives out shares of the bytes in flight.
type Budget interface {
	Hold() *ingest.Hold
}

// Index looks events up.
type Index interface {
	// Get returns the event by id, consumer.ErrNotFound when it is not there (yet).
	Get(ctx context.Context, id string) (schemas.Event, error)
}

// Bodies reads bodies that are in object storage.
type Bodies interface {
	// Open streams the body at ref; consumer.ErrNotFound when there is none.
	Open(ctx context.Context, ref string) (io.ReadCloser, error)
}

// Ledger proves that an event will never be in the index.
type Ledger interface {
	// Stored reports for each id whether its event is on the stream: false only if every event that was acked before the
	// call is in the index or its dead letters, and this one is not. It waits for that until ctx ends, and then returns
	// ingest.ErrUnsettled.
	Stored(ctx context.Context, ids []string) ([]bool, error)
}

// Watermarks tells how far the index has come.
type Watermarks interface {
	// Index returns a time before which every event that arrived at the stream is in the index or its dead letters.
	Index(ctx context.Context) (time.Time, error)
}

// Queries runs SQL.
type Queries interface {
	// Start checks the SQL and queues it: query.ErrStatement, query.ErrBusy, query.ErrClosed. With a key that is not empty it does so
	// once: replayed tells that it had; query.ErrKeyReused.
	Start(ctx context.Context, sql string, parameters []string, key string) (e query.Execution, replayed bool, err error)
	// Get returns the present state; query.ErrNotFound.
	Get(ctx context.Context, id string) (query.Execution, error)
	// Wait returns once the execution has ended; when ctx ends first, with the present state and the context's cause.
	Wait(ctx context.Context, id string) (query.Execution, error)
	// List returns up to so many of the executions that are remembered, the newest first.
	List(ctx context.Context, most int) ([]query.Execution, error)
	// Open streams the result and tells its size: query.ErrNotFound, query.ErrNotReady, query.ErrNoResult.
	Open(ctx context.Context, id string) (io.ReadCloser, int64, error)
	// Cancel asks an execution to stop and returns it as it stands; one that has ended stays as it is.
	Cancel(ctx context.Context, id string) (query.Execution, error)
	// Watcher is told how executions stand, of which it is asked to. It must be closed.
	Watcher() *query.Watcher
}

// Lake tells about the table that SQL reads.
type Lake interface {
	Status(ctx context.Context) (LakeStatus, error)
}

// LakeStatus is the state of the lake's table. Zero times are not known.
type LakeStatus struct {
	Table      string
	SnapshotID int64 // 0 before the first commit
	Snapshots  int
	Committed  time.Time // of the current snapshot
	Rows       int64
	DataFiles  int64
	DataBytes  int64
	// SmallFiles of the data files are worth merging with their like.
	SmallFiles int64
	// LastCompaction and OrphansRemoved are since the start of the server.
	LastCompaction time.Time
	OrphansRemoved uint64
	// CompleteThrough: every event received before it is in the table.
	CompleteThrough time.Time
	Shards          []LakeShard
	Stream          StreamStatus
	Disk            DiskStatus
}

// Stats tells how the process does right now. Every open console asks once a second.
type Stats interface {
	// Stats answers at once, whatever there is in stream and lake. What can't be read just now is left out.
	Stats(ctx context.Context) ServerStats
}

// ServerStats are counters since the start, and present gauges. Nil is not known, or not known to this process.
type ServerStats struct {
	// At is when this was so, Since when the process started, and its counters with it.
	At, Since time.Time
	Ingest    ingest.Stats
	Sinks     []SinkBacklog
	Stream    *StreamSize
	Lake      *LakeSize
}

// StreamSize is what the stream keeps, in bytes before compression.
type StreamSize struct{ Bytes int64 }

// LakeSize is what the current version of the lake's table holds.
type LakeSize struct{ Rows, Files, Bytes int64 }

// StreamStatus is what the stream keeps. Bytes are before compression.
type StreamStatus struct {
	Bytes int64
	// HeldBytes are past retention and still there for the slowest sink.
	HeldBytes int64
	Sinks     []SinkBacklog
	// Slowest is the sink that trimming waits for most; empty when all hold everything.
	Slowest string
}

// SinkBacklog is what the stream keeps for a sink that does not hold it yet.
type SinkBacklog struct {
	Sink   string
	Bytes  int64
	Oldest time.Time // arrival of the first of it; zero when there is nothing
}

// DiskStatus is about the disk of the data directory, in bytes.
type DiskStatus struct {
	// State (with the stream) and Index are those of their files.
	State, Index int64
	// Free and Size are the disk's; 0 when it doesn't tell.
	Free, Size int64
}

// LakeShard is the lake's offset in a shard of the stream.
type LakeShard struct {
	Shard string
	consumer.Checkpoint
}

// Upkeep looks after the lake.
type Upkeep interface {
	// Start begins a task (compact, expire or orphans) as soon as no other runs, and returns its state; one of the kind that
	// has not ended is joined. consumer.ErrNotFound: there is no such task.
	Start(ctx context.Context, task string) (UpkeepTask, error)
	// Wait returns the newest task of a kind once it has ended, or as it stands when ctx ends. consumer.ErrNotFound: there
	// is no such task, or it was never started.
	Wait(ctx context.Context, task string) (UpkeepTask, error)
}

// Eraser erases events.
type Eraser interface {
	// Erase removes the event from index, bodies and lake for good; again changes nothing. consumer.ErrNotFound: no event has
	// this id, and nothing was changed. After any other error it may be erased in part, and the next call goes on.
	Erase(ctx context.Context, id string) (Erasure, error)
	// Erased reports whether the event was erased.
	Erased(id string) bool
}

// Erasure is what became of an erased event.
type Erasure struct {
	Erased time.Time
	// HeldBy says where its bytes may still lie, though nothing reads them there as an event of this id.
	HeldBy []Holder
}

// Holder still has an erased event, until then at the latest; zero: not known.
type Holder struct {
	Holder string
	Until  time.Time
	Detail string
}

// UpkeepTask is the state of a task. Started is zero while it waits for its turn, and Ended until it has.
type UpkeepTask struct {
	Task           string
	Started, Ended time.Time
	Failed         bool
	// What it has done so far; the one of its kind is set.
	Compacted *UpkeepCompacted
	Expired   *UpkeepExpired
	Swept     *UpkeepSwept
}

// UpkeepCompacted: data files that were replaced, and those in their place.
type UpkeepCompacted struct {
	FilesBefore int64 `json:"filesBefore"`
	FilesAfter  int64 `json:"filesAfter"`
	BytesBefore int64 `json:"bytesBefore"`
	BytesAfter  int64 `json:"bytesAfter"`
}

// UpkeepExpired counts the snapshots that were forgotten.
type UpkeepExpired struct {
	SnapshotsForgotten int64 `json:"snapshotsForgotten"`
}

// UpkeepSwept: files that nothing refers to. Those that are too young, or may still be read, are kept.
type UpkeepSwept struct {
	FilesRemoved int64 `json:"filesRemoved"`
	BytesRemoved int64 `json:"bytesRemoved"`
	FilesKept    int64 `json:"filesKept"`
	BytesKept    int64 `json:"bytesKept"`
}

// DeadLetters are the records that a sink could not take.
type DeadLetters interface {
	// List returns up to limit letters of a sink after the given (shard, position), in that order, without Raw.
	List(ctx context.Context, sink, afterShard string, after schemas.Position, limit int) ([]consumer.DeadLetter, error)
	// Get returns one, or consumer.ErrNotFound.
	Get(ctx context.Context, sink, shard string, p schemas.Position) (consumer.DeadLetter, error)
}

// Requeuer feeds a dead letter to its sink again.
type Requeuer interface {
	// Requeue returns once the sink durably holds the letter's events and the letter is gone. consumer.ErrNotFound: there
	// is none; schemas.ErrCorrupt, consumer.ErrRefused: the sink can't take it, and it stays.
	Requeue(ctx context.Context, sink, shard string, p schemas.Position) error
}

var (
	_ Acceptor   = (*ingest.Ingest)(nil)
	_ Budget     = (*ingest.Budget)(nil)
	_ Ledger     = ingest.Ledger(nil)
	_ Watermarks = (*consumer.Watermarks)(nil)
	_ Queries    = (*query.Service)(nil)
	_ Requeuer   = (*consumer.Requeuer)(nil)
)

// Dependency is something that must work for the server to be ready.
type Dependency struct {
	Name string
	// Ready proves it, by using it.
	Ready func(ctx context.Context) error
}

// Deps are what a Server stands on.
type Deps struct {
	// What is nil the server does not serve: its routes are not there.
	Ingest      Acceptor
	Index       Index // with Bodies, Ledger and Watermarks
	Queries     Queries
	Lake        Lake
	Stats       Stats
	Upkeep      Upkeep
	Eraser      Eraser
	DeadLetters DeadLetters
	Requeuer    Requeuer
	// Bodies, Ledger and Watermarks are required with Index.
	Bodies     Bodies
	Ledger     Ledger
	Watermarks Watermarks

	// All of the following are required, but Dependencies may be empty.

	// Budget is for the bodies of requests.
	Budget Budget
	// Dependencies are proven by /readyz.
	Dependencies []Dependency
	// Metrics answers /metrics.
	Metrics http.Handler
	// Observe is told of every answer: the route's pattern ("unmatched" and "unreadable" besides), method, status and
	// the time from the end of the header to the beginning of the answer.
	Observe func(route, method string, status int, elapsed time.Duration)
	Logger  *slog.Logger
}

func (d *Deps) validate() error {
	reads := d.Index != nil
	for name, missing := range map[string]bool{
		"Bodies": reads && d.Bodies == nil, "Ledger": reads && d.Ledger == nil, "Watermarks": reads && d.Watermarks == nil,
		"Budget": d.Budget == nil, "Metrics": d.Metrics == nil, "Observe": d.Observe == nil, "Logger": d.Logger == nil,
	} {
		if missing {
			return errors.New("http: Deps." + name + " is required")
		}
	}
	return nil
}
