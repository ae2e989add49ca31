package iceberg

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
)

// testClock runs with the machine's, as far ahead of it as a test says.
type testClock struct{ ahead atomic.Int64 }

func (c *testClock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *testClock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// clockAt is a clock that shows the given time now.
func clockAt(t time.Time) *testClock {
	c := &testClock{}
	c.advance(time.Until(t))
	return c
}

// dayAfter is a clock by which the day of the test events is over, and every file is older than a day.
func dayAfter() *testClock {
	c := &testClock{}
	c.advance(max(0, time.Until(received)) + 48*time.Hour)
	return c
}

func newTestUpkeep(t fataler, l *Lake, c *testClock, change ...func(*UpkeepConfig)) *Upkeep {
	t.Helper()
	cfg := UpkeepConfig{
		TargetBytes: targetFileSize, SafeAge: time.Hour, SnapshotAge: time.Hour,
		Room: func(int64) error { return nil }, Busy: func() bool { return false },
		Now: c.now, Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&cfg)
	}
	u, err := NewUpkeep(l, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// appendEach appends the events from+1 … to of a shard, each in a commit of its own.
func appendEach(t fataler, l *Lake, shard string, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := appendSpan(t.Context(), l, shard, n, n+1); err != nil {
			t.Fatal(err)
		}
	}
}

func compactAll(t fataler, u *Upkeep) Compaction {
	t.Helper()
	done, err := u.Compact(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func liveCount(t fataler, l *Lake) int {
	t.Helper()
	files, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// filesOnDisk are the paths of all files of the table.
func filesOnDisk(t fataler, fs vfs.FS, dir string) []string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			files = append(files, filesOnDisk(t, fs, path)...)
		} else {
			files = append(files, path)
		}
	}
	slices.Sort(files)
	return files
}

// wantNoOrphans fails unless every file on disk is referred to.
func wantNoOrphans(t fataler, l *Lake) {
	t.Helper()
	tbl, err := l.catalog.LoadTable(t.Context(), tableIdent())
	if err != nil {
		t.Fatal(err)
	}
	referenced, err := l.referenced(t.Context(), tbl)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range filesOnDisk(t, disk(l).fs, disk(l).root) {
		if _, ok := referenced[path]; !ok {
			t.Errorf("left over: %s", path)
		}
	}
}

// contents are all rows of the table with all their columns, in order of id.
func contents(t fataler, l *Lake) string {
	t.Helper()
	var lines []string
	for _, r := range scan(t, l, "*") {
		lines = append(lines, fmt.Sprint(r))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestUpkeepConfig(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	good := newTestUpkeep(t, l, clockAt(received)).cfg
	for name, breakIt := range map[string]func(*UpkeepConfig){
		"TargetBytes": func(c *UpkeepConfig) { c.TargetBytes = 0 },
		"SafeAge":     func(c *UpkeepConfig) { c.SafeAge = -1 },
		"SnapshotAge": func(c *UpkeepConfig) { c.SnapshotAge = -1 },
		"Room":        func(c *UpkeepConfig) { c.Room = nil },
		"Busy":        func(c *UpkeepConfig) { c.Busy = nil },
		"Now":         func(c *UpkeepConfig) { c.Now = nil },
		"Logger":      func(c *UpkeepConfig) { c.Logger = nil },
	} {
		cfg := good
		breakIt(&cfg)
		if _, err := NewUpkeep(l, cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestManyCommits is a month of small commits in a small form: upkeep keeps the live files, the files on disk and the
// metadata from growing with their number.
func TestManyCommits(t *testing.T) {
	t.Parallel()
	const days, commits = 8, 40
	l, _, fs := newLake(t)
	c := &testClock{} // in step with the file system's
	u := newTestUpkeep(t, l, c)
	n, most, mostOnDisk, metadata := 0, 0, 0, int64(0)
	for range days {
		for range commits {
			r := row("a", n+1)
			r.Event.ReceivedTime = c.now()
			if err := l.Append(t.Context(), []consumer.Row{r}, []consumer.Move{move("a", n, n+1)}); err != nil {
				t.Fatal(err)
			}
			if n++; n%10 == 0 {
				c.advance(24 * time.Hour * 10 / commits)
				if err := u.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				most = max(most, liveCount(t, l))
				mostOnDisk = max(mostOnDisk, len(filesOnDisk(t, fs, "/data/lake")))
				metadata = max(metadata, metadataSize(t, l))
			}
		}
	}
	t.Logf("%d commits: at most %d live files, %d on disk, metadata file of %d bytes; %+v", n, most, mostOnDisk, metadata, u.Stats())
	wantOnce(t, l, map[string]int{"a": n})
	if most > days+2*mergeFiles || mostOnDisk > 300 || metadata > 1<<20 {
		t.Errorf("%d live files, %d on disk, metadata file of %d bytes", most, mostOnDisk, metadata)
	}
}

func metadataSize(t fataler, l *Lake) int64 {
	t.Helper()
	status, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := disk(l).Stat(status.MetadataLocation)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func newCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}
