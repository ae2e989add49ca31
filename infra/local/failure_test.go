package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

// faults is a file system whose write-ahead log can be told to fail or to hang.
type faults struct {
	mu    sync.Mutex
	err   error
	match func(errorfs.Op) bool
	hang  chan struct{} // while not nil, matching operations wait for it to close
	hung  chan struct{} // receives when one begins to wait
}

func (f *faults) wrap(fsys vfs.FS) vfs.FS {
	return errorfs.Wrap(fsys, errorfs.InjectorFunc(func(op errorfs.Op) error {
		f.mu.Lock()
		err, hang := f.err, f.hang
		matches := f.match != nil && f.match(op)
		f.mu.Unlock()
		if !matches {
			return nil
		}
		if hang != nil {
			select {
			case f.hung <- struct{}{}:
			default:
			}
			<-hang
			return nil
		}
		return err
	}))
}

func (f *faults) set(match func(errorfs.Op) bool, err error, hang chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.match, f.err, f.hang = match, err, hang
}

func isLogSync(op errorfs.Op) bool {
	return filepath.Ext(op.Path) == ".log" &&
		(op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo)
}

func TestLogFailure(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{
		"broken disk": errors.New("input/output error"),
		"full disk":   syscall.ENOSPC,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewCrashableMem()
			var f faults
			s := mustOpen(t, testConfig(f.wrap(mem)))
			mustPut(t, s, recordIn(s, 0, "before"))
			f.set(isLogSync, cause, nil)

			err := s.stream.Put(t.Context(), []ingest.Record{recordIn(s, 0, "during")})[0]
			if !errors.Is(err, ingest.ErrOpen) {
				t.Errorf("Put while the log fails: %v, want ErrOpen", err)
			}
			select {
			case <-s.Failed():
			default:
				t.Error("the store is not failed")
			}
			if full := errors.Is(s.Err(), ingest.ErrStorageFull); s.Err() == nil || full != errors.Is(cause, syscall.ENOSPC) {
				t.Errorf("Err() = %v", s.Err())
			}
			// Everything else is refused, and what was published is still there, without what failed.
			if err := s.stream.Put(t.Context(), []ingest.Record{recordIn(s, 1, "after")})[0]; err == nil ||
				errors.Is(err, ingest.ErrOpen) {
				t.Errorf("Put after the failure: %v, want a final error", err)
			}
			if _, _, err := s.claims.Claim(t.Context(), "k", ingest.Claim{ReceivedTime: time.Now()}); err == nil {
				t.Error("Claim succeeded after the failure")
			}
			if ok, err := s.pointer.Swap(t.Context(), "", "x"); ok || err == nil {
				t.Error("Swap succeeded after the failure")
			}
			if _, err := s.ledger.Stored(t.Context(), []string{"x"}); !errors.Is(err, ingest.ErrUnsettled) {
				t.Errorf("Ledger after the failure: %v, want ErrUnsettled", err)
			}
			if got := readAll(t, s, 0); len(got) != 1 || string(got[0].Data) != "before" {
				t.Errorf("read %v after the failure", got)
			}
			crashed := mem.CrashClone(vfs.CrashCloneCfg{})
			f.set(nil, nil, nil)
			_ = s.Close() // reports the failure again

			s = openTest(t, testConfig(crashed))
			if got := readAll(t, s, 0); len(got) < 1 || string(got[0].Data) != "before" {
				t.Errorf("read %v after the restart", got)
			}
			mustPut(t, s, recordIn(s, 0, "again"))
		})
	}
}

// TestProve: a disk that hangs is not ready, however often it is asked, and is again once it goes on.
func TestProve(t *testing.T) {
	t.Parallel()
	f := faults{hung: make(chan struct{}, 1)}
	s := openTest(t, testConfig(f.wrap(vfs.NewMem())))
	if err := s.Prove(t.Context()); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	f.set(isLogSync, nil, release)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { first <- s.Prove(ctx) }()
	<-f.hung
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("while the disk hangs: %v", err)
	}
	for range 3 {
		if err := s.Prove(t.Context()); err == nil {
			t.Error("ready while the disk hangs")
		}
	}
	f.set(nil, nil, nil)
	close(release)
	for s.Prove(t.Context()) != nil && t.Context().Err() == nil {
		runtime.Gosched()
	}
}

