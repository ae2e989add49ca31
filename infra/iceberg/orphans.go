package iceberg

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"strings"
	"time"

	icebergo "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// Sweep is what an orphan sweep found and did.
type Sweep struct {
	// Files and Bytes were removed.
	Files, Bytes int64
	// Young are unreferenced files that are not old enough, or that a query may still read.
	Young, YoungBytes int64
}

// Sweep removes the files under the table's directory that neither a snapshot nor the log of metadata files refers to. It
// is the only thing that ever removes a data file, a manifest or a manifest list that was committed. A file is left alone
//
//   - while an append or upkeep of this process that may have made it is under way, however long that takes;
//   - for SafeAge after it was last written, by the clock of where the files are: that is for other processes;
//   - for SafeAge after a sweep first saw that it has ceased to be live, or to be referred to, by a clock that nobody can
//     set, since a query that began before may still read it; in a table that is shared, after it first saw it at all;
//   - when its name is not one that Penstock or iceberg-go gives.
//
// So a wrong clock can't harm a query or a commit of this process. Any error in finding out what is referred to ends the
// sweep before it has removed anything.
func (u *Upkeep) Sweep(ctx context.Context, progress func(Sweep)) (Sweep, error) {
	release, err := u.take(ctx)
	if err != nil {
		return Sweep{}, err
	}
	defer release()
	done, err := u.sweep(ctx, progress)
	u.noteError(err)
	return done, err
}

func (u *Upkeep) sweep(ctx context.Context, progress func(Sweep)) (Sweep, error) {
	found, err := u.unreferenced(ctx)
	if err != nil {
		return Sweep{}, fmt.Errorf("look for orphans of the lake: %w", err)
	}
	var done Sweep
	var errs []error
	for _, f := range found {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		if f.young {
			done.Young++
			done.YoungBytes += f.size
			continue
		}
		if err := u.lake.files.Remove(f.path); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove an orphan of the lake: %w", err))
			continue
		}
		done.Files++
		done.Bytes += f.size
		u.note(func(s *UpkeepStats) {
			s.OrphansRemoved++
			s.OrphanBytesRemoved += uint64(f.size)
		})
		if progress != nil {
			progress(done)
		}
	}
	if len(errs) == 0 {
		u.note(func(s *UpkeepStats) { s.LastSweep = u.cfg.Now() })
	}
	return done, errors.Join(errs...)
}

// orphan is a file that nothing refers to.
type orphan struct {
	path  string
	size  int64
	young bool
}

// unreferenced lists them. The order of its steps matters: who ends an operation between the listing and the look at what
// is under way has committed before the table is read, and who is under way then has its files spared.
func (u *Upkeep) unreferenced(ctx context.Context) ([]orphan, error) {
	type entry struct {
		path     string
		size     int64
		modified time.Time
	}
	var listed []entry
	l := u.lake
	clock, err := l.files.List(ctx, func(path string, size int64, modified time.Time) error {
		if ourName(path) {
			listed = append(listed, entry{path, size, modified})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	fresh := l.files.fresh()
	t, err := l.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return nil, err
	}
	referenced, err := l.referenced(ctx, t)
	if err != nil {
		return nil, err
	}
	if _, err := l.live.of(t); err != nil { // takes note of what is not live any more
		return nil, err
	}
	now := u.cfg.Now()
	u.takeLeave(referenced, now)
	if clock.IsZero() {
		clock = now
	}
	var found []orphan
	left := make(map[string]time.Time) // without those that are gone from the disk
	for _, e := range listed {
		if when, ok := u.left[e.path]; ok {
			left[e.path] = when
		}
		if _, ok := referenced[e.path]; ok {
			continue
		}
		if _, ok := left[e.path]; !ok && u.cfg.Shared {
			left[e.path] = now
		}
		_, held := fresh[e.path]
		young := held || clock.Sub(e.modified) < u.cfg.SafeAge
		if when, ok := left[e.path]; ok {
			young = young || now.Sub(when) < u.cfg.SafeAge
		}
		found = append(found, orphan{e.path, e.size, young})
	}
	u.left = left
	return found, nil
}

// takeLeave notes what has ceased to be live or referred to since the last sweep.
func (u *Upkeep) takeLeave(referenced map[string]struct{}, now time.Time) {
	for path := range referenced {
		if _, was := u.needed[path]; !was {
			delete(u.left, path) // it was noted before it was committed
		}
	}
	for _, path := range u.lake.live.takeLeft() {
		u.left[path] = now // also if it was noted before: it may have come and gone since, or somebody looked at an older version
	}
	for path := range u.needed {
		_, stillNeeded := referenced[path]
		if _, noted := u.left[path]; !stillNeeded && !noted {
			u.left[path] = now
		}
	}
	u.needed = referenced
}

// ourName says whether a file has a name that this package or iceberg-go gives.
func ourName(name string) bool {
	for _, suffix := range []string{".parquet", ".avro", ".metadata.json"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// referenced are the local paths of all files that a version of the table needs, for its snapshots or for its log.
func (l *Lake) referenced(ctx context.Context, t *table.Table) (map[string]struct{}, error) {
	paths := make(map[string]struct{})
	add := func(name string) error {
		local, err := l.files.Path(name)
		if err == nil {
			paths[local] = struct{}{}
		}
		return err
	}
	errs := []error{add(t.MetadataLocation())}
	for e := range t.Metadata().PreviousFiles() {
		errs = append(errs, add(e.MetadataFile))
	}
	for s := range t.Metadata().Statistics() {
		errs = append(errs, add(s.StatisticsPath))
	}
	for s := range t.Metadata().PartitionStatistics() {
		errs = append(errs, add(s.StatisticsPath))
	}
	read := make(map[string]struct{}) // manifests, which snapshots share
	for _, s := range t.Metadata().Snapshots() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.ManifestList != "" {
			errs = append(errs, add(s.ManifestList))
		}
		list, err := s.Manifests(l.files)
		if err != nil {
			return nil, fmt.Errorf("manifest list of snapshot %d: %w", s.SnapshotID, err)
		}
		for _, m := range list {
			if _, ok := read[m.FilePath()]; ok {
				continue
			}
			read[m.FilePath()] = struct{}{}
			errs = append(errs, add(m.FilePath()), l.addDataFiles(m, add))
		}
	}
	return paths, errors.Join(errs...)
}

func (l *Lake) addDataFiles(m icebergo.ManifestFile, add func(string) error) error {
	for entry, err := range m.Entries(l.files, true) {
		if err != nil {
			return fmt.Errorf("manifest %s: %w", m.FilePath(), err)
		}
		if err := add(entry.DataFile().FilePath()); err != nil {
			return err
		}
	}
	return nil
}
