package iceberg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	icebergo "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// replaceProperty marks a snapshot with the replacement that made it, so that one whose answer was lost can be found.
const replaceProperty = "penstock.replace"

// errInputsGone: somebody else has replaced a file that was to be replaced; the work was for nothing, and no harm done.
var errInputsGone = errors.New("data files were replaced by somebody else meanwhile")

// replaceTries bounds how often a replacement is staged again behind other commits.
const replaceTries = 10

// replacing puts data files, durable by now, in the place of others. The old files stay on disk.
type replacing struct {
	lake     *Lake
	id       string
	old, new []icebergo.DataFile
	began    time.Time
	// fewer: the new files hold fewer rows than the old.
	fewer bool
	// mayHaveLanded: a version of the table may refer to the new files, or may yet come to.
	mayHaveLanded bool
}

// commit stages the replacement on the table as it is, and again when that moved. Appends wait only for the staging
// and the swap, never for the rewriting. The new files are gone again when it certainly has not landed.
func (r *replacing) commit(ctx context.Context) error {
	defer func() {
		if r.mayHaveLanded {
			return
		}
		for _, df := range r.new { // or each try on a full disk would leave its files there
			removeFile(r.lake.files, df.FilePath(), r.lake.log)
		}
	}()
	wait := firstWait
	for try := 1; ; try++ {
		again, err := r.try(ctx)
		if err == nil || !again || try == replaceTries {
			return err
		}
		r.lake.log.Debug("lake replacement met another writer's commit, trying again", "error", err)
		if err := sleep(ctx, rand.N(wait)); err != nil {
			return err
		}
		wait = min(2*wait, lastWait)
	}
}

// try makes one attempt, alone among the commits of this process. again says that it has certainly not landed.
func (r *replacing) try(ctx context.Context) (again bool, err error) {
	release, err := r.lake.commitSlot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	t, err := r.lake.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return false, err
	}
	if landed, err := r.landed(t); landed || err != nil {
		return false, err
	}
	made := madeFiles{FileIO: r.lake.files}
	commit, err := r.stage(ctx, made.of(t))
	if err == nil {
		err = inTime(r.began)
	}
	if err != nil {
		made.remove(r.lake.log)
		return false, fmt.Errorf("stage the replacement: %w", err)
	}
	_, _, err = r.lake.catalog.CommitTable(ctx, commit.Identifier, commit.Requirements, commit.Updates)
	if err == nil || errors.Is(err, errInDoubt) {
		r.mayHaveLanded = true
	} else {
		made.remove(r.lake.log)
	}
	if err == nil {
		return false, nil
	}
	// Whatever the error says, the table itself tells what became of the commit (invariant 7).
	t, loadErr := r.lake.reload(ctx)
	if loadErr != nil {
		return false, fmt.Errorf("outcome unknown, reading the table back failed: %w", errors.Join(err, loadErr))
	}
	if landed, landedErr := r.landed(t); landed || landedErr != nil {
		return false, landedErr
	}
	return errors.Is(err, table.ErrCommitFailed), err
}

// landed tells whether the replacement is in this version of the table. errInputsGone: it is not and can't be.
func (r *replacing) landed(t *table.Table) (bool, error) {
	for _, s := range t.Metadata().Snapshots() {
		if s.Summary != nil && s.Summary.Properties[replaceProperty] == r.id {
			return true, nil
		}
	}
	live, err := r.lake.livePaths(t)
	if err != nil {
		return false, err
	}
	for _, df := range r.old {
		if _, ok := live[df.FilePath()]; !ok {
			return false, errInputsGone
		}
	}
	return false, nil
}

// stage writes the manifests of the commit. It requires the branch to be as t has it.
func (r *replacing) stage(ctx context.Context, t *table.Table) (table.TableCommit, error) {
	tx := t.NewTransaction()
	mark := icebergo.Properties{replaceProperty: r.id}
	if r.fewer { // Iceberg's operation "replace" promises the same rows
		err := tx.ReplaceDataFilesWithDataFiles(ctx, r.old, r.new, mark, table.WithoutAutoNameMapping())
		if err != nil {
			return table.TableCommit{}, err
		}
	} else if err := tx.NewRewrite(mark).ApplyResult(
		table.CompactionGroupResult{OldDataFiles: r.old, NewDataFiles: r.new}).Commit(ctx); err != nil {
		return table.TableCommit{}, err
	}
	if err := forget(tx, keepSnapshots, 0); err != nil {
		return table.TableCommit{}, err
	}
	commit, err := tx.TableCommit()
	if err != nil {
		return table.TableCommit{}, err
	}
	// A replacement changes no property, least of all the offsets. iceberg-go would add a name mapping, which files with
	// field ids don't need.
	updates := commit.Updates[:0]
	for _, u := range commit.Updates {
		if u.Action() != table.UpdateSetProperties {
			updates = append(updates, u)
		}
	}
	commit.Updates = updates
	return commit, nil
}

// commitSlot waits until no other commit of this process goes on.
func (l *Lake) commitSlot(ctx context.Context) (release func(), err error) {
	select {
	case l.commits <- struct{}{}:
		return func() { <-l.commits }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reload loads the table also when ctx has ended, since that may be what made a commit fail.
func (l *Lake) reload(ctx context.Context) (*table.Table, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBackTime)
	defer cancel()
	return l.catalog.LoadTable(ctx, tableIdent())
}

// liveDataFiles are the data files of the table's current snapshot.
func (l *Lake) liveDataFiles(t *table.Table) ([]icebergo.DataFile, error) {
	snapshot := t.CurrentSnapshot()
	if snapshot == nil {
		return nil, nil
	}
	list, err := snapshot.Manifests(l.files)
	if err != nil {
		return nil, fmt.Errorf("read the lake table's manifest list: %w", err)
	}
	var live []icebergo.DataFile
	for _, m := range list {
		for entry, err := range m.Entries(l.files, true) {
			if err != nil {
				return nil, fmt.Errorf("read manifest %s: %w", m.FilePath(), err)
			}
			live = append(live, entry.DataFile())
		}
	}
	return live, nil
}

// livePaths are their names.
func (l *Lake) livePaths(t *table.Table) (map[string]struct{}, error) {
	files, err := l.liveDataFiles(t)
	if err != nil {
		return nil, err
	}
	paths := make(map[string]struct{}, len(files))
	for _, df := range files {
		paths[df.FilePath()] = struct{}{}
	}
	return paths, nil
}
