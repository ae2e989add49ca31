package iceberg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	icebergo "github.com/apache/iceberg-go"
	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
)

// TestCompactClosedDay: the files of a day that is over become one, in order of type and id, and nothing else changes.
func TestCompactClosedDay(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	appendEach(t, l, "a", 0, 20)
	full := row("b", 1)
	full.Event.Subject, full.Event.PartitionKey, full.Event.OriginID, full.Event.Tenant = "s", "k", "o", "t"
	full.Event.Extensions = map[string]string{"zeta": "", "alpha": "\u0000\"\\🙂\u2028"}
	full.Body = nil
	if err := l.Append(t.Context(), []consumer.Row{full, row("b", 2)}, []consumer.Move{move("b", 0, 2)}); err != nil {
		t.Fatal(err)
	}
	before, properties := contents(t, l), tableProps(t, l)
	u := newTestUpkeep(t, l, dayAfter())
	done := compactAll(t, u)
	if done.Groups != 1 || done.FilesBefore != 21 || done.FilesAfter != 1 || liveCount(t, l) != 1 {
		t.Errorf("%+v, %d live files", done, liveCount(t, l))
	}
	if after := contents(t, l); after != before {
		t.Errorf("rows changed from\n%s\nto\n%s", before, after)
	}
	if after := tableProps(t, l); after != properties {
		t.Errorf("properties changed from\n%s\nto\n%s", properties, after)
	}
	wantOffset(t, l, "a", 20)
	wantOffset(t, l, "b", 2)
	var keys []string
	for _, r := range scan(t, l, "type", "id") {
		keys = append(keys, r["type"]+" "+r["id"])
	}
	if !slices.IsSorted(keys) {
		t.Errorf("rows are not in order: %v", keys)
	}
	if again := compactAll(t, u); again.Groups != 0 {
		t.Errorf("a second compaction did %+v", again)
	}
	for _, id := range []string{"a-00000007", "b-00000001"} {
		if there, err := l.Contains(t.Context(), id, received); !there || err != nil {
			t.Errorf("%s is in the table: %t, %v", id, there, err)
		}
	}
	appendEach(t, l, "a", 20, 21)
	wantOnce(t, l, map[string]int{"a": 21, "b": 2})
}

func tableProps(t fataler, l *Lake) string {
	t.Helper()
	tbl, err := l.catalog.LoadTable(t.Context(), tableIdent())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(tbl.Properties())
}

// TestRewriteSplitsKinds: even of files that hold both kinds, as another writer might have made, large bodies part from small
// rows.
func TestRewriteSplitsKinds(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	rows := span("a", 0, 6)
	for i := range 3 {
		rows[2*i].Body = []byte(`"` + strings.Repeat("x", largeBody) + `"`)
	}
	if err := l.Append(t.Context(), rows, []consumer.Move{move("a", 0, 6)}); err != nil {
		t.Fatal(err)
	}
	tbl, err := l.catalog.LoadTable(t.Context(), tableIdent())
	if err != nil {
		t.Fatal(err)
	}
	inputs, err := l.liveDataFiles(tbl)
	if err != nil {
		t.Fatal(err)
	}
	files, dropped, err := l.rewrite(t.Context(), tbl, inputs, nil, func(context.Context) error { return nil })
	if err != nil || dropped != 0 || len(files) != 2 || files[0].Count() != 3 || files[1].Count() != 3 {
		t.Errorf("%d files, %d rows dropped, %v", len(files), dropped, err)
	}
	if err := sameRows(inputs, files[:1]); err == nil {
		t.Error("half of the rows are taken for all")
	}
}

// TestCompactOpenDay: an open day is compacted only once there are enough files, and its large files are not written
// anew for the sake of few small ones.
func TestCompactOpenDay(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	u := newTestUpkeep(t, l, clockAt(received))
	written, most := int64(0), 0
	const n = 256
	for i := range n {
		appendEach(t, l, "a", i, i+1)
		done := compactAll(t, u)
		written += done.FilesBefore
		if i == mergeFiles-2 && done.Groups != 0 || i == mergeFiles-1 && done.Groups != 1 {
			t.Errorf("after %d commits: %+v", i+1, done)
		}
		most = max(most, liveCount(t, l))
	}
	t.Logf("%d files were rewritten for %d commits, at most %d were live", written, n, most)
	if most > 3*mergeFiles || written > 2*n {
		t.Errorf("%d files were rewritten for %d commits, at most %d were live", written, n, most)
	}
	wantOnce(t, l, map[string]int{"a": n})
}

