package iceberg

import (
	"bytes"
	"testing"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
)

// However well its text compresses, no row group holds more of it than a reader should have in memory at once, and large
// bodies don't cut the row groups of the small ones short.
func TestRowGroupsAreBounded(t *testing.T) {
	t.Parallel()
	l, _, fs := newLake(t)
	rows := span("a", 0, 2000)
	for i := range rows {
		rows[i].Event.Type = "t"
		if i%50 == 0 {
			rows[i].Body = bytes.Repeat([]byte{'x'}, 3<<20)
		}
	}
	if err := l.Append(t.Context(), rows, []consumer.Move{move("a", 0, 2000)}); err != nil {
		t.Fatal(err)
	}
	wantRowGroups(t, l, fs, 2000)
}

// wantRowGroups fails unless the files have so many rows together, and row groups whose text is bounded but not short.
func wantRowGroups(t *testing.T, l *Lake, fs vfs.FS, rows int) {
	t.Helper()
	paths, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, path := range paths {
		f, err := fs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, info.Size())
		if _, err := f.ReadAt(raw, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := file.NewParquetReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		for g := range r.NumRowGroups() {
			group := r.MetaData().RowGroup(g)
			total += group.NumRows()
			if size := group.TotalByteSize(); size > rowGroupText+1<<20 {
				t.Errorf("a row group of %d rows unfolds to %d bytes", group.NumRows(), size)
			}
			if group.TotalByteSize() < 1<<20 && group.NumRows() < 1000 {
				t.Errorf("a row group of small rows has only %d", group.NumRows())
			}
		}
	}
	if total != int64(rows) {
		t.Errorf("%d rows in the files", total)
	}
}
