package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"penstock/consumer"
	"penstock/ingest"
)

func TestTrimByAge(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	cfg := testConfig(vfs.NewMem())
	cfg.Now, cfg.Retention = clock.Now, 10*time.Minute
	s := openTest(t, cfg)
	id := s.stream.shards[0].id
	for i := range 20 {
		mustPut(t, s, recordIn(s, 0, fmt.Sprint(i)))
		clock.Advance(time.Minute)
	}
	before := s.stream.Stats()[0]

	// Nobody has read anything: nothing goes.
	for _, safe := range []map[string]string{nil, {id: ""}, {id: "1"}} {
		if stats, err := s.stream.Trim(t.Context(), safe); err != nil || stats.Records != 0 || stats.HeldBytes == 0 {
			t.Fatalf("Trim(%v) = %+v, %v", safe, stats, err)
		}
	}
	// The slowest sink is at 5 and may be inside it.
	stats, err := s.stream.Trim(t.Context(), map[string]string{id: "5"})
	if err != nil || stats.Records != 4 || stats.HeldBytes == 0 {
		t.Errorf("Trim to 5 = %+v, %v", stats, err)
	}
	if got := readAll(t, s, 0); got[0].Sequence != "5" {
		t.Errorf("oldest is %s, want 5", got[0].Sequence)
	}
	// Records 1 to 10 are older than ten minutes, the eleventh is exactly that old.
	stats, err = s.stream.Trim(t.Context(), map[string]string{id: "20"})
	if err != nil || stats.Records != 6 || stats.HeldBytes != 0 {
		t.Errorf("Trim to 20 = %+v, %v", stats, err)
	}
	after := s.stream.Stats()[0]
	if after.Oldest != "11" || after.Newest != "20" || after.Records != 10 || after.Bytes >= before.Bytes {
		t.Errorf("stats %+v", after)
	}
	if _, err := s.stream.Source().Read(t.Context(), id, "8", 1); !errors.Is(err, consumer.ErrTrimmed) {
		t.Errorf("Read after 8: %v, want ErrTrimmed", err)
	}
	if _, err := s.stream.Trim(t.Context(), map[string]string{id: "x"}); err == nil {
		t.Error("Trim with a malformed position succeeded")
	}
}

func TestTrimBySize(t *testing.T) {
	t.Parallel()
	cfg := testConfig(vfs.NewMem())
	cfg.RetentionBytes = 100_000
	s := openTest(t, cfg)
	for i := range 300 {
		mustPut(t, s, recordIn(s, 0, fmt.Sprintf("%01000d", i)))
		if i%3 == 0 {
			mustPut(t, s, recordIn(s, 1, fmt.Sprintf("%01000d", i)))
		}
	}
	safe, err := s.stream.Tips(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// One shard is trimmed only once the index is flushed, which costs the other nothing.
	if err := s.index.Apply(t.Context(), s.stream.shards[1].id, nil, checkpointAt(100)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.stream.Trim(t.Context(), safe); err != nil {
		t.Fatal(err)
	}
	stats := s.stream.Stats()
	if total := stats[0].Bytes + stats[1].Bytes; total > cfg.RetentionBytes || total < cfg.RetentionBytes-3000 {
		t.Errorf("%d bytes are left, want just under %d", total, cfg.RetentionBytes)
	}
	if share := float64(stats[0].Bytes) / float64(stats[1].Bytes); share < 2.8 || share > 3.2 {
		t.Errorf("the shards kept %d and %d bytes, want 3 to 1", stats[0].Bytes, stats[1].Bytes)
	}
}

// The disk has its space again a moment after a trim, though nothing is written any more: all but the files at the edge of what
// is left, and the log's, which are used again.
func TestTrimGivesSpaceBack(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"in tables": 1 << 10, "in blob files": 200 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := testConfig(vfs.NewMem())
				cfg.RetentionBytes = 4 << 20
				s := openTest(t, cfg)
				noise := make([]byte, 1<<20)                   // does not compress
				_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // always succeeds
				for left := 64 << 20; left > 0; {
					var records []ingest.Record
					for shard := range cfg.Shards {
						for range 1 << 20 / size {
							from := rand.IntN(len(noise) - size)
							records = append(records, recordIn(s, shard, string(noise[from:from+size])))
							left -= size
						}
					}
					mustPut(t, s, records...)
				}
				safe, err := s.stream.Tips(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := s.db.Flush(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // or a compaction removes a file while it is looked at
				before := bytesOf(t, s, ".sst", ".blob")
				if _, err := s.stream.Trim(t.Context(), safe); err != nil {
					t.Fatal(err)
				}
				<-time.After(30 * time.Second)
				synctest.Wait()
				after := bytesOf(t, s, ".sst", ".blob")
				t.Logf("%d MB before, %d MB after", before>>20, after>>20)
				if before < 56<<20 || after > 40<<20 {
					t.Errorf("%d bytes on disk before the trim, %d after", before, after)
				}
			})
		})
	}
}