// TestOpenOnAFullDisk: the start fails and says why, though Pebble itself would try for ever, and succeeds once there is room.
func TestOpenOnAFullDisk(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, testConfig(mem))
	mustPut(t, s, recordIn(s, 0, "before"))
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var f faults
	f.set(func(op errorfs.Op) bool { return filepath.Ext(op.Path) == ".sst" && op.Kind == errorfs.OpCreate }, syscall.ENOSPC, nil)
	cfg := testConfig(f.wrap(crashed))
	if s, err := Open(t.Context(), cfg); !errors.Is(err, ingest.ErrStorageFull) {
		t.Fatalf("Open() = %v, %v; want ErrStorageFull", s, err)
	}
	f.set(nil, nil, nil)
	s, err := Open(t.Context(), cfg)
	for err != nil && t.Context().Err() == nil { // until the first one has let go
		runtime.Gosched()
		s, err = Open(t.Context(), cfg)
	}
	if got := readAll(t, s, 0); len(got) != 1 {
		t.Errorf("%d records, want 1", len(got))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestManifestFailure(t *testing.T) {
	t.Parallel()
	var f faults
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, testConfig(f.wrap(mem)))
	mustPut(t, s, recordIn(s, 0, "before"))
	f.set(func(op errorfs.Op) bool {
		ok, _ := filepath.Match("MANIFEST-*", filepath.Base(op.Path))
		return ok && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileSync)
	}, errors.New("input/output error"), nil)
	if _, err := s.db.AsyncFlush(); err != nil {
		t.Fatal(err)
	}
	<-s.Failed()
	if err := s.stream.Put(t.Context(), []ingest.Record{recordIn(s, 0, "after")})[0]; err == nil {
		t.Error("Put succeeded after the failure")
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	_ = s.Close() // reports the failure again
	s = openTest(t, testConfig(crashed))
	if got := readAll(t, s, 0); len(got) != 1 || string(got[0].Data) != "before" {
		t.Errorf("read %v after the restart", got)
	}
}

// TestDamagedFiles: a file of the index that the disk has spoilt costs the look-ups of what is in it, not the acks, and a client
// that asks again and again stops nobody. Of the state, it stops everything.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	const count = 2000
	mem := vfs.NewMem()
	s := mustOpen(t, testConfig(mem))
	var entries []consumer.Entry
	for range count {
		now := time.Now()
		e, err := schemas.NewEvent(schemas.NewID(now), now, &schemas.Attributes{Type: "t", Source: "s"}, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, consumer.Entry{Event: e, Encoded: schemas.AppendEvent(nil, &e), Position: schemas.Position{Sequence: "1"}})
		mustPut(t, s, recordIn(s, 0, "before"))
	}
	if err := s.index.Apply(t.Context(), "shard", entries, consumer.Checkpoint{Position: entries[0].Position}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.db.Flush(), s.items.Flush()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)

	damageTables(t, mem, indexDir(mem, testDir))
	s = mustOpen(t, testConfig(mem))
	failed := 0
	for n := range entries {
		if _, err := s.index.Get(t.Context(), entries[n].Event.ID); errors.Is(err, consumer.ErrNotFound) {
			t.Errorf("event %d is said not to be there", n)
		} else if err != nil {
			failed++
		}
	}
	if failed == 0 || failed == count {
		t.Errorf("%d of %d look-ups failed", failed, count)
	}
	mustPut(t, s, recordIn(s, 0, "after"))
	if err := s.Err(); err != nil {
		t.Errorf("the store has failed: %v", err)
	}

	damageTables(t, mem, stateDir(mem, testDir))
	if p, err := s.stream.Source().Read(t.Context(), s.stream.shards[0].id, "", 1<<30); err == nil {
		t.Errorf("%d records of a damaged file were read", len(p.Records))
	}
	if s.Err() == nil {
		t.Error("the store takes writes")
	}
	_ = s.Close() // reports the failure again
}

