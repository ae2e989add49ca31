package iceberg

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"sync"
	"time"

	icebergo "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"penstock/consumer"
)

// smallFile is the size below which a data file is one that compaction may merge.
const smallFile = DefaultTargetBytes / 2

// liveFiles remembers what the manifests of the current snapshot hold. A manifest never changes, and a commit adds one
// or merges a few, so each version reads only what is new in it.
type liveFiles struct {
	files *FileIO

	mu        sync.Mutex
	location  string // of the metadata that manifests are of
	order     []string
	manifests map[string]manifest
	// left are files that were live here and are not any more, until the orphan sweep takes note of them.
	left []string
}

// manifest is what one manifest says of its live data files.
type manifest struct {
	paths          []string // local
	rows, bytes    int64
	small          int64 // files
	oldest, newest int64 // days from 1970-01-01; meaningless without paths
}

// of returns the manifests of the table's current snapshot.
func (l *liveFiles) of(t *table.Table) ([]manifest, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.location != t.MetadataLocation() {
		if err := l.read(t.CurrentSnapshot()); err != nil {
			return nil, err
		}
		l.location = t.MetadataLocation()
	}
	manifests := make([]manifest, 0, len(l.order))
	for _, name := range l.order {
		manifests = append(manifests, l.manifests[name])
	}
	return manifests, nil
}

func (l *liveFiles) read(snapshot *table.Snapshot) error {
	known := l.manifests
	var order []string
	manifests := make(map[string]manifest)
	if snapshot != nil {
		list, err := snapshot.Manifests(l.files)
		if err != nil {
			return fmt.Errorf("read the lake table's manifest list: %w", err)
		}
		for _, file := range list {
			name := file.FilePath()
			m, ok := known[name]
			if !ok {
				if m, err = readManifest(l.files, file); err != nil {
					return fmt.Errorf("read manifest %s: %w", name, err)
				}
			}
			order = append(order, name)
			manifests[name] = m
		}
	}
	l.takeLeave(known, manifests)
	l.order, l.manifests = order, manifests
	return nil
}

// takeLeave notes which files were live before and are not now.
func (l *liveFiles) takeLeave(before, now map[string]manifest) {
	stayed := make(map[string]struct{}) // in a manifest that was written anew
	for name, m := range now {
		if _, ok := before[name]; !ok {
			for _, path := range m.paths {
				stayed[path] = struct{}{}
			}
		}
	}
	for name, m := range before {
		if _, ok := now[name]; ok {
			continue
		}
		for _, path := range m.paths {
			if _, ok := stayed[path]; !ok {
				l.left = append(l.left, path)
			}
		}
	}
}

// takeLeft returns those that have left since the last call.
func (l *liveFiles) takeLeft() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.left
	l.left = nil
	return left
}

func readManifest(files *FileIO, file icebergo.ManifestFile) (manifest, error) {
	var m manifest
	if file.ManifestContent() != icebergo.ManifestContentData {
		// Whoever reads only data files would see deleted rows.
		return m, fmt.Errorf("the table holds delete files, which Penstock does not write or read")
	}
	for entry, err := range file.Entries(files, true) {
		if err != nil {
			return m, err
		}
		df := entry.DataFile()
		local, err := files.Path(df.FilePath())
		if err != nil {
			return m, err
		}
		d, ok := df.Partition()[dayPartitionID].(icebergo.Date)
		if !ok {
			return m, fmt.Errorf("data file %s: partition %v is not a day", df.FilePath(), df.Partition())
		}
		if len(m.paths) == 0 {
			m.oldest, m.newest = int64(d), int64(d)
		}
		m.oldest, m.newest = min(m.oldest, int64(d)), max(m.newest, int64(d))
		m.paths = append(m.paths, local)
		m.rows += df.Count()
		m.bytes += df.FileSizeBytes()
		if df.FileSizeBytes() < smallFile {
			m.small++
		}
	}
	return m, nil
}

// manifests loads the current version with what its manifests say. Should the table move on so far in between that a
// manifest is gone, it looks again.
func (l *Lake) manifests(ctx context.Context) (*table.Table, []manifest, error) {
	t, err := l.catalog.LoadTable(ctx, tableIdent())
	for {
		if err != nil {
			return nil, nil, err
		}
		manifests, readErr := l.live.of(t)
		if !errors.Is(readErr, iofs.ErrNotExist) {
			return t, manifests, readErr
		}
		before := t.MetadataLocation()
		if t, err = l.catalog.LoadTable(ctx, tableIdent()); err == nil && t.MetadataLocation() == before {
			return nil, nil, readErr
		}
	}
}

// Files returns the absolute local paths of the current snapshot's data files; together they are the table. They are
// never changed, and stay on disk at least UpkeepConfig.SafeAge from now.
func (l *Lake) Files(ctx context.Context) ([]string, error) {
	_, manifests, err := l.manifests(ctx)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, m := range manifests {
		paths = append(paths, m.paths...)
	}
	return paths, nil
}

// Status describes the table's current version.
type Status struct {
	// SnapshotID is 0 before the first rows.
	SnapshotID int64
	// Snapshots is how many the metadata still knows.
	Snapshots int
	// Files, Rows and Bytes are of the live data files.
	Files, Rows, Bytes int64
	// SmallFiles of them are below half of DefaultTargetBytes.
	SmallFiles int64
	// OldestDay and NewestDay are midnights UTC of the days of receipt that the table spans; zero without rows.
	OldestDay, NewestDay time.Time
	MetadataLocation     string
	Offsets              map[string]consumer.Checkpoint
	// LastCommit is the time of the last commit by the committer's clock, of rows or offsets.
	LastCommit time.Time
}

// Status reads it.
func (l *Lake) Status(ctx context.Context) (Status, error) {
	t, manifests, err := l.manifests(ctx)
	if err != nil {
		return Status{}, err
	}
	offsets, err := tableOffsets(t.Metadata())
	if err != nil {
		return Status{}, err
	}
	s := Status{
		Snapshots:        len(t.Metadata().Snapshots()),
		MetadataLocation: t.MetadataLocation(),
		Offsets:          offsets,
		LastCommit:       time.UnixMilli(t.Metadata().LastUpdatedMillis()).UTC(),
	}
	if snapshot := t.CurrentSnapshot(); snapshot != nil {
		s.SnapshotID = snapshot.SnapshotID
	}
	var oldest, newest int64
	for _, m := range manifests {
		if len(m.paths) == 0 {
			continue
		}
		if s.Files == 0 {
			oldest, newest = m.oldest, m.newest
		}
		oldest, newest = min(oldest, m.oldest), max(newest, m.newest)
		s.Files += int64(len(m.paths))
		s.SmallFiles += m.small
		s.Rows += m.rows
		s.Bytes += m.bytes
	}
	if s.Files > 0 {
		s.OldestDay = time.Unix(oldest*24*60*60, 0).UTC()
		s.NewestDay = time.Unix(newest*24*60*60, 0).UTC()
	}
	return s, nil
}
