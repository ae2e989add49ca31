package iceberg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
)

// steppedFS calls step before every operation that changes something; its error is the operation's.
type steppedFS struct {
	vfs.FS
	step func(op, name string) error
}

func (f *steppedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.step("create", name); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.FS.Create(name, c))
}

func (f *steppedFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if err := f.step("open for writing", name); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.FS.OpenReadWrite(name, c, o...))
}

func (f *steppedFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.step("reuse", to); err != nil {
		return nil, err
	}
	return f.wrap(to)(f.FS.ReuseForWrite(from, to, c))
}

func (f *steppedFS) OpenDir(name string) (vfs.File, error) { return f.wrap(name)(f.FS.OpenDir(name)) }

func (f *steppedFS) MkdirAll(name string, perm os.FileMode) error {
	return errors.Join(f.step("mkdir", name), f.FS.MkdirAll(name, perm))
}

func (f *steppedFS) Remove(name string) error {
	if err := f.step("remove", name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f *steppedFS) Rename(from, to string) error {
	if err := f.step("rename", to); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *steppedFS) Unwrap() vfs.FS { return f.FS }

func (f *steppedFS) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(file vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		return &steppedFile{File: file, fs: f, name: name}, nil
	}
}

type steppedFile struct {
	vfs.File
	fs   *steppedFS
	name string
}