// damageTables spoils a block of every table in a directory.
func damageTables(t *testing.T, fs vfs.FS, dir string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for _, name := range names {
		if filepath.Ext(name) != ".sst" {
			continue
		}
		f, err := fs.OpenReadWrite(fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err == nil {
			_, err = f.WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, info.Size()/4)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		damaged++
	}
	if damaged == 0 {
		t.Fatalf("no table is in %s", dir)
	}
}

// A letter whose write failed can be seen, but it is not kept: whoever puts it again must not go on as if it were.
func TestLogFailureOfADeadLetter(t *testing.T) {
	t.Parallel()
	var f faults
	s := mustOpen(t, testConfig(f.wrap(vfs.NewMem())))
	t.Cleanup(func() { _ = s.Close() }) // that it has failed is what is tested
	f.set(isLogSync, errors.New("input/output error"), nil)
	l := consumer.DeadLetter{
		Sink: "index", Shard: s.stream.shards[0].id, Position: schemas.Position{Sequence: "1"},
		Arrived: time.Now(), Reason: "no event", Raw: []byte("x"),
	}
	for _, when := range []string{"first", "again"} {
		if err := s.deadLetters.Put(t.Context(), l); err == nil {
			t.Errorf("put, %s: no error", when)
		}
	}
}

// A flush that fails is tried again by Pebble; until it succeeds new writes are refused, and reads go on.
func TestFlushFailure(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*Store) *pebble.DB{
		"state": func(s *Store) *pebble.DB { return s.db },
		"index": func(s *Store) *pebble.DB { return s.items },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var f faults
			s := openTest(t, testConfig(f.wrap(vfs.NewMem())))
			mustPut(t, s, recordIn(s, 0, "before"))
			e, encoded := event(t, 1)
			at := consumer.Checkpoint{Position: schemas.Position{Sequence: "1"}}
			if err := s.index.Apply(t.Context(), s.stream.shards[0].id, []consumer.Entry{{Event: e, Encoded: encoded}}, at); err != nil {
				t.Fatal(err)
			}
			f.set(func(op errorfs.Op) bool {
				return op.Kind == errorfs.OpCreate && filepath.Ext(op.Path) == ".sst" && filepath.Base(filepath.Dir(op.Path)) == name
			}, syscall.ENOSPC, nil)
			if _, err := database(s).AsyncFlush(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return s.Err() != nil })
			if err := s.Err(); !errors.Is(err, ingest.ErrStorageFull) {
				t.Errorf("Err() = %v, want ErrStorageFull", err)
			}
			for range 1000 { // also between two tries
				if err := s.stream.Put(t.Context(), []ingest.Record{recordIn(s, 1, "during")})[0]; !errors.Is(err, ingest.ErrStorageFull) {
					t.Fatalf("Put while flushing fails: %v, want ErrStorageFull", err)
				}
			}
			if got := readAll(t, s, 0); len(got) != 1 {
				t.Errorf("read %v", got)
			}
			if _, err := s.index.Get(t.Context(), e.ID); err != nil {
				t.Errorf("the index can't be read: %v", err)
			}
			f.set(nil, nil, nil)
			// The last try that failed may not have been reported yet.
			waitFor(t, func() bool { return s.stream.Put(t.Context(), []ingest.Record{recordIn(s, 0, "after")})[0] == nil })
		})
	}
}

// waitFor returns when the condition holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
		runtime.Gosched()
	}
}

func TestDiskGuard(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	cfg := testConfig(mem)
	cfg.MinFree = 100 << 20
	s := openTest(t, cfg)
	free := func(n uint64) {
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: n, TotalBytes: 1 << 40, UsedBytes: 1<<40 - n})
	}
	apply := func(seq int) error {
		to := consumer.Checkpoint{Position: schemas.Position{Sequence: fmt.Sprint(seq)}}
		return s.index.Apply(t.Context(), "s", nil, to)
	}
	put := func() error {
		// More than the guard admits without a look at the disk.
		r := recordIn(s, 0, string(make([]byte, 700<<10)))
		return s.stream.Put(t.Context(), []ingest.Record{r, r})[0]
	}

	free(1 << 30)
	if err := errors.Join(put(), apply(1)); err != nil {
		t.Fatal(err)
	}
	free(90 << 20)
	if err := put(); !errors.Is(err, ingest.ErrStorageFull) {
		t.Errorf("Put below the reserve: %v, want ErrStorageFull", err)
	}
	if err := apply(2); err != nil {
		t.Errorf("Apply within the reserve: %v", err)
	}
	free(10 << 20)
	// The guard looks again once it has admitted enough.
	e := consumer.Entry{Encoded: make([]byte, 255)}
	var err error
	for i := 3; i < 50_000 && err == nil; i++ {
		to := consumer.Checkpoint{Position: schemas.Position{Sequence: fmt.Sprint(i)}}
		err = s.index.Apply(t.Context(), "s", []consumer.Entry{e}, to)
	}
	if !errors.Is(err, ingest.ErrStorageFull) {
		t.Errorf("Apply at the end of the reserve: %v, want ErrStorageFull", err)
	}
	if _, err := s.stream.Trim(t.Context(), map[string]string{s.stream.shards[0].id: "1"}); err != nil {
		t.Errorf("Trim on a full disk: %v", err)
	}
	free(1 << 30)
	if err := errors.Join(put(), apply(100_000)); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// Scratch stops before it can have an event refused.
