package iceberg

import (
	"context"
	"fmt"
	"sync"
	"time"

	icebergo "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"penstock/consumer"
)

// liveFiles remembers what the manifests of the current snapshot hold. A manifest never changes, and a commit adds one
// or merges a few, so each version reads only what is new in it.
type liveFiles struct {
	files *FileIO

	mu        sync.Mutex
	location  string // of the metadata that manifests are of
	order     []string
	manifests map[string]manifest
}

// manifest is what one manifest says of its live data files.
type manifest struct {
	paths          []string // local
	rows, bytes    int64
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
	l.order, l.manifests = order, manifests
	return nil
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
	}
	return m, nil
}

// Files returns the absolute local paths of the current snapshot's data files; together they are the table. They are
// never changed, and stay on disk at least until upkeep removes what compaction has replaced.
func (l *Lake) Files(ctx context.Context) ([]string, error) {
	t, err := l.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return nil, err
	}
	manifests, err := l.live.of(t)
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
	// OldestDay and NewestDay are midnights UTC of the days of receipt that the table spans; zero without rows.
	OldestDay, NewestDay time.Time
	MetadataLocation     string
	Offsets              map[string]consumer.Checkpoint
	// LastCommit is the time of the last commit by the committer's clock, of rows or offsets.
	LastCommit time.Time
}

// Status reads it.
func (l *Lake) Status(ctx context.Context) (Status, error) {
	t, err := l.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return Status{}, err
	}
	offsets, err := tableOffsets(t.Metadata())
	if err != nil {
		return Status{}, err
	}
	manifests, err := l.live.of(t)
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
		s.Rows += m.rows
		s.Bytes += m.bytes
	}
	if s.Files > 0 {
		s.OldestDay = time.Unix(oldest*24*60*60, 0).UTC()
		s.NewestDay = time.Unix(newest*24*60*60, 0).UTC()
	}
	return s, nil
}
