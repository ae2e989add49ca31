package iceberg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/apache/iceberg-go/table"
)

// forget stages the forgetting of snapshots: all but the newest keep, and of the others only those older than age. It
// removes no file; what no snapshot refers to any more is for the orphan sweep.
func forget(tx *table.Transaction, keep int, age time.Duration) error {
	return tx.ExpireSnapshots(table.WithRetainLast(keep), table.WithOlderThan(age), table.WithPostCommit(false))
}

// Expire forgets the snapshots that are older than the configured age, but for the current one, and says how many.
// Appends forget by number; this is for the snapshots of a table that few appends come to, which would keep replaced
// files on disk. Queries don't depend on snapshots: the orphan sweep knows which files they may read.
func (u *Upkeep) Expire(ctx context.Context) (forgotten int, err error) {
	release, err := u.take(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	forgotten, err = u.expire(ctx)
	u.noteError(err)
	return forgotten, err
}

func (u *Upkeep) expire(ctx context.Context) (forgotten int, err error) {
	wait := firstWait
	for try := 1; ; try++ {
		forgotten, err = u.tryExpire(ctx)
		if err == nil {
			u.note(func(s *UpkeepStats) { s.SnapshotsExpired += uint64(forgotten) })
			return forgotten, nil
		}
		// Forgetting is idempotent, so an unknown outcome needs no reading back: the next try finds what is left to forget.
		if !errors.Is(err, table.ErrCommitFailed) || try == replaceTries {
			return 0, fmt.Errorf("expire snapshots: %w", err)
		}
		if err := sleep(ctx, rand.N(wait)); err != nil {
			return 0, fmt.Errorf("expire snapshots: %w", err)
		}
		wait = min(2*wait, lastWait)
	}
}

func (u *Upkeep) tryExpire(ctx context.Context) (int, error) {
	defer u.lake.files.hold()()
	release, err := u.lake.commitSlot(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	t, err := u.lake.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return 0, err
	}
	if t.CurrentSnapshot() == nil {
		return 0, nil
	}
	tx := t.NewTransaction()
	if err := forget(tx, 1, u.cfg.SnapshotAge); err != nil {
		return 0, err
	}
	commit, err := tx.TableCommit()
	if err != nil || len(commit.Updates) == 0 {
		return 0, err
	}
	next, _, err := u.lake.catalog.CommitTable(ctx, commit.Identifier, commit.Requirements, commit.Updates)
	if err != nil {
		return 0, err
	}
	return len(t.Metadata().Snapshots()) - len(next.Snapshots()), nil
}