// TestCompactKinds: large bodies stay apart from small rows, with short row groups, and days stay apart.
func TestCompactKinds(t *testing.T) {
	t.Parallel()
	l, _, fs := newLake(t)
	rng := rand.New(rand.NewPCG(1, 1))
	n := 0
	for commit := range 6 {
		var rows []consumer.Row
		for range 400 {
			r := row("a", n+1)
			size := rng.IntN(2000)
			if n%40 == 0 {
				size = 1<<20 + rng.IntN(3<<20)
			}
			r.Body = []byte(`"` + strings.Repeat("x", size) + `"`)
			r.Event.ReceivedTime = received.AddDate(0, 0, commit%2)
			rows = append(rows, r)
			n++
		}
		if err := l.Append(t.Context(), rows, []consumer.Move{move("a", n-400, n)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := liveCount(t, l); got != 12 {
		t.Fatalf("%d files", got)
	}
	u := newTestUpkeep(t, l, clockAt(received.AddDate(0, 0, 3)))
	compactAll(t, u)
	if got := liveCount(t, l); got != 4 { // two days, two kinds
		t.Errorf("%d files after compaction", got)
	}
	wantOnce(t, l, map[string]int{"a": n})
	wantRowGroups(t, l, fs, n)
}

// TestUnreadableFiles: a file that can't be read is told of and left alone, and keeps no other file of its day nor any other
// day from being compacted.
func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	for part, at := range map[string]func(size int64) int64{
		"pages":  func(int64) int64 { return 4 },
		"footer": func(size int64) int64 { return size - 100 },
		"end":    func(size int64) int64 { return size - 4 },
	} {
		l, _, fs := newLake(t)
		for n := range 8 {
			rows := span("a", n, n+1)
			rows[0].Event.ReceivedTime = received.AddDate(0, 0, n/4)
			if err := l.Append(t.Context(), rows, []consumer.Move{move("a", n, n+1)}); err != nil {
				t.Fatal(err)
			}
		}
		before, err := l.Files(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		damaged := before[slices.IndexFunc(before, func(path string) bool {
			return strings.Contains(path, received.AddDate(0, 0, 1).UTC().Format(time.DateOnly))
		})]
		damage(t, fs, damaged, at)
		u := newTestUpkeep(t, l, clockAt(received.AddDate(0, 0, 3)))
		done, err := u.Compact(t.Context(), nil)
		if err == nil || !strings.Contains(err.Error(), filepath.Base(damaged)) {
			t.Errorf("%s: %v", part, err)
		}
		if done.Groups != 2 || liveCount(t, l) != 3 {
			t.Errorf("%s: %+v, %d files", part, done, liveCount(t, l))
		}
		if _, err := u.Compact(t.Context(), nil); err == nil {
			t.Errorf("%s: the next compaction tells of no error", part)
		}
	}
}

// TestManyUnreadableFiles: when it isn't the files, they are not all tried.
func TestManyUnreadableFiles(t *testing.T) {
	t.Parallel()
	l, _, fs := newLake(t)
	appendEach(t, l, "a", 0, 2*mostUnreadable)
	paths, err := l.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		damage(t, fs, path, func(size int64) int64 { return size - 4 })
	}
	_, err = newTestUpkeep(t, l, dayAfter()).Compact(t.Context(), nil)
	if err == nil || strings.Count(err.Error(), "read data file") != mostUnreadable {
		t.Errorf("%v", err)
	}
}

// damage overwrites some bytes of a file.
func damage(t *testing.T, fs vfs.FS, path string, at func(size int64) int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt(bytes.Repeat([]byte{0xff}, 4), at(info.Size()))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestChoose: what goes into one group.
func TestChoose(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		sizes  []int64
		memory int64
		closed bool
		want   int
	}{
		{"one file", []int64{1}, 1, true, 0},
		{"two of a closed day", []int64{1, 60}, 1, true, 2},
		{"no more than the target", []int64{40, 45, 50}, 1, true, 2},
		{"no more than the memory", []int64{1, 1, 1, 1}, mergeMemory / 3, true, 3},
		{"at least two", []int64{1, 1, 1, 1}, mergeMemory, true, 2},
		{"too few of an open day", []int64{1, 1, 1, 1, 1, 1, 1}, 1, false, 0},
		{"enough of an open day", []int64{1, 1, 1, 1, 1, 1, 1, 1}, 1, false, 8},
		{"a large one waits", []int64{1, 1, 1, 1, 1, 1, 1, 8}, 1, false, 0},
		{"a large one's like has come", []int64{1, 1, 1, 1, 1, 1, 1, 1, 8, 16, 40}, 1, false, 10},
		{"an open day's files are full", []int64{20, 20, 20, 20, 20, 20, 20, 20}, 1, false, 5},
	} {
		var files []candidate
		for i, size := range c.sizes {
			b, err := icebergo.NewDataFileBuilder(*icebergo.UnpartitionedSpec, icebergo.EntryContentData,
				fmt.Sprint("f", i), icebergo.ParquetFile, nil, nil, nil, 1, size)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, candidate{b.Build(), footer{memory: c.memory}})
		}
		if got := choose(files, c.closed, 100); len(got) != c.want {
			t.Errorf("%s: %d files, want %d", c.name, len(got), c.want)
		}
	}
}

// TestCompactBesideAppends: appends commit at every moment of a compaction, and none is lost, doubled, or refused.
func TestCompactBesideAppends(t *testing.T) {
	t.Parallel()
	for moment := 1; moment <= 6; moment++ {
		t.Run(fmt.Sprint(moment), func(t *testing.T) {
			t.Parallel()
			l, shared, _ := newLake(t)
			appendEach(t, l, "a", 0, 10)
			at := moment
			if moment == 6 {
				at = beforeSwap
			} else if moment >= beforeSwap {
				at++ // interrupt takes beforeSwap for itself
			}
			done := false
			p := interrupt(shared, at, func() error {
				done = true
				return appendSpan(t.Context(), l, "b", 0, 3)
			})
			u := newTestUpkeep(t, withPointer(l, p), dayAfter())
			compactAll(t, u)
			if !done && moment != 5 {
				t.Error("nothing came in between")
			}
			if !done {
				appendEach(t, l, "b", 0, 3)
			}
			wantOnce(t, l, map[string]int{"a": 10, "b": 3})
			wantOffset(t, l, "a", 10)
			wantOffset(t, l, "b", 3)
			if n := liveCount(t, l); n > 4 {
				t.Errorf("%d live files", n)
			}
		})
	}
}

// TestAppendNeverWaitsForRewriting: a commit goes through while a compaction reads and writes.
func TestAppendNeverWaitsForRewriting(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	appendEach(t, l, "a", 0, 10)
	n := 0
	u := newTestUpkeep(t, l, dayAfter(), func(c *UpkeepConfig) {
		c.Room = func(int64) error { // called in the midst of it
			n++ // into the same day, so that there is always more to compact
			return appendSpan(t.Context(), l, "b", n-1, n)
		}
	})
	compactAll(t, u)
	wantOnce(t, l, map[string]int{"a": 10, "b": n})
}

// TestCompactLostAnswer: the commit of a compaction whose answer is an error, whether it landed or not.
func TestCompactLostAnswer(t *testing.T) {
	t.Parallel()
	fail := func() error { return errInjected }
	for _, c := range []struct {
		name  string
		hook  func(p *hookedPointer)
		ok    bool
		files int
	}{
		{"landed", func(p *hookedPointer) { p.after = fail }, true, 1},
		{"did not land", func(p *hookedPointer) { p.before = fail }, false, 10},
		{"landed, and the table can't be read", func(p *hookedPointer) {
			p.after = func() error { p.load = fail; return errInjected }
		}, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, shared, _ := newLake(t)
			appendEach(t, l, "a", 0, 10)
			p := &hookedPointer{Pointer: shared}
			c.hook(p)
			clock := dayAfter()
			_, err := newTestUpkeep(t, withPointer(l, p), clock).Compact(t.Context(), nil)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, errInjected) {
				t.Errorf("answer is %v", err)
			}
			wantOnce(t, l, map[string]int{"a": 10})
			if n := liveCount(t, l); n != c.files {
				t.Errorf("%d live files, want %d", n, c.files)
			}
			u := newTestUpkeep(t, l, clock, func(c *UpkeepConfig) { c.SafeAge, c.SnapshotAge = 0, 0 })
			if err := u.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantOnce(t, l, map[string]int{"a": 10})
			wantNoOrphans(t, l)
		})
	}
}

