package iceberg

import (
	"strings"
	"testing"

	icebergo "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
)

// TestFullFiles: an append larger than the table's target size makes several files, and none is lost.
func TestFullFiles(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	alter(t, l, func(tx *table.Transaction) error {
		return tx.SetProperties(icebergo.Properties{table.WriteTargetFileSizeBytesKey: "1000"})
	})
	rows := span("a", 0, 3*rowGroupText/largeBody)
	for i := range rows {
		rows[i].Body = []byte(strings.Repeat("x", largeBody-1))
	}
	if err := l.Append(t.Context(), rows, []consumer.Move{move("a", 0, len(rows))}); err != nil {
		t.Fatal(err)
	}
	if n := liveCount(t, l); n != 3 { // a file is full when its first row group is in it
		t.Errorf("%d files, want 3", n)
	}
	wantOnce(t, l, map[string]int{"a": len(rows)})
}

// TestPanicsAreErrors: what panics while a data file is written ends the append or the compaction, not the process, and leaves
// no file.
func TestPanicsAreErrors(t *testing.T) {
	t.Parallel()
	panics := false
	mem := vfs.NewMem()
	fs := &steppedFS{FS: mem, step: func(op, name string) error {
		if panics && op == "write" && strings.HasSuffix(name, ".parquet") {
			panic("a writer that is broken")
		}
		return nil
	}}
	l := openLake(t, fs, "/data/lake", &memoryPointer{})
	appendEach(t, l, "a", 0, 3)
	before := filesOnDisk(t, mem, "/data/lake")
	panics = true
	if err := appendSpan(t.Context(), l, "a", 3, 4); err == nil || !strings.Contains(err.Error(), "panic: a writer that is broken") {
		t.Errorf("append: %v", err)
	}
	u := newTestUpkeep(t, l, dayAfter())
	if _, err := u.Compact(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "panic: a writer that is broken") {
		t.Errorf("compaction: %v", err)
	}
	if after := filesOnDisk(t, mem, "/data/lake"); len(after) != len(before) {
		t.Errorf("%d files on disk, %d before", len(after), len(before))
	}
	panics = false
	if err := appendSpan(t.Context(), l, "a", 3, 4); err != nil {
		t.Error(err)
	}
	compactAll(t, u)
	wantOnce(t, l, map[string]int{"a": 4})
}

// TestAlteredPartitions: a table that somebody partitions otherwise while it is written to is refused, and rows that wait for it
// are not lost by it: its files would lie in partitions of which they say nothing.
func TestAlteredPartitions(t *testing.T) {
	t.Parallel()
	l, shared, fs := newLake(t)
	appendEach(t, l, "a", 0, 3)
	alter(t, l, func(tx *table.Transaction) error { return tx.UpdateSpec(true).AddIdentity("type").Commit() })
	const want = "is partitioned by"
	if err := appendSpan(t.Context(), l, "a", 3, 4); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("append: %v", err)
	}
	if _, err := tryOpen(t.Context(), fs, "/data/lake", shared); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("open: %v", err)
	}
	wantOnce(t, l, map[string]int{"a": 3})
	wantOffset(t, l, "a", 3)
}

// alter commits a change to the table, as another engine would.
func alter(t *testing.T, l *Lake, change func(*table.Transaction) error) {
	t.Helper()
	tbl, err := l.catalog.LoadTable(t.Context(), tableIdent())
	if err != nil {
		t.Fatal(err)
	}
	tx := tbl.NewTransaction()
	if err := change(tx); err != nil {
		t.Fatal(err)
	}
	commit, err := tx.TableCommit()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.catalog.CommitTable(t.Context(), commit.Identifier, commit.Requirements, commit.Updates); err != nil {
		t.Fatal(err)
	}
}

// TestLongValuesNarrowNoBounds: Parquet tells no extreme of a row group that is longer than 4 KiB. The other row groups' must not
// pass for those of the file then, or engines would skip it when they look for a value beyond.
func TestLongValuesNarrowNoBounds(t *testing.T) {
	t.Parallel()
	for _, long := range []string{strings.Repeat("z", 5000), strings.Repeat("\x01", 5000), ""} {
		l, _, _ := newLake(t)
		rows := span("a", 0, 2*rowGroupText/largeBody) // two row groups
		for i := range rows {
			rows[i].Event.Type, rows[i].Event.Subject = "t", "m"
			rows[i].Body = []byte(strings.Repeat("x", largeBody-1))
		}
		rows[0].Event.Subject, rows[1].Event.Subject, rows[2].Event.Subject = "zebra", "ant", long
		if err := l.Append(t.Context(), rows, []consumer.Move{move("a", 0, len(rows))}); err != nil {
			t.Fatal(err)
		}
		for subject, want := range map[string]int{"zebra": 1, "ant": 1, "zoo": 0} {
			if subject == "zoo" && long != "" {
				continue
			}
			if got := planned(t, l, subject); got != want {
				t.Errorf("of a file with a subject of %d bytes: %d files to look for %q in, want %d", len(long), got, subject, want)
			}
		}
	}
}

// planned is how many data files an engine reads to find events of a subject.
func planned(t *testing.T, l *Lake, subject string) int {
	t.Helper()
	tbl, err := l.catalog.LoadTable(t.Context(), tableIdent())
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := tbl.Scan(table.WithRowFilter(icebergo.EqualTo(icebergo.Reference("subject"), subject))).PlanFiles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}