func TestDiskGuardOfScratch(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	guard := NewDiskGuard(mem, "/", 100<<20)
	for free, want := range map[uint64]int64{1 << 30: 1<<30 - 200<<20, 200<<20 + 1: 1, 200 << 20: 0, 50 << 20: 0} {
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: free, TotalBytes: 1 << 40, UsedBytes: 1<<40 - free})
		if room, err := guard.ScratchRoom(); err != nil || room != want {
			t.Errorf("%d free: room for %d, want %d (%v)", free, room, want, err)
		}
		if err := guard.AdmitScratch(want + 1); !errors.Is(err, ingest.ErrStorageFull) {
			t.Errorf("%d free: %v", free, err)
		}
		if err := guard.AdmitScratch(want); want > 0 && err != nil {
			t.Errorf("%d free: %v", free, err)
		}
	}
	if room, err := NewDiskGuard(mem, "/", 0).ScratchRoom(); err != nil || room != math.MaxInt64 {
		t.Errorf("without a reserve: %d, %v", room, err)
	}
}

// What SQL left may have filled the disk: it goes before Pebble needs room for the replay of its log, but not while another
// process uses it.
func TestOpenEmptiesScratch(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, testConfig(mem))
	mustPut(t, s, recordIn(s, 0, "acked"))
	killed := mem.CrashClone(vfs.CrashCloneCfg{})
	result := mem.PathJoin(ScratchDir(testDir), "results", "x.csv")
	for _, fsys := range []vfs.FS{mem, killed} {
		if err := fsys.MkdirAll(fsys.PathDir(result), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := writeSynced(fsys, result, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}

	_, err := Open(t.Context(), testConfig(mem))
	if _, statErr := mem.Stat(result); !errors.Is(err, ErrInUse) || statErr != nil {
		t.Errorf("another process has it: %v, %v", err, statErr)
	}
	mustClose(t, s)

	var full faults
	full.set(func(op errorfs.Op) bool {
		_, err := killed.Stat(result)
		return err == nil && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasPrefix(op.Path, stateDir(killed, testDir))
	}, syscall.ENOSPC, nil)
	s = mustOpen(t, testConfig(full.wrap(killed)))
	if got := readAll(t, s, 0); len(got) != 1 {
		t.Errorf("read %v", got)
	}
	if _, err := killed.Stat(ScratchDir(testDir)); err != nil {
		t.Errorf("the directory itself, which may be a link, is gone: %v", err)
	}
	mustClose(t, s)
}

// TestNothingToFlush: a flush that has nothing to write is a success, though Pebble reports an error, and the end of an earlier
// failure.
func TestNothingToFlush(t *testing.T) {
	t.Parallel()
	h := newHealth(slog.New(slog.DiscardHandler), nil)
	ended := make(chan error, 1)
	listener := h.listener()
	listener.FlushEnd = func(info pebble.FlushInfo) { ended <- info.Err }
	db, err := pebble.Open("", &pebble.Options{FS: vfs.NewMem(), EventListener: listener, Logger: h})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := errors.Join(db.Set([]byte("k"), nil, nil), db.SingleDelete([]byte("k"), nil), db.Flush()); err != nil {
		t.Fatal(err)
	}
	nothing := <-ended
	if nothing == nil {
		t.Fatal("the flush had something to write")
	}
	full := fmt.Errorf("flush: %w", syscall.ENOSPC)
	h.flushEnded(full)
	h.backgroundError(full)
	if err := h.err(); !errors.Is(err, ingest.ErrStorageFull) {
		t.Errorf("after a failure: %v", err)
	}
	h.flushEnded(nothing)
	if err := h.err(); err != nil {
		t.Errorf("after a flush that ended with %q: %v", nothing, err)
	}
}