// TestCompactTwice: another process compacts the same files in the midst of it.
func TestCompactTwice(t *testing.T) {
	t.Parallel()
	for _, moment := range []int{1, 2, 3, beforeSwap} {
		l, shared, fs := newLake(t)
		appendEach(t, l, "a", 0, 10)
		peer := newTestUpkeep(t, openLake(t, fs, "/data/lake", shared), dayAfter())
		p := interrupt(shared, moment, func() error {
			_, err := peer.Compact(t.Context(), nil)
			return err
		})
		compactAll(t, newTestUpkeep(t, withPointer(l, p), dayAfter()))
		wantOnce(t, l, map[string]int{"a": 10})
		if n := liveCount(t, l); n != 1 {
			t.Errorf("moment %d: %d live files", moment, n)
		}
	}
}

// TestCompactDiskFull: a compaction that runs out of disk leaves the table and the disk as they were.
func TestCompactDiskFull(t *testing.T) {
	t.Parallel()
	l, shared, mem := newLake(t)
	appendEach(t, l, "a", 0, 10)
	before := filesOnDisk(t, mem, "/data/lake")
	full := true
	fs := &steppedFS{FS: mem, step: func(op, name string) error {
		if full && op == "write" && strings.HasSuffix(name, ".parquet") {
			return syscall.ENOSPC
		}
		return nil
	}}
	l = openLake(t, fs, "/data/lake", shared)
	u := newTestUpkeep(t, l, dayAfter())
	if _, err := u.Compact(t.Context(), nil); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("answer is %v", err)
	}
	if after := filesOnDisk(t, mem, "/data/lake"); !slices.Equal(before, after) {
		t.Errorf("files on disk were\n%q\nand are\n%q", before, after)
	}
	noRoom := errors.New("no room")
	tight := newTestUpkeep(t, l, dayAfter(), func(c *UpkeepConfig) { c.Room = func(int64) error { return noRoom } })
	if _, err := tight.Compact(t.Context(), nil); !errors.Is(err, noRoom) {
		t.Errorf("answer is %v", err)
	}
	if u.Stats().Failures != 1 {
		t.Errorf("%+v", u.Stats())
	}
	full = false
	compactAll(t, u)
	wantOnce(t, l, map[string]int{"a": 10})
	if n := liveCount(t, l); n != 1 {
		t.Errorf("%d live files", n)
	}
}

