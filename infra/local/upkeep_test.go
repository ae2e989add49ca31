package local

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer/query"
	"penstock/ingest"
)

// aheadOfItsFlush opens a store of which all may be trimmed: the index has taken nine of the ten records in each of two shards,
// and flushed the first four of them. It returns what is safe.
func aheadOfItsFlush(t *testing.T, f *faults) (*Store, map[string]string) {
	t.Helper()
	cfg := testConfig(f.wrap(vfs.NewMem()))
	cfg.Shards, cfg.Retention = 2, time.Nanosecond
	s := openTest(t, cfg)
	safe := make(map[string]string)
	for i, sh := range s.stream.shards {
		for range 10 {
			mustPut(t, s, recordIn(s, i, "x"))
		}
		if err := s.index.Apply(t.Context(), sh.id, nil, checkpointAt(5)); err != nil {
			t.Fatal(err)
		}
		safe[sh.id] = "10"
	}
	if err := s.index.keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id := range safe {
		if err := s.index.Apply(t.Context(), id, nil, checkpointAt(10)); err != nil {
			t.Fatal(err)
		}
	}
	return s, safe
}

func wantOldest(t *testing.T, s *Store, want string) {
	t.Helper()
	for _, st := range s.stream.Stats() {
		if st.Oldest != want {
			t.Errorf("the oldest record of %s is %s, want %s", st.Shard, st.Oldest, want)
		}
	}
}

// While the index can't flush, what it has flushed is trimmed in every shard and no more, and the reason is told.
func TestTrimWhileIndexFlushFails(t *testing.T) {
	t.Parallel()
	var f faults
	s, safe := aheadOfItsFlush(t, &f)
	f.set(isIndexFlush, syscall.ENOSPC, nil)
	if _, err := s.items.AsyncFlush(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return s.Err() != nil })
	for range 2 {
		stats, err := s.stream.Trim(t.Context(), safe)
		if !errors.Is(err, ingest.ErrStorageFull) || stats.HeldBytes == 0 {
			t.Errorf("Trim = %+v, %v; want bytes held and ErrStorageFull", stats, err)
		}
		wantOldest(t, s, "5")
		if got := s.stream.Trimmed(); got.Records != 8 || got.HeldBytes != stats.HeldBytes {
			t.Errorf("trimmed %+v since the start", got)
		}
	}
	f.set(nil, nil, nil)
	waitFor(t, func() bool { return s.Err() == nil })
	waitFor(t, func() bool { // the last try that failed may not have been reported yet
		_, err := s.stream.Trim(t.Context(), safe)
		return err == nil
	})
	wantOldest(t, s, "10")
}

// A flush that hangs keeps the housekeeping neither from the rest of its work nor from its end.
func TestTendWhileIndexFlushHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := faults{hung: make(chan struct{}, 1)}
		s, safe := aheadOfItsFlush(t, &f)
		release := make(chan struct{})
		f.set(isIndexFlush, nil, release)
		var log bytes.Buffer // read when the housekeeping has ended
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			of := func(context.Context) (map[string]string, error) { return safe, nil }
			s.Tend(ctx, 10*time.Second, of, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		<-f.hung
		wantOldest(t, s, "5")
		over := query.Execution{ID: "over", Submitted: time.Now().Add(-time.Hour)}
		if err := s.executions.Add(t.Context(), over, "", "", over.Submitted); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		if _, err := s.executions.Get(t.Context(), over.ID); !errors.Is(err, query.ErrNotFound) {
			t.Errorf("what has expired meanwhile: %v", err)
		}
		wantOldest(t, s, "5")

		f.set(nil, nil, nil)
		close(release)
		<-time.After(time.Minute)
		wantOldest(t, s, "10")
		cancel()
		<-ended
		for _, want := range []string{"trimmed the stream", "housekeeping failed", "flushing the index"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("nothing says %q in the log:\n%s", want, log.String())
			}
		}
	})
}
