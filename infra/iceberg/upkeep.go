package iceberg

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// UpkeepConfig shapes an Upkeep. All fields are required.
type UpkeepConfig struct {
	// TargetBytes is the size that a data file should have; one below half of it is small.
	TargetBytes int64
	// SafeAge is how long a file stays after nothing has referred to it, or a query last may have begun to read it. It must be
	// longer than any query runs and, where other processes write to the table, than CommitWithin.
	SafeAge time.Duration
	// SnapshotAge is how old a snapshot is when it is forgotten.
	SnapshotAge time.Duration
	// Shared says that others read the table by themselves, and that upkeep moves between processes. Then a file also stays for
	// SafeAge after a sweep of this process first found that nothing refers to it: a process before may just have made it so.
	Shared bool
	// Room refuses work that needs so many bytes of disk while there are too few.
	Room func(bytes int64) error
	// Busy says that clients wait, to whom a rewrite gives way.
	Busy func() bool
	// Now is the clock; as time.Now it must have a monotonic reading.
	Now    func() time.Time
	Logger *slog.Logger
}

// DefaultTargetBytes is the target size of the table's own property.
const DefaultTargetBytes = targetFileSize

// Upkeep keeps a lake quick and small: it compacts, forgets snapshots, and removes orphans; one at a time, whoever asks.
// It owns no goroutine but while Run runs.
type Upkeep struct {
	lake *Lake
	cfg  UpkeepConfig

	turn chan struct{} // held by whoever works; it guards what follows
	// footers of small live files, to spare reading them again.
	footers map[string]footer
	paced   time.Time
	// needed are the files that were referred to at the last sweep, and left tells of files that were live or needed when a
	// sweep first saw that they are not any more.
	needed map[string]struct{}
	left   map[string]time.Time

	queue chan *pending // to Run

	mu    sync.Mutex
	stats UpkeepStats
	tasks map[Kind]*pending // the newest of each kind
}

// UpkeepStats are since the start of the process.
type UpkeepStats struct {
	FilesCompacted, SnapshotsExpired, OrphansRemoved, OrphanBytesRemoved uint64
	// Failures are runs that ended with an error, which is tried again.
	Failures uint64
	// LastCompaction is when files were last replaced, LastSweep when a sweep last ended well; zero: not yet.
	LastCompaction, LastSweep time.Time
}

// NewUpkeep makes the upkeep of a lake. There should be one for a table in a process.
func NewUpkeep(lake *Lake, cfg UpkeepConfig) (*Upkeep, error) {
	switch {
	case lake == nil:
		return nil, errors.New("lake upkeep: the lake is missing")
	case cfg.TargetBytes < 1:
		return nil, errors.New("lake upkeep: TargetBytes must be positive")
	case cfg.SafeAge < 0 || cfg.SnapshotAge < 0:
		return nil, errors.New("lake upkeep: SafeAge and SnapshotAge must not be negative")
	case cfg.Room == nil || cfg.Busy == nil || cfg.Now == nil || cfg.Logger == nil:
		return nil, errors.New("lake upkeep: Room, Busy, Now and Logger are required")
	}
	return &Upkeep{lake: lake, cfg: cfg, turn: make(chan struct{}, 1),
		footers: make(map[string]footer), left: make(map[string]time.Time),
		queue: make(chan *pending, 3), tasks: make(map[Kind]*pending)}, nil
}

// firstShare of the interval passes before the first run, so that a process which is restarted often gets to it too.
const firstShare = 10

// Run does what Start asks for, and all of it every interval, until ctx ends. An error is logged and the work tried again at
// the next interval: nothing depends on it but speed and disk space.
func (u *Upkeep) Run(ctx context.Context, interval time.Duration) {
	next := time.NewTimer(interval / firstShare)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-u.queue:
			u.do(ctx, p)
		case <-next.C:
			if err := u.Once(ctx); err != nil && ctx.Err() == nil {
				u.cfg.Logger.Warn("lake upkeep failed; it is tried again", "error", err, "in", interval)
			}
			next.Reset(interval)
		}
	}
}

// Once compacts, expires and sweeps. That one of them fails keeps none of the others from running.
func (u *Upkeep) Once(ctx context.Context) error {
	compacted, err := u.Compact(ctx, nil)
	if compacted.Groups > 0 {
		u.cfg.Logger.Info("compacted the lake", "groups", compacted.Groups,
			"files_before", compacted.FilesBefore, "files_after", compacted.FilesAfter, "bytes", compacted.BytesAfter)
	}
	_, expireErr := u.Expire(ctx)
	swept, sweepErr := u.Sweep(ctx, nil)
	if swept.Files > 0 {
		u.cfg.Logger.Info("removed orphans of the lake", "files", swept.Files, "bytes", swept.Bytes)
	}
	return errors.Join(err, expireErr, sweepErr)
}

// Stats are for metrics.
func (u *Upkeep) Stats() UpkeepStats {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.stats
}

// take waits for the turn.
func (u *Upkeep) take(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case u.turn <- struct{}{}:
		return func() { <-u.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (u *Upkeep) note(change func(*UpkeepStats)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.stats)
}

// noteError counts what failed, but for being told to stop.
func (u *Upkeep) noteError(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		u.note(func(s *UpkeepStats) { s.Failures++ })
	}
}
