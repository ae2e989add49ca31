package iceberg

import (
	"context"
	"errors"
	"fmt"
	"time"

	icebergo "github.com/apache/iceberg-go"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"penstock/consumer"
)

// appendProperty marks a snapshot with the append that made it, so that one whose answer was lost can be found.
const appendProperty = "penstock.append"

// Conflicts with peers are tried again after a random time up to a bound that grows from firstWait to lastWait; those of
// appends by turns.
const (
	firstWait = 10 * time.Millisecond
	lastWait  = time.Second
)

// readBackTime bounds the look at the table after a failed commit.
const readBackTime = 5 * time.Second

// Append implements consumer.Lake. Without moves nothing fences the rows; that they are not in the table yet is then up
// to the caller (see Contains).
func (l *Lake) Append(ctx context.Context, rows []consumer.Row, moves []consumer.Move) error {
	if err := checkMoves(moves); err != nil {
		return err
	}
	if len(rows) == 0 && len(moves) == 0 {
		return nil
	}
	defer l.files.hold()() // from the orphan sweep
	t, err := l.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return fmt.Errorf("append to the lake: %w", err)
	}
	// The look before the files are written only spares the work; the commit looks again.
	if done, err := settled(t, moves, ""); done || err != nil {
		return err
	}
	a := &appending{lake: l, id: uuid.NewString(), moves: moves, began: time.Now()}
	made := madeFiles{FileIO: l.files}
	defer func() {
		if !a.mayHaveLanded {
			made.remove(l.log) // or each try on a full disk would leave its files there
		}
	}()
	if len(rows) > 0 {
		if err := l.admit(bytesOf(rows)); err != nil {
			return fmt.Errorf("append to the lake: %w", err)
		}
		if a.files, err = l.writeFiles(ctx, &made, t, rows); err != nil {
			return fmt.Errorf("append to the lake: %w", err)
		}
	}
	select {
	case l.commits <- struct{}{}:
		defer func() { <-l.commits }()
	case <-ctx.Done():
		return fmt.Errorf("append to the lake: %w", ctx.Err())
	}
	return a.commit(ctx)
}

// Overtaken implements consumer.Lake.
func (l *Lake) Overtaken() uint64 { return l.overtaken.Load() }

// appending is one Append whose data files are durable.
type appending struct {
	lake  *Lake
	id    string
	files []icebergo.DataFile
	moves []consumer.Move
	began time.Time
	// mayHaveLanded: a version of the table may refer to the files, or may yet come to.
	mayHaveLanded bool
}

// commit tries until the files are in the table, or a peer made it pointless, or something else fails. Each try builds
// on the version it has just loaded; the data files stay the same, and only one try can land since each requires the
// offsets, or the branch, to be as it loaded them.
func (a *appending) commit(ctx context.Context) error {
	turns := &a.lake.turns
	if err := turns.await(ctx, a.lake.catalog.shared()); err != nil {
		return fmt.Errorf("append to the lake: %w", err)
	}
	for {
		began := time.Now()
		err := a.try(ctx)
		if err == nil || errors.Is(err, consumer.ErrFenced) {
			turns.won(time.Since(began))
			return err
		}
		// Whatever the error says, the table itself tells what became of the commit (invariant 7).
		t, loadErr := a.readBack(ctx)
		if loadErr != nil {
			return fmt.Errorf("append to the lake: outcome unknown, reading the table back failed: %w",
				errors.Join(err, loadErr))
		}
		if done, settledErr := settled(t, a.moves, a.id); done || settledErr != nil {
			return settledErr
		}
		if !errors.Is(err, table.ErrCommitFailed) {
			return fmt.Errorf("append to the lake: %w", err)
		}
		a.lake.overtaken.Add(1)
		a.lake.log.Debug("lake commit met another writer's, trying again", "error", err)
		if err := turns.lost(ctx, time.Since(began)); err != nil {
			return fmt.Errorf("append to the lake: %w", err)
		}
	}
}

// readBack loads the table also when ctx has ended, since that may be what made the commit fail.
func (a *appending) readBack(ctx context.Context) (*table.Table, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBackTime)
	defer cancel()
	return a.lake.catalog.LoadTable(ctx, tableIdent())
}

// settled tells from a version of the table whether an append with these moves is in it already, by whoever's hand, or
// can't come into it any more (consumer.ErrFenced).
func settled(t *table.Table, moves []consumer.Move, id string) (done bool, err error) {
	if id != "" {
		for _, s := range t.Metadata().Snapshots() {
			if s.Summary != nil && s.Summary.Properties[appendProperty] == id {
				return true, nil
			}
		}
	}
	offsets, err := tableOffsets(t.Metadata())
	if err != nil {
		return false, err
	}
	switch stand(offsets, moves) {
	case behind:
		return true, nil
	case astray:
		return false, fmt.Errorf("append to the lake: %w", consumer.ErrFenced)
	default:
		return false, nil
	}
}

