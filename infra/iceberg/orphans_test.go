package iceberg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

func sweepAll(t fataler, u *Upkeep) Sweep {
	t.Helper()
	done, err := u.Sweep(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func onDisk(l *Lake, path string) bool {
	_, err := disk(l).fs.Stat(path)
	return err == nil
}

// TestSweep: what is removed and what is not.
func TestSweep(t *testing.T) {
	t.Parallel()
	l, _, fs := newLake(t)
	appendEach(t, l, "a", 0, 3)
	table := filesOnDisk(t, fs, "/data/lake")
	strays := []string{
		"/data/lake/data/received_at_day=2020-01-01/stray.parquet", "/data/lake/data/stray.parquet",
		"/data/lake/metadata/stray.avro", "/data/lake/metadata/00000-stray.metadata.json",
	}
	foreign := []string{"/data/lake/README", "/data/lake/data/notes.txt"}
	for _, path := range slices.Concat(strays, foreign) {
		if err := l.files.WriteFile(path, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	c := &testClock{}
	u := newTestUpkeep(t, l, c)
	if done := sweepAll(t, u); done.Files != 0 || done.Young != int64(len(strays)) {
		t.Errorf("at once: %+v", done)
	}
	c.advance(-2 * time.Hour) // set wrong
	if done := sweepAll(t, u); done.Files != 0 {
		t.Errorf("before they were made: %+v", done)
	}
	c.advance(4 * time.Hour)
	release := l.files.hold()
	inFlight := "/data/lake/data/in-flight.parquet"
	if err := l.files.WriteFile(inFlight, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if done := sweepAll(t, u); done.Files != int64(len(strays)) || done.Young != 1 || !onDisk(l, inFlight) {
		t.Errorf("after their time: %+v", done)
	}
	release()
	if done := sweepAll(t, u); done.Files != 1 || onDisk(l, inFlight) {
		t.Errorf("after the operation: %+v", done)
	}
	want := slices.Sorted(slices.Values(slices.Concat(table, foreign)))
	if got := filesOnDisk(t, fs, "/data/lake"); !slices.Equal(got, want) {
		t.Errorf("left are\n%q, want\n%q", got, want)
	}
	if s := u.Stats(); s.OrphansRemoved != uint64(len(strays))+1 || s.LastSweep.IsZero() {
		t.Errorf("%+v", s)
	}
}

// TestSweepOfASharedTable: upkeep that begins in another process does not remove at once what a process before has replaced,
// for a query may just have begun to read it.
func TestSweepOfASharedTable(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	appendEach(t, l, "a", 0, 3)
	before, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := dayAfter()
	compactAll(t, newTestUpkeep(t, l, c))
	if _, err := newTestUpkeep(t, l, c, func(cfg *UpkeepConfig) { cfg.SnapshotAge = 0 }).Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := newTestUpkeep(t, l, c, func(cfg *UpkeepConfig) { cfg.Shared = true })
	if done := sweepAll(t, u); done.Files != 0 || done.Young < int64(len(before)) {
		t.Errorf("the first sweep of a process: %+v", done)
	}
	c.advance(u.cfg.SafeAge - time.Minute)
	if done := sweepAll(t, u); done.Files != 0 {
		t.Errorf("before the safe age has passed: %+v", done)
	}
	c.advance(2 * time.Minute)
	if done := sweepAll(t, u); done.Files < int64(len(before)) {
		t.Errorf("afterwards: %+v of %d files that were replaced", done, len(before))
	}
	for _, path := range before {
		if onDisk(l, path) {
			t.Errorf("%s is still there", path)
		}
	}
}

// TestSweepSparesQueries: the files that a query was given stay for SafeAge after they have ceased to be live, whatever
// the file system's clock says, though no snapshot refers to them any more.
func TestSweepSparesQueries(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	appendEach(t, l, "a", 0, 4)
	c := dayAfter() // so every file looks old
	u := newTestUpkeep(t, l, c, func(c *UpkeepConfig) { c.SnapshotAge = 0 })
	given, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	compactAll(t, u)
	expired, err := u.Expire(t.Context())
	if err != nil || expired != 4 {
		t.Errorf("%d snapshots forgotten, %v", expired, err)
	}
	for i := range 2 {
		if done := sweepAll(t, u); done.Young < int64(len(given)) {
			t.Errorf("sweep %d: %+v", i, done)
		}
		for _, path := range given {
			if !onDisk(l, path) {
				t.Errorf("%s was removed under a query", path)
			}
		}
		c.advance(59 * time.Minute)
	}
	c.advance(time.Minute)
	if done := sweepAll(t, u); done.Files < int64(len(given)) {
		t.Errorf("at last: %+v", done)
	}
	wantNoOrphans(t, l)
	wantOnce(t, l, map[string]int{"a": 4})
}

// TestSweepBehindQueries: a sweep that has read an older version than a query beside it does not take what is new for what is
// gone, or the file would have no time left when it is.
func TestSweepBehindQueries(t *testing.T) {
	t.Parallel()
	plain, shared, _ := newLake(t)
	appendEach(t, plain, "a", 0, 3)
	p := &hookedPointer{Pointer: shared}
	l := withPointer(plain, p)
	c := dayAfter()
	u := newTestUpkeep(t, l, c, func(c *UpkeepConfig) { c.SnapshotAge = 0 })
	written, commit, appended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		appended <- appendSpan(t.Context(), withPointer(plain, &hookedPointer{Pointer: shared, before: func() error {
			close(written)
			<-commit
			return nil
		}}), "a", 3, 4)
	}()
	<-written
	p.loaded = func() { // the sweep has listed the files and read the table
		p.loaded = nil
		close(commit)
		err := <-appended
		if _, filesErr := l.Files(t.Context()); errors.Join(err, filesErr) != nil {
			t.Error(err, filesErr)
		}
	}
	sweepAll(t, u)
	wantSpared(t, u, c, 0)
}

// TestSweepSawItComing: files that a sweep of a shared table saw before they were committed have their time all the same when
// they are replaced, whether another sweep has come by meanwhile or not.
func TestSweepSawItComing(t *testing.T) {
	t.Parallel()
	for _, sweeps := range []int{0, 1} {
		l, shared, _ := newLake(t)
		appendEach(t, l, "a", 0, 3)
		c := dayAfter()
		u := newTestUpkeep(t, l, c, func(c *UpkeepConfig) { c.Shared, c.SnapshotAge = true, 0 })
		p := interrupt(shared, beforeSwap, func() error {
			if done := sweepAll(t, u); done.Young == 0 {
				t.Error("nothing was coming")
			}
			return nil
		})
		if err := appendSpan(t.Context(), withPointer(l, p), "a", 3, 4); err != nil {
			t.Fatal(err)
		}
		wantSpared(t, u, c, sweeps)
	}
}

// wantSpared fails unless files that are live for longer than SafeAge and through so many sweeps, and are then replaced and
// forgotten, outlive the next sweep.
func wantSpared(t *testing.T, u *Upkeep, c *testClock, sweeps int) {
	t.Helper()
	c.advance(u.cfg.SafeAge + time.Minute)
	for range sweeps {
		sweepAll(t, u)
	}
	given, err := u.lake.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	compactAll(t, u)
	if _, err := u.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if done := sweepAll(t, u); done.Files != 0 && sweeps > 0 { // metadata too, of which a sweep has seen that it was needed
		t.Errorf("the sweep after the replacement: %+v", done)
	}
	for _, path := range given {
		if !onDisk(u.lake, path) {
			t.Errorf("%s was removed under a query", path)
		}
	}
	c.advance(u.cfg.SafeAge)
	sweepAll(t, u)
	for _, path := range given {
		if onDisk(u.lake, path) {
			t.Errorf("%s is still there", path)
		}
	}
}

// TestSweepBesideAppends: files of an append that hangs between writing and committing stay, however old they get.
func TestSweepBesideAppends(t *testing.T) {
	t.Parallel()
	for _, moment := range []int{2, 3, beforeSwap} {
		l, shared, _ := newLake(t)
		appendEach(t, l, "a", 0, 4)
		u := newTestUpkeep(t, l, dayAfter(), func(c *UpkeepConfig) { c.SafeAge = 0 })
		p := interrupt(shared, moment, func() error {
			if done := sweepAll(t, u); done.Young == 0 {
				t.Errorf("moment %d: nothing was there to spare", moment)
			}
			return nil
		})
		appendEach(t, withPointer(l, p), "a", 4, 5)
		wantOnce(t, l, map[string]int{"a": 5})
	}
}

// TestSweepStopsInDoubt: whoever can't find out what is referred to removes nothing.
func TestSweepStopsInDoubt(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"-m0.avro", ".avro"} {
		l, p, fs := newLake(t)
		appendEach(t, l, "a", 0, 4)
		for _, path := range filesOnDisk(t, fs, "/data/lake/metadata") {
			if strings.HasSuffix(path, suffix) {
				if err := fs.Remove(path); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		before := filesOnDisk(t, fs, "/data/lake")
		l = openLake(t, fs, "/data/lake", p)
		u := newTestUpkeep(t, l, dayAfter(), func(c *UpkeepConfig) { c.SafeAge = 0 })
		if _, err := u.Sweep(t.Context(), nil); err == nil && suffix == ".avro" {
			t.Errorf("%s is missing, and nobody minds", suffix)
		}
		if after := filesOnDisk(t, fs, "/data/lake"); suffix == ".avro" && !slices.Equal(before, after) {
			t.Errorf("files went from\n%q\nto\n%q", before, after)
		}
	}
}

// TestExpire: snapshots go by age, but for the current one; and a commit in the midst of it is no harm.
func TestExpire(t *testing.T) {
	t.Parallel()
	for moment := 0; moment <= 3; moment++ {
		l, shared, _ := newLake(t)
		appendEach(t, l, "a", 0, 6)
		p := interrupt(shared, moment, func() error { return appendSpan(t.Context(), l, "a", 6, 7) })
		worker := withPointer(l, p)
		u := newTestUpkeep(t, worker, &testClock{})
		if n, err := u.Expire(t.Context()); n != 0 || err != nil {
			t.Errorf("young ones: %d, %v", n, err)
		}
		u = newTestUpkeep(t, worker, &testClock{}, func(c *UpkeepConfig) { c.SnapshotAge = 0 })
		// Iceberg counts in milliseconds, and what is as old as that is not older.
		if err := sleep(t.Context(), 2*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Expire(t.Context()); err != nil {
			t.Error(err)
		}
		status, err := l.Status(t.Context())
		if err != nil || status.Snapshots > 2 {
			t.Errorf("%d snapshots, %v", status.Snapshots, err)
		}
		if moment == 0 {
			appendEach(t, l, "a", 6, 7)
		}
		wantOnce(t, l, map[string]int{"a": 7})
		wantOffset(t, l, "a", 7)
	}
}

// upkeepFaults runs appends and upkeep with faults at the k-th change of the file system, and says whether there was one.
func upkeepFaults(t *testing.T, k int) (hit bool) {
	t.Helper()
	count := 0
	armed := false
	var mu sync.Mutex
	mem := vfs.NewMem()
	fs := &steppedFS{FS: mem, step: func(string, string) error {
		mu.Lock()
		defer mu.Unlock()
		if !armed {
			return nil
		}
		if count++; count == k {
			hit = true
			return errInjected
		}
		return nil
	}}
	p := &memoryPointer{}
	l := openLake(t, fs, "/data/lake", p)
	appendEach(t, l, "a", 0, 4)
	arm := func(on bool) { mu.Lock(); defer mu.Unlock(); armed = on }
	arm(true)
	u := newTestUpkeep(t, l, dayAfter(), func(c *UpkeepConfig) { c.SafeAge, c.SnapshotAge = 0, 0 })
	if err := u.Once(t.Context()); err != nil && !errors.Is(err, errInjected) {
		t.Errorf("fault %d: %v", k, err)
	}
	arm(false)
	wantOnce(t, l, map[string]int{"a": 4})
	appendEach(t, l, "a", 4, 5)
	if err := u.Once(t.Context()); err != nil {
		t.Errorf("after fault %d: %v", k, err)
	}
	fresh := openLake(t, mem, "/data/lake", p)
	wantOnce(t, fresh, map[string]int{"a": 5})
	wantOffset(t, fresh, "a", 5)
	wantNoOrphans(t, fresh)
	if t.Failed() {
		t.Fatalf("after fault %d", k)
	}
	return hit
}

// TestUpkeepFaults fails the first operation on the file system, then the second, and so on: nothing is lost or doubled,
// and the next upkeep cleans up.
func TestUpkeepFaults(t *testing.T) {
	t.Parallel()
	for k := 1; upkeepFaults(t, k); k++ {
		if k > 1000 {
			t.Fatal("no end")
		}
	}
}

// TestUpkeepPowerCut cuts the power before every operation on the file system of a compaction, an expiry and a sweep: the
// table loads, holds each event once, and upkeep of the next process leaves nothing over.
func TestUpkeepPowerCut(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	var cuts []cut
	recording := false
	fs := &steppedFS{FS: mem, step: func(op, name string) error {
		if recording {
			cuts = append(cuts, cut{fs: mem.CrashClone(vfs.CrashCloneCfg{}), op: op + " " + name})
		}
		return nil
	}}
	p, closer, err := newFilePointer(fs)
	if err != nil {
		t.Fatal(err)
	}
	l := openLake(t, fs, "/data/lake", p)
	appendEach(t, l, "a", 0, 4)
	recording = true
	eager := func(c *UpkeepConfig) { c.SafeAge, c.SnapshotAge = 0, 0 }
	if err := newTestUpkeep(t, l, dayAfter(), eager).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d cuts", len(cuts))
	for _, c := range cuts {
		p, _, err := newFilePointer(c.fs)
		if err != nil {
			t.Fatal(err)
		}
		l, err := tryOpen(t.Context(), c.fs, "/data/lake", p)
		if err != nil {
			t.Fatalf("before %s: %v", c.op, err)
		}
		wantOnce(t, l, map[string]int{"a": 4})
		appendEach(t, l, "a", 4, 5)
		if err := newTestUpkeep(t, l, dayAfter(), eager).Once(t.Context()); err != nil {
			t.Errorf("before %s: %v", c.op, err)
		}
		wantOnce(t, l, map[string]int{"a": 5})
		wantNoOrphans(t, l)
		if t.Failed() {
			t.Fatalf("after a cut before %s", c.op)
		}
	}
}

// TestReadsThroughUpkeep: whoever reads the table all through appends and upkeep finds every file that it was told of,
// and never fewer rows than before.
func TestReadsThroughUpkeep(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	u := newTestUpkeep(t, l, &testClock{}, func(c *UpkeepConfig) { c.SnapshotAge = 0 })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := u.Once(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	const readers = 2
	for range readers {
		wg.Go(func() {
			for last := 0; ctx.Err() == nil; {
				n := len(ids(t, l))
				if n < last {
					t.Errorf("%d rows after %d", n, last)
				}
				last = n
				wantFiles(t, l)
			}
		})
	}
	appendEach(t, l, "a", 0, 40)
	cancel()
	wg.Wait()
	wantOnce(t, l, map[string]int{"a": 40})
}

// TestUpkeepInterleavings holds random sequences of appends and upkeep, with appends in the midst of upkeep and lost
// answers, against a model.
func TestUpkeepInterleavings(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		l, shared, fs := newLake(t)
		c := &testClock{}
		offset := map[string]int{}
		push := func(l *Lake, shard string, n int) error {
			err := appendSpan(rt.Context(), l, shard, offset[shard], offset[shard]+n)
			if err == nil {
				offset[shard] += n
			}
			return err
		}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			n := rapid.IntRange(1, 3).Draw(rt, "rows")
			p := &hookedPointer{Pointer: shared}
			switch rapid.SampledFrom([]string{"nothing", "append", "landed", "failed"}).Draw(rt, "happens") {
			case "append":
				p = interrupt(shared, rapid.IntRange(1, 5).Draw(rt, "moment"), func() error { return push(l, "b", n) })
			case "landed":
				p.after = func() error { return errInjected }
			case "failed":
				p.before = func() error { return errInjected }
			}
			u := newTestUpkeep(rt, withPointer(l, p), c, func(c *UpkeepConfig) { c.SnapshotAge = time.Minute })
			var err error
			switch rapid.SampledFrom([]string{"append", "append", "compact", "expire", "sweep", "reopen"}).Draw(rt, "step") {
			case "append":
				err = push(l, "a", n)
			case "compact":
				c.advance(48 * time.Hour)
				_, err = u.Compact(rt.Context(), nil)
			case "expire":
				_, err = u.Expire(rt.Context())
			case "sweep":
				c.advance(2 * time.Hour)
				_, err = u.Sweep(rt.Context(), nil)
			case "reopen":
				l = openLake(t, fs, "/data/lake", shared)
			}
			if err != nil && !errors.Is(err, errInjected) {
				rt.Fatal(err)
			}
			wantOnce(rt, l, offset)
			for shard, n := range offset {
				if got := tableOffset(rt, l, shard); got != n {
					rt.Fatal(fmt.Sprintf("offset of %s is %d, want %d", shard, got, n))
				}
			}
		}
	})
}

// clockedFiles are files in a place with a clock of its own, by which their times are.
type clockedFiles struct {
	*LocalFiles
	now func() time.Time
}

func (f clockedFiles) List(
	ctx context.Context, fn func(name string, size int64, modified time.Time) error,
) (time.Time, error) {
	now := f.now()
	_, err := f.LocalFiles.List(ctx, fn)
	return now, err
}

// TestSweepRemoteClock: a host whose clock is days ahead does not take what other processes have just made for old.
func TestSweepRemoteClock(t *testing.T) {
	t.Parallel()
	local, err := NewLocalFiles(vfs.NewMem(), "/lake")
	if err != nil {
		t.Fatal(err)
	}
	ahead := time.Duration(0)
	files := clockedFiles{local, func() time.Time { return time.Now().Add(ahead) }}
	l, err := Open(t.Context(), Config{Files: files, Pointer: &memoryPointer{}, Admit: admitAll, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	appendEach(t, l, "a", 0, 2)
	stray := "/lake/data/another-process.parquet"
	if err := local.WriteFile(stray, []byte("x")); err != nil {
		t.Fatal(err)
	}
	c := &testClock{}
	c.advance(72 * time.Hour)
	u := newTestUpkeep(t, l, c)
	if done := sweepAll(t, u); done.Files != 0 || done.Young != 1 {
		t.Errorf("young by the clock of the files: %+v", done)
	}
	ahead = 72 * time.Hour
	if done := sweepAll(t, u); done.Files != 1 {
		t.Errorf("old by the clock of the files: %+v", done)
	}
	wantOnce(t, withFiles(l, local), map[string]int{"a": 2})
}

// withFiles is the lake with its files seen through others.
func withFiles(l *Lake, files Files) *Lake {
	seen := withPointer(l, l.catalog.pointer)
	seen.files = &FileIO{Files: files}
	seen.catalog.files, seen.live.files = seen.files, seen.files
	return seen
}