// TestCompactDiskFullAnywhere: the disk fills up at the first step of a compaction that needs room, then at the second, and so
// on, and stays full. The compaction says so, the table can be read all the while, nothing is left over that takes up
// room, and once there is some, appends and compaction go on.
func TestCompactDiskFullAnywhere(t *testing.T) {
	t.Parallel()
	for k := 1; ; k++ {
		l, shared, mem := newLake(t)
		appendEach(t, l, "a", 0, 4)
		before := filesOnDisk(t, mem, "/data/lake")
		room := math.MaxInt // steps
		fs := &steppedFS{FS: mem, step: func(op, name string) error {
			if op == "remove" {
				return nil
			}
			if room--; room < 0 {
				return fmt.Errorf("%s %s: %w", op, name, syscall.ENOSPC)
			}
			return nil
		}}
		l = openLake(t, fs, "/data/lake", shared)
		room = k - 1
		u := newTestUpkeep(t, l, dayAfter())
		done, err := u.Compact(t.Context(), nil)
		if err == nil {
			if k < 10 || done.Groups != 1 {
				t.Errorf("%d steps were enough for %+v", k, done)
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) || u.Stats().Failures != 1 {
			t.Errorf("answer is %v", err)
		}
		if after := filesOnDisk(t, mem, "/data/lake"); !slices.Equal(before, after) {
			t.Errorf("files on disk were\n%q\nand are\n%q", before, after)
		}
		wantOnce(t, l, map[string]int{"a": 4})
		if err := appendSpan(t.Context(), l, "a", 4, 5); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("an append to the full disk: %v", err)
		}
		room = math.MaxInt
		appendEach(t, l, "a", 4, 5)
		compactAll(t, u)
		wantOnce(t, openLake(t, mem, "/data/lake", shared), map[string]int{"a": 5})
		wantOffset(t, l, "a", 5)
		if n := liveCount(t, l); n != 1 {
			t.Errorf("%d live files", n)
		}
		if t.Failed() {
			t.Fatalf("the disk was full at step %d: %v", k, err)
		}
	}
}

// TestCompactStops: the end of the context ends a compaction at once and in order.
func TestCompactStops(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	appendEach(t, l, "a", 0, 10)
	ctx, cancel := newCancel(t)
	u := newTestUpkeep(t, l, dayAfter(), func(c *UpkeepConfig) {
		c.Room = func(int64) error { cancel(); return nil }
	})
	if _, err := u.Compact(ctx, nil); err == nil {
		t.Error("it went on")
	}
	wantOnce(t, l, map[string]int{"a": 10})
	u = newTestUpkeep(t, l, dayAfter())
	ran := make(chan struct{})
	ctx, cancel = newCancel(t)
	go func() { defer close(ran); u.Run(ctx, time.Millisecond) }()
	for u.Stats().FilesCompacted == 0 {
		if err := sleep(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	<-ran
	wantOnce(t, l, map[string]int{"a": 10})
}
