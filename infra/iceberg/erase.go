package iceberg

import (
	"context"
	"errors"
	"fmt"
	"time"

	icebergo "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
)

// Contains implements what consumer.Eraser needs.
func (u *Upkeep) Contains(ctx context.Context, id string, received time.Time) (bool, error) {
	files, err := u.holding(ctx, id, received)
	return len(files) > 0, err
}

// Erase makes a version of the table without the event, which was received on the day of the given time or the next: the
// files that hold it are written anew without it, and replaced like those of a compaction. The old files stay until
// nothing refers to them (see Expire and Sweep).
func (u *Upkeep) Erase(ctx context.Context, id string, received time.Time) error {
	release, err := u.take(ctx)
	if err != nil {
		return fmt.Errorf("erase an event from the lake: %w", err)
	}
	defer release()
	for {
		files, err := u.holding(ctx, id, received)
		if err != nil {
			return fmt.Errorf("erase an event from the lake: %w", err)
		}
		if len(files) == 0 {
			return nil
		}
		for _, df := range files {
			// Files that somebody else replaced meanwhile are looked for again.
			if err := u.eraseFrom(ctx, df, id); err != nil && !errors.Is(err, errInputsGone) {
				return fmt.Errorf("erase an event from the lake: %w", err)
			}
		}
	}
}

func (u *Upkeep) eraseFrom(ctx context.Context, df icebergo.DataFile, id string) error {
	defer u.lake.files.hold()()
	began := time.Now()
	u.paced = began
	t, err := u.lake.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return err
	}
	old := []icebergo.DataFile{df}
	files, dropped, err := u.lake.rewrite(ctx, t, old, func(other string) bool { return other != id }, u.pace)
	if err != nil {
		return err
	}
	left := df.Count() - dropped
	for _, f := range files {
		left -= f.Count()
	}
	if left != 0 {
		return fmt.Errorf("the rewritten files have %d rows too few; nothing was changed", left)
	}
	return (&replacing{lake: u.lake, id: uuid.NewString(), old: old, new: files, began: began, fewer: true}).commit(ctx)
}

// holding are the live files that hold the event.
func (u *Upkeep) holding(ctx context.Context, id string, received time.Time) ([]icebergo.DataFile, error) {
	t, err := u.lake.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return nil, err
	}
	start := received.UTC().Truncate(24 * time.Hour)
	tasks, err := t.Scan(table.WithRowFilter(icebergo.NewAnd(
		icebergo.EqualTo(icebergo.Reference("id"), id),
		icebergo.GreaterThanEqual(icebergo.Reference("received_at"), icebergo.Timestamp(start.UnixMicro())),
		icebergo.LessThan(icebergo.Reference("received_at"), icebergo.Timestamp(start.AddDate(0, 0, 2).UnixMicro())),
	))).PlanFiles(ctx)
	if err != nil {
		return nil, err
	}
	var files []icebergo.DataFile
	for _, task := range tasks {
		there, err := u.lake.fileHolds(ctx, task.File, id)
		if err != nil {
			return nil, err
		}
		if there {
			files = append(files, task.File)
		}
	}
	return files, nil
}

// fileHolds reads the file's ids.
func (l *Lake) fileHolds(ctx context.Context, df icebergo.DataFile, id string) (there bool, err error) {
	m, err := l.newMerge(ctx, []icebergo.DataFile{df})
	defer func() { err = errors.Join(err, m.close()) }()
	if err != nil {
		return false, err
	}
	for s := m.first(); s != nil; s = m.first() {
		if s.ids.Value(s.row) == id {
			return true, nil
		}
		if err := errors.Join(ctx.Err(), m.advance()); err != nil {
			return false, err
		}
	}
	return false, nil
}