func (f *steppedFile) Write(p []byte) (int, error) {
	if err := f.fs.step("write", f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *steppedFile) Sync() error {
	if err := f.fs.step("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *steppedFile) SyncData() error {
	if err := f.fs.step("sync data", f.name); err != nil {
		return err
	}
	return f.File.SyncData()
}

// filePointer is a Pointer in a small file that a rename replaces.
type filePointer struct {
	mu   sync.Mutex
	fs   vfs.FS
	path string
}

func newFilePointer(fs vfs.FS) (Pointer, io.Closer, error) {
	if err := fs.MkdirAll("/data", 0o755); err != nil {
		return nil, nil, err
	}
	return &filePointer{fs: fs, path: "/data/pointer"}, io.NopCloser(nil), syncDirOf(fs, "/")
}

func syncDirOf(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (p *filePointer) Load(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read()
}

func (p *filePointer) read() (string, error) {
	f, err := p.fs.Open(p.path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(f)
	return string(data), errors.Join(err, f.Close())
}

func (p *filePointer) Swap(_ context.Context, prev, next string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, err := p.read()
	if err != nil || now != prev {
		return false, err
	}
	f, err := p.fs.Create(p.path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return false, err
	}
	_, err = f.Write([]byte(next))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	if err := p.fs.Rename(p.path+".new", p.path); err != nil {
		return false, err
	}
	return true, syncDirOf(p.fs, "/data")
}

// pebblePointer is a Pointer in a Pebble store beside the lake on the same file system.
type pebblePointer struct {
	mu sync.Mutex
	db *pebble.DB
}

func newPebblePointer(fs vfs.FS) (Pointer, io.Closer, error) {
	if err := fs.MkdirAll("/data", 0o755); err != nil {
		return nil, nil, err
	}
	if err := syncDirOf(fs, "/"); err != nil {
		return nil, nil, err
	}
	db, err := pebble.Open("/data/db", &pebble.Options{FS: fs, Logger: quiet{}})
	if err != nil {
		return nil, nil, err
	}
	return &pebblePointer{db: db}, db, nil
}

type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func (p *pebblePointer) Load(context.Context) (string, error) {
	value, closer, err := p.db.Get([]byte("pointer"))
	if errors.Is(err, pebble.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return string(value), closer.Close()
}

func (p *pebblePointer) Swap(ctx context.Context, prev, next string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, err := p.Load(ctx)
	if err != nil || now != prev {
		return false, err
	}
	return true, p.db.Set([]byte("pointer"), []byte(next), pebble.Sync)
}

type openPointer func(vfs.FS) (Pointer, io.Closer, error)

// cut is what a file system would hold after a power cut before an operation, and how many events were acked by then.
type cut struct {
	fs    *vfs.MemFS
	op    string
	acked int
}

// record runs appends and keeps a clone for a cut before every operation: one that holds exactly what was synced, and
// one where some of the rest reached the disk too.
func record(t *testing.T, open openPointer, pointerExt string, events int) []cut {
	t.Helper()
	mem := vfs.NewCrashableMem()
	var mu sync.Mutex
	var cuts []cut
	var acked atomic.Int64
	hits := make(map[string]int) // cuts after the first ack, by what was about to happen to which kind of file
	rng := rand.New(rand.NewPCG(7, 7))
	// While the pointer's store is first made nothing unsynced survives: Pebble names its manifest in a marker before the
	// manifest's own directory entry is synced, and counts on the file system's order.
	percents := []int{0}
	take := func(op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if acked.Load() > 0 {
			hits[op+" "+filepath.Ext(name)]++
		}
		for _, percent := range percents {
			n := int(acked.Load())
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			cuts = append(cuts, cut{clone, fmt.Sprintf("%d%% before %s %s", percent, op, name), n})
		}
		return nil
	}
	fs := &steppedFS{FS: mem, step: take}
	p, closer, err := open(fs)
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	percents = []int{0, 50}
	mu.Unlock()
	l := openLake(t, fs, "/data/lake", p)
	for n := 0; n < events; n += 3 {
		rows := span("a", n, n+3)
		rows[2].Event.ReceivedTime = received.AddDate(0, 0, n) // a new directory each time
		if err := l.Append(t.Context(), rows, []consumer.Move{move("a", n, n+3)}); err != nil {
			t.Fatal(err)
		}
		acked.Store(int64(n + 3))
	}
	if err := take("", "the end"); err != nil {
		t.Fatal(err)
	}
	wantOnce(t, l, map[string]int{"a": events})
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	for _, ext := range []string{".parquet", ".avro", ".json", pointerExt} {
		if hits["write "+ext] == 0 || hits["sync "+ext]+hits["sync data "+ext] == 0 {
			t.Errorf("no cut came before a write or a sync of a file %q: %v", ext, hits)
		}
	}
	return cuts
}

// TestPowerCut cuts the power before every single operation on the file system: the table must load, hold each acked
// event once, and go on from its own offsets.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pointer string
		open    openPointer
		file    string // its extension
		events  int
	}{{"file", newFilePointer, ".new", 6}, {"pebble", newPebblePointer, ".log", 6}} {
		t.Run(c.pointer, func(t *testing.T) {
			t.Parallel()
			cuts := record(t, c.open, c.file, c.events)
			t.Logf("%d cuts", len(cuts))
			for _, at := range cuts {
				if !afterCut(t, at, c.open, c.events) {
					return
				}
			}
		})
	}
}

func afterCut(t *testing.T, c cut, open openPointer, events int) bool {
	t.Helper()
	p, closer, err := open(c.fs)
	if err != nil {
		t.Errorf("%s: pointer: %v", c.op, err)
		return false
	}
	defer func() {
		if err := closer.Close(); err != nil {
			t.Errorf("%s: %v", c.op, err)
		}
	}()
	l, err := tryOpen(t.Context(), c.fs, "/data/lake", p)
	if err != nil {
		t.Errorf("%s: %v", c.op, err)
		return false
	}
	n := tableOffset(t, l, "a")
	if n < c.acked {
		t.Errorf("%s: %d events were acked, the table is at %d", c.op, c.acked, n)
	}
	wantOnce(t, l, map[string]int{"a": n})
	if err := appendSpan(t.Context(), l, "a", n, events+1); err != nil {
		t.Errorf("%s: %v", c.op, err)
	}
	wantOnce(t, l, map[string]int{"a": events + 1})
	if t.Failed() {
		t.Logf("after a cut %s", c.op)
	}
	return !t.Failed()
}

// TestFaults makes the first operation on the file system fail, then the second, and so on until none is left to fail:
// an append says so or succeeds, and the next one goes on from the table's offsets.
func TestFaults(t *testing.T) {
	t.Parallel()
	const events = 6
	for k := 1; ; k++ {
		count, hit := 0, false
		var mu sync.Mutex
		mem := vfs.NewMem()
		fs := &steppedFS{FS: mem, step: func(string, string) error {
			mu.Lock()
			defer mu.Unlock()
			if count++; count == k {
				hit = true
				return errInjected
			}
			return nil
		}}
		p := &memoryPointer{}
		l, err := tryOpen(t.Context(), fs, "/data/lake", p)
		if errors.Is(err, errInjected) {
			l, err = tryOpen(t.Context(), fs, "/data/lake", p)
		}
		if err != nil {
			t.Fatalf("operation %d: %v", k, err)
		}
		for n := 0; n < events; n += 3 {
			err := appendSpan(t.Context(), l, "a", n, n+3)
			if err != nil {
				if !errors.Is(err, errInjected) {
					t.Fatalf("operation %d: %v", k, err)
				}
				wantOffset(t, l, "a", n)
				wantNoStray(t, l)
				err = appendSpan(t.Context(), l, "a", n, n+3)
			}
			if err != nil {
				t.Fatalf("operation %d, second try: %v", k, err)
			}
		}
		wantOnce(t, openLake(t, mem, "/data/lake", p), map[string]int{"a": events})
		if t.Failed() {
			t.Fatalf("after a fault in operation %d", k)
		}
		if !hit {
			t.Logf("%d operations", k-1)
			return
		}
	}
}