// bytesOf adds up the state's files with these extensions.
func bytesOf(t *testing.T, s *Store, extensions ...string) (total int64) {
	t.Helper()
	dir := stateDir(s.cfg.FS, s.cfg.Dir)
	names, err := s.cfg.FS.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !slices.Contains(extensions, filepath.Ext(name)) {
			continue
		}
		info, err := s.cfg.FS.Stat(s.cfg.FS.PathJoin(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}

// Numbers are not used again when everything but one record is gone, nor when the store is opened again after that.
func TestTrimKeepsNumbers(t *testing.T) {
	t.Parallel()
	cfg := testConfig(vfs.NewMem())
	cfg.Retention = time.Nanosecond
	s := mustOpen(t, cfg)
	for range 10 {
		mustPut(t, s, recordIn(s, 0, "x"))
	}
	// As if a later version trimmed everything: the horizon alone must be enough.
	sh := s.stream.shards[0]
	if _, err := s.stream.trimShard(t.Context(), sh, sh.view(&s.clock), 11, 1); err != nil {
		t.Fatal(err)
	}
	if tips, err := s.stream.Tips(t.Context()); err != nil || len(tips) != 0 {
		t.Errorf("Tips() of an empty stream = %v, %v", tips, err)
	}
	before := s.stream.Stats()[0]
	mustClose(t, s)
	s = openTest(t, cfg)
	if after := s.stream.Stats()[0]; after != before || after.Records != 0 || after.Bytes != 0 {
		t.Errorf("stats %+v, want %+v", after, before)
	}
	mustPut(t, s, recordIn(s, 0, "next"))
	if got := readAll(t, s, 0); len(got) != 1 || got[0].Sequence != "11" {
		t.Errorf("read %v, want number 11", got)
	}
	if _, err := s.stream.Source().Read(t.Context(), sh.id, "9", 1); !errors.Is(err, consumer.ErrTrimmed) {
		t.Errorf("Read after 9: %v, want ErrTrimmed", err)
	}
}

// A reader gets every record after its position or ErrTrimmed, never a silent gap, while trimming goes on beside it.
func TestTrimRacesReaders(t *testing.T) {
	t.Parallel()
	cfg := testConfig(vfs.NewMem())
	cfg.Retention = time.Nanosecond
	s := openTest(t, cfg)
	id := s.stream.shards[0].id
	const n = 600
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			mustPut(t, s, recordIn(s, 0, "x"))
			if i%7 == 0 {
				if _, err := s.stream.Trim(t.Context(), map[string]string{id: fmt.Sprint(i - i%3)}); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			for after := ""; after != fmt.Sprint(n); {
				p, err := s.stream.Source().Read(t.Context(), id, after, 3)
				if errors.Is(err, consumer.ErrTrimmed) {
					after = ""
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				for _, r := range p.Records {
					at, _ := parseSequence(after)
					if after != "" && r.Sequence != formatSequence(at+1) {
						t.Errorf("after %s comes %s", after, r.Sequence)
						return
					}
					after = r.Sequence
				}
			}
		})
	}
	wg.Wait()
}

// The two halves of that race one at a time: a trim between a reader's look at the horizon and its snapshot, and a
// snapshot taken while the trim's deletion is visible but its sync is not done.
func TestTrimUnderReader(t *testing.T) {
	t.Parallel()
	f := faults{hung: make(chan struct{}, 1)}
	cfg := testConfig(f.wrap(vfs.NewMem()))
	cfg.Retention = time.Nanosecond
	s := openTest(t, cfg)
	for range 10 {
		mustPut(t, s, recordIn(s, 0, "x"))
	}
	sh := s.stream.shards[0]
	stale := sh.view(&s.clock)
	if _, err := s.stream.Trim(t.Context(), map[string]string{sh.id: "5"}); err != nil {
		t.Fatal(err)
	}
	if p, err := s.stream.page(t.Context(), sh, 2, stale, 1<<20); !errors.Is(err, consumer.ErrTrimmed) {
		t.Errorf("page after 2, trimmed to 4 meanwhile: %d records, %v; want ErrTrimmed", len(p.Records), err)
	}

	release := make(chan struct{})
	f.set(isLogSync, nil, release)
	trimmed := make(chan error, 1)
	go func() {
		_, err := s.stream.Trim(t.Context(), map[string]string{sh.id: "9"})
		trimmed <- err
	}()
	<-f.hung
	if p, err := s.stream.Source().Read(t.Context(), sh.id, "6", 1<<20); !errors.Is(err, consumer.ErrTrimmed) {
		t.Errorf("Read after 6 while 8 is trimmed: %d records, %v; want ErrTrimmed", len(p.Records), err)
	}
	f.set(nil, nil, nil)
	close(release)
	if err := <-trimmed; err != nil {
		t.Error(err)
	}
}

// Whatever is put and trimmed, a record that a sink still needs stays, what is left is a suffix, and totals are right.
func TestTrimProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		clock := newTestClock()
		cfg := testConfig(vfs.NewMem())
		cfg.Shards = 2
		cfg.Now = clock.Now
		cfg.Retention = time.Duration(rapid.IntRange(0, 20).Draw(rt, "retention")) * time.Second
		cfg.RetentionBytes = rapid.Int64Range(0, 5000).Draw(rt, "bytes")
		s := openTest(t, cfg)
		sizes := make([][]int64, 2) // of all records ever put
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			shard := rapid.IntRange(0, 1).Draw(rt, "shard")
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0, 1:
				r := recordIn(s, shard, string(make([]byte, rapid.IntRange(0, 400).Draw(rt, "size"))))
				mustPut(t, s, r)
				sizes[shard] = append(sizes[shard], recordSize(&r))
			case 2:
				clock.Advance(time.Duration(rapid.IntRange(0, 5000).Draw(rt, "pause")) * time.Millisecond)
			case 3:
				safe := rapid.IntRange(0, len(sizes[shard])).Draw(rt, "safe")
				before := s.stream.Stats()[shard]
				stats, err := s.stream.Trim(t.Context(), map[string]string{s.stream.shards[shard].id: fmt.Sprint(safe)})
				if err != nil {
					rt.Fatal(err)
				}
				after := s.stream.Stats()[shard]
				if oldest, _ := parseSequence(after.Oldest); len(sizes[shard]) > 0 && int(oldest) > max(safe, 1) &&
					before.Oldest != after.Oldest {
					rt.Fatalf("oldest is %d, a sink is at %d", oldest, safe)
				}
				if before.Bytes-after.Bytes != stats.Bytes || before.Records-after.Records != stats.Records {
					rt.Fatalf("trimmed %+v from %+v, left %+v", stats, before, after)
				}
			}
			for i := range sizes {
				checkShard(t, rt, s, i, sizes[i])
			}
		}
	})
}

func checkShard(t *testing.T, rt *rapid.T, s *Store, shard int, sizes []int64) {
	records := readAll(t, s, shard)
	first := len(sizes) - len(records)
	var bytes int64
	for i, r := range records {
		if r.Sequence != fmt.Sprint(first+i+1) {
			rt.Fatalf("record %d of %d has number %s", i, len(records), r.Sequence)
		}
		bytes += sizes[first+i]
	}
	if st := s.stream.Stats()[shard]; st.Bytes != bytes || st.Records != int64(len(records)) {
		rt.Fatalf("stats %+v, want %d records of %d bytes", st, len(records), bytes)
	}
}
