package iceberg

import (
	"context"
	"crypto/sha256"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go/table"
	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/schemas"
)

// fataler is what the helpers need of a testing.TB or a rapid.T.
type fataler interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Error(args ...any)
	Fatal(args ...any)
}

// received is when test events arrive unless a test says otherwise.
var received = time.Date(2026, 11, 22, 10, 30, 0, 123456000, time.UTC)

// memoryPointer is a Pointer in memory.
type memoryPointer struct {
	mu    sync.Mutex
	value string
}

func (p *memoryPointer) Load(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.value, nil
}

func (p *memoryPointer) Swap(_ context.Context, prev, next string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.value != prev {
		return false, nil
	}
	p.value = next
	return true, nil
}

// hookedPointer is one worker's view of a Pointer that all share. Hooks that are nil do nothing.
type hookedPointer struct {
	Pointer
	load   func() error // before a Load; its error is the answer
	loaded func()       // after a Load, before its answer is seen
	before func() error // before a Swap; its error is the answer
	after  func() error // after a Swap; its error replaces the answer
	fired  bool         // set by interrupt
}

func (p *hookedPointer) Load(ctx context.Context) (string, error) {
	if p.load != nil {
		if err := p.load(); err != nil {
			return "", err
		}
	}
	location, err := p.Pointer.Load(ctx)
	if p.loaded != nil {
		p.loaded()
	}
	return location, err
}

func (p *hookedPointer) Swap(ctx context.Context, prev, next string) (bool, error) {
	if p.before != nil {
		if err := p.before(); err != nil {
			return false, err
		}
	}
	swapped, err := p.Pointer.Swap(ctx, prev, next)
	if p.after != nil {
		if err := p.after(); err != nil {
			return false, err
		}
	}
	return swapped, err
}

// admitAll is an Admit of a disk without end.
func admitAll(int64) error { return nil }

// tryOpen opens a lake on a local file system.
func tryOpen(ctx context.Context, fs vfs.FS, location string, p Pointer) (*Lake, error) {
	files, err := NewLocalFiles(fs, location)
	if err != nil {
		return nil, err
	}
	return Open(ctx, Config{Files: files, Pointer: p, Admit: admitAll, Logger: slog.New(slog.DiscardHandler)})
}

// disk are the files of a lake on a local file system.
func disk(l *Lake) *LocalFiles {
	f, _ := l.files.Files.(*LocalFiles)
	return f
}

func openLake(t testing.TB, fs vfs.FS, location string, p Pointer) *Lake {
	t.Helper()
	l, err := tryOpen(t.Context(), fs, location, p)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newLake is an empty lake in memory.
func newLake(t testing.TB) (*Lake, *memoryPointer, *vfs.MemFS) {
	t.Helper()
	fs, p := vfs.NewMem(), &memoryPointer{}
	return openLake(t, fs, "/data/lake", p), p, fs
}

// at is the checkpoint after record n of a shard; at(0) is the zero one.
func at(n int) consumer.Checkpoint {
	if n == 0 {
		return consumer.Checkpoint{}
	}
	return consumer.Checkpoint{Position: schemas.Position{Sequence: strconv.Itoa(n)}}
}

func move(shard string, from, to int) consumer.Move {
	return consumer.Move{Shard: shard, From: at(from), To: at(to)}
}

// row makes the event number n of a shard; the same arguments always make the same row.
func row(shard string, n int) consumer.Row {
	body := []byte(fmt.Sprintf(`{"shard":%q,"n":%d}`, shard, n))
	return consumer.Row{
		Event: schemas.Event{
			ID: fmt.Sprintf("%s-%08d", shard, n), Type: "test." + strconv.Itoa(n%3), Source: "test",
			Time: received, ReceivedTime: received, ContentType: "application/json",
			Size: int64(len(body)), SHA256: sha256.Sum256(body), Data: body,
		},
		Body: body, Landed: received.Add(time.Second), Shard: shard,
		Position: schemas.Position{Sequence: strconv.Itoa(n)},
	}
}

// span makes the events from+1 … to of a shard.
func span(shard string, from, to int) []consumer.Row {
	var rows []consumer.Row
	for n := from + 1; n <= to; n++ {
		rows = append(rows, row(shard, n))
	}
	return rows
}

// appendSpan appends the events from+1 … to of a shard and moves its offset.
func appendSpan(ctx context.Context, l *Lake, shard string, from, to int) error {
	return l.Append(ctx, span(shard, from, to), []consumer.Move{move(shard, from, to)})
}

// scan reads the columns of the whole table through iceberg-go, independently of Files, in the order of the files.
func scan(t fataler, l *Lake, columns ...string) []map[string]string {
	t.Helper()
	ctx := t.Context()
	tbl, err := l.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		t.Fatal(err)
	}
	_, records, err := tbl.Scan(table.WithSelectedFields(columns...)).ToArrowRecords(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for rec, err := range records {
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			values := make(map[string]string)
			for c, f := range rec.Schema().Fields() {
				if col := rec.Column(c); col.IsValid(i) {
					values[f.Name] = valueString(col, i)
				}
			}
			rows = append(rows, values)
		}
		rec.Release()
	}
	return rows
}

