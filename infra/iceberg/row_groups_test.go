package iceberg

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/parquet/file"
	icebergio "github.com/apache/iceberg-go/io"
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

// A row group's bodies are many pages, of which a reader holds one at a time; and a compaction reads them so, not all at once,
// and notices when one is missing.
func TestPagesAreReadOneByOne(t *testing.T) {
	t.Parallel()
	const rows, files, body = 6 * pageRows, 2, 1 << 10
	const page = 1<<20 + pageRows*(body+4) // it was nearly full; a value has its length before it
	local, err := NewLocalFiles(vfs.NewMem(), "/data/lake")
	if err != nil {
		t.Fatal(err)
	}
	read := &measuredFiles{LocalFiles: local}
	l, err := Open(t.Context(), Config{Files: read, Pointer: &memoryPointer{}, Admit: admitAll, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, body/2) // no codec makes less than half of its digits
	for n := range files {
		list := span("a", n*rows, (n+1)*rows)
		for i := range list {
			if _, err := rng.Read(noise); err != nil {
				t.Fatal(err)
			}
			list[i].Body = hex.AppendEncode(nil, noise)
		}
		if err := l.Append(t.Context(), list, []consumer.Move{move("a", n*rows, (n+1)*rows)}); err != nil {
			t.Fatal(err)
		}
	}
	wantPages(t, l, page)
	u := newTestUpkeep(t, l, dayAfter())
	read.cut.Store(true)
	if did, err := u.Compact(t.Context(), nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("files that end early were compacted: %+v, %v", did, err)
	}
	read.cut.Store(false)
	read.largest.Store(0)
	compactAll(t, u)
	if largest := read.largest.Load(); largest == 0 || largest > page {
		t.Errorf("a compaction read %d bytes at once, a page has at most %d before compression", largest, page)
	}
	wantPages(t, l, page)
}

// Attributes that repeat take no space in a file, but they do in the memory of a compaction, which counts them.
func TestAttributesAreMemory(t *testing.T) {
	t.Parallel()
	const rows, long = 1000, 15 << 10
	l, _, _ := newLake(t)
	list := span("a", 0, rows)
	for i := range list {
		list[i].Event.Subject = strings.Repeat("s", long)
	}
	if err := l.Append(t.Context(), list, []consumer.Move{move("a", 0, rows)}); err != nil {
		t.Fatal(err)
	}
	tbl, err := l.catalog.LoadTable(t.Context(), tableIdent())
	if err != nil {
		t.Fatal(err)
	}
	files, err := l.liveDataFiles(tbl)
	if err != nil || len(files) != 1 {
		t.Fatal(len(files), err)
	}
	f, err := l.readFooter(files[0].FilePath())
	if err != nil || f.memory < sourceRows*long {
		t.Errorf("a batch of %d rows is thought to take %d bytes: %v", sourceRows, f.memory, err)
	}
	batches := 1 // the last is not followed by a rest
	if _, _, err := l.rewrite(t.Context(), tbl, files, nil, func(context.Context) error { batches++; return nil }); err != nil {
		t.Fatal(err)
	}
	if batches < rows*long/(copiedText+long) {
		t.Errorf("%d MB of text were written in %d batches", rows*long>>20, batches)
	}
}

// wantPages fails unless every page has at most so many bytes, and some row group's bodies more than one.
func wantPages(t *testing.T, l *Lake, limit int) {
	t.Helper()
	paths, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for _, path := range paths {
		f, err := l.files.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := file.NewParquetReader(f)
		if err != nil {
			t.Fatal(err)
		}
		for g := range r.NumRowGroups() {
			for column := range r.MetaData().Schema.NumColumns() {
				pages, err := r.RowGroup(g).GetColumnPageReader(column)
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for ; pages.Next(); n++ {
					if size := len(pages.Page().Data()); size > limit {
						t.Errorf("a page of column %d has %d bytes", column, size)
					}
				}
				if err := pages.Err(); err != nil {
					t.Fatal(err)
				}
				most = max(most, n)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if most < 2 {
		t.Errorf("no column of a row group has more than %d pages", most)
	}
}

// measuredFiles know the largest read, and may seem to end where a column is read.
type measuredFiles struct {
	*LocalFiles
	largest atomic.Int64
	cut     atomic.Bool
}

func (f *measuredFiles) Open(name string) (icebergio.File, error) {
	file, err := f.LocalFiles.Open(name)
	return &measuredFile{file, f}, err
}

type measuredFile struct {
	icebergio.File
	files *measuredFiles
}

func (f *measuredFile) ReadAt(p []byte, off int64) (int, error) {
	if f.files.cut.Load() && len(p) >= sourceBuffer {
		return 0, io.EOF
	}
	for n, old := int64(len(p)), f.files.largest.Load(); n > old && !f.files.largest.CompareAndSwap(old, n); {
		old = f.files.largest.Load()
	}
	return f.File.ReadAt(p, off)
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