// try builds the commit on the table's current version and makes it.
func (a *appending) try(ctx context.Context) error {
	t, err := a.lake.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return err
	}
	if done, err := settled(t, a.moves, a.id); done || err != nil {
		return err
	}
	made := madeFiles{FileIO: a.lake.files}
	commit, err := a.stage(ctx, made.of(t))
	if err == nil {
		err = inTime(a.began)
	}
	if err != nil {
		made.remove(a.lake.log)
		return fmt.Errorf("stage the commit: %w", err)
	}
	_, _, err = a.lake.catalog.CommitTable(ctx, commit.Identifier, commit.Requirements, commit.Updates)
	if err == nil || errors.Is(err, errInDoubt) {
		a.mayHaveLanded = true
	} else {
		made.remove(a.lake.log)
	}
	return err
}

// stage writes the manifests of a commit that adds the files and moves the offsets.
func (a *appending) stage(ctx context.Context, t *table.Table) (table.TableCommit, error) {
	offsets, err := tableOffsets(t.Metadata())
	if err != nil {
		return table.TableCommit{}, err
	}
	packed, err := packOffsets(moved(offsets, a.moves))
	if err != nil {
		return table.TableCommit{}, err
	}
	tx := t.NewTransaction()
	if len(a.files) > 0 {
		// The check for duplicates would read every live file's manifest; our names are unique. Our files carry
		// field ids, so they need no name mapping among the properties.
		err := tx.AddDataFiles(ctx, a.files, icebergo.Properties{appendProperty: a.id},
			table.WithoutDuplicateCheck(), table.WithoutAutoNameMapping())
		if err != nil {
			return table.TableCommit{}, err
		}
		// Forgets old snapshots, but removes no file.
		if err := tx.ExpireSnapshots(table.WithRetainLast(keepSnapshots), table.WithOlderThan(0),
			table.WithPostCommit(false)); err != nil {
			return table.TableCommit{}, err
		}
	}
	if len(a.moves) > 0 {
		if err := tx.SetProperties(icebergo.Properties{offsetsProperty: packed}); err != nil {
			return table.TableCommit{}, err
		}
	}
	commit, err := tx.TableCommit()
	if err != nil {
		return table.TableCommit{}, err
	}
	commit.Requirements = append(commit.Requirements, offsetsUnchanged{Value: t.Properties()[offsetsProperty]})
	return commit, nil
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bytesOf is about the most that the rows take up on disk.
func bytesOf(rows []consumer.Row) int64 {
	var n int64
	for i := range rows {
		n += int64(len(rows[i].Body))
	}
	return n
}

// writeFiles makes durable data files of the rows; nothing refers to them yet. Their names are unique to this call. Large
// bodies get files of their own, so that the short row groups that they need are not forced on the others.
func (l *Lake) writeFiles(
	ctx context.Context, files icebergio.WriteFileIO, t *table.Table, rows []consumer.Row,
) (written []icebergo.DataFile, _ error) {
	small, large := bySize(tableOrder(rows))
	for _, part := range [][]*consumer.Row{small, large} {
		if len(part) == 0 {
			continue
		}
		group, ctx := errgroup.WithContext(ctx)
		next := make(chan converted)
		group.Go(func() error {
			defer close(next)
			return convert(ctx, l.arrow, part, next)
		})
		group.Go(func() error {
			more, err := l.writeBatches(ctx, files, t, next)
			written = append(written, more...)
			return err
		})
		if err := group.Wait(); err != nil {
			return nil, fmt.Errorf("write data files: %w", err)
		}
	}
	left := int64(len(rows))
	for _, df := range written {
		left -= df.Count()
	}
	if left != 0 { // a last look before the offsets move for good
		return nil, fmt.Errorf("write data files: %d rows are missing; nothing was changed", left)
	}
	return written, nil
}

// writeBatches makes data files of the batches, a new one for each day and when one is full.
func (l *Lake) writeBatches(
	ctx context.Context, files icebergio.WriteFileIO, t *table.Table, next <-chan converted,
) (written []icebergo.DataFile, err error) {
	defer recovered(&err)
	var f *dataFile
	defer func() {
		if f != nil {
			err = errors.Join(err, f.close())
		}
	}()
	finish := func() error {
		if f == nil {
			return nil
		}
		if err := f.close(); err != nil {
			return err
		}
		df, err := f.describe(t)
		if err != nil {
			return err
		}
		written = append(written, df)
		return nil
	}
	for c := range next {
		if f == nil || f.day != c.day || f.full() {
			if err := finish(); err != nil {
				return nil, err
			}
			if f, err = l.createDataFile(files, t, c.day); err != nil {
				return nil, err
			}
		}
		err := f.write(c.batch, c.text)
		c.batch.Release()
		if err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil { // there may be rows that were not converted
		return nil, err
	}
	if err := finish(); err != nil {
		return nil, err
	}
	return written, nil
}

// recovered makes an error of a panic: rows or a file that Arrow panics over must not end the process (invariant 8).
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v", p)
	}
}