func valueString(col interface{ ValueStr(int) string }, i int) string {
	if s, ok := col.(*array.String); ok {
		return s.Value(i)
	}
	return col.ValueStr(i)
}

// ids counts how often each id is in the table.
func ids(t fataler, l *Lake) map[string]int {
	t.Helper()
	count := make(map[string]int)
	for _, r := range scan(t, l, "id") {
		count[r["id"]]++
	}
	return count
}

// wantOnce fails unless the table holds exactly the events 1 … n of each shard, each once, and exists on disk.
func wantOnce(t fataler, l *Lake, shards map[string]int) {
	t.Helper()
	got := ids(t, l)
	for shard, n := range shards {
		for i := 1; i <= n; i++ {
			id := row(shard, i).Event.ID
			if got[id] != 1 {
				t.Errorf("id %s is in the table %d times", id, got[id])
			}
			delete(got, id)
		}
	}
	if len(got) > 0 {
		t.Errorf("ids that should not be in the table: %v", slices.Sorted(maps.Keys(got)))
	}
	wantFiles(t, l)
}

// wantFiles fails when a live file is missing.
func wantFiles(t fataler, l *Lake) {
	t.Helper()
	files, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, err := disk(l).fs.Stat(f); err != nil {
			t.Errorf("live file: %v", err)
		}
	}
}

// wantNoStray fails when a file lies in the table's directory that nothing in the table's history refers to.
func wantNoStray(t fataler, l *Lake) {
	t.Helper()
	tbl, err := l.catalog.LoadTable(t.Context(), tableIdent())
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	refer := func(name string) {
		local, err := l.files.Path(name)
		if err != nil {
			t.Fatal(err)
		}
		known[local] = true
	}
	refer(tbl.MetadataLocation())
	for e := range tbl.Metadata().PreviousFiles() {
		refer(e.MetadataFile)
	}
	for _, snapshot := range tbl.Metadata().Snapshots() {
		refer(snapshot.ManifestList)
		manifests, err := snapshot.Manifests(l.files)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range manifests {
			refer(m.FilePath())
			for entry, err := range m.Entries(l.files, false) {
				if err != nil {
					t.Fatal(err)
				}
				refer(entry.DataFile().FilePath())
			}
		}
	}
	err = disk(l).WalkDir(disk(l).root, func(name string, entry iofs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !known[name] {
			t.Errorf("nothing refers to %s", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tableOffset is the record after which the table's offset of a shard is.
func tableOffset(t fataler, l *Lake, shard string) int {
	t.Helper()
	offsets, err := l.Offsets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	_, _ = fmt.Sscan(offsets[shard].Position.Sequence, &n)
	return n
}

// wantOffset fails unless the table's offset of a shard is after record n.
func wantOffset(t testing.TB, l *Lake, shard string, n int) {
	t.Helper()
	offsets, err := l.Offsets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := offsets[shard]; !got.SamePlace(at(n)) {
		t.Errorf("offset of %s is %+v, want %+v", shard, got, at(n))
	}
}
