//go:build !nolocal

package main

import (
	"context"
	"errors"
	"log/slog"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/schemas"
)

// TestEraseEndToEnd: an erased event is gone from the API, the bodies and SQL, and stays gone over kills and the reading
// of the stream that follows; an erasure that a kill has cut is complete in the end.
func TestEraseEndToEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	flags := []string{"--flush-age", "10m", "--upkeep-interval", "24h"}
	s := startServer(t, dir, flags...)
	count := func() string { return s.sql("SELECT count(*), count(DISTINCT id) FROM events")[1][0] }
	small, kept := s.post([]byte(`{"secret":1}`)), s.post([]byte(`{"public":1}`))
	large := s.post([]byte(`"` + strings.Repeat("x", 1_200_000) + `"`))
	s.fetch(small)
	s.fetch(large)
	s.fetch(kept)
	// Nothing was flushed yet: the erasure has it flushed first.
	if out, status := s.command("lake", "erase", small, large); status != 0 || strings.Count(out, "erased; still held by") != 2 ||
		!strings.Contains(out, "stream") || !strings.Contains(out, "lake files") {
		t.Fatalf("erase: status %d, %s\n%s", status, out, s.log())
	}
	gone := func(when string) {
		t.Helper()
		for _, id := range []string{small, large} {
			if a := s.must(404, "GET", "/v1/events/"+id, nil); !strings.Contains(string(a.body), "event-erased") {
				t.Errorf("%s: %s", when, a.body)
			}
		}
		if got := count(); got != "1" {
			t.Errorf("%s: SQL finds %s events\n%s", when, got, s.log())
		}
		if found, err := filepath.Glob(filepath.Join(dir, "objects", "penstock", "bodies", "*", large)); err != nil || len(found) != 0 {
			t.Errorf("%s: bodies %v, %v", when, found, err)
		}
	}
	gone("at once")
	if out, status := s.command("lake", "erase", small, "--json"); status != 0 || !strings.Contains(out, `"id":"`+small+`"`) {
		t.Errorf("again: status %d, %s", status, out)
	}
	if _, status := s.command("lake", "erase", schemas.NewID(time.Now()), "nonsense"); status == 0 {
		t.Error("an unknown id is no error")
	}
	s.kill()
	s = startServer(t, dir, flags...)
	gone("after a kill")
	s.fetch(kept)

	// Cut by a kill: in the end the event is there as a whole, or not at all.
	id := s.post([]byte(`{"secret":2}`))
	s.fetch(id)
	began := make(chan struct{})
	go func() {
		close(began)
		_, _ = s.request("DELETE", "/v1/events/"+id, nil) // the answer is lost
	}()
	<-began
	s.kill()
	s = startServer(t, dir, flags...)
	if out, status := s.command("lake", "erase", id); status != 0 {
		t.Errorf("after the cut: status %d, %s\n%s", status, out, s.log())
	}
	gone("after the cut")
	s.must(404, "GET", "/v1/events/"+id, nil)
	s.stop()
}

// TestEraseBehindIndexEndToEnd: a crash takes back what the index had in memory, and before it has read the stream again a
// large event is erased that only the lake knows. Its body goes too, and stays gone once the index has caught up.
func TestEraseBehindIndexEndToEnd(t *testing.T) {
	t.Parallel()
	disk := vfs.NewCrashableMem()
	large := []byte(`"` + strings.Repeat("x", 1_200_000) + `"`)
	var erased, kept string
	runCore(t, disk, func(k *localCore) {
		for _, id := range []*string{&erased, &kept} {
			var err error
			if *id, _, err = k.accept(t.Context(), large, ""); err != nil {
				t.Fatal(err)
			}
		}
		k.caughtUp(t)
		disk = disk.CrashClone(vfs.CrashCloneCfg{})
	})
	body := func(id string) bool {
		t.Helper()
		made, err := schemas.IDTime(id)
		if err != nil {
			t.Fatal(err)
		}
		_, err = disk.Stat(path.Join(objectsDir(coreConfig()), bodiesBucket, "bodies", "dt="+made.Format(time.DateOnly), id))
		return err == nil
	}

	k, err := openCore(t.Context(), coreConfig(), disk, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	// What only the stream has is not erased in part: nobody is told that it is gone.
	pending, _, err := k.accept(t.Context(), large, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.eraser.Erase(t.Context(), pending); !errors.Is(err, consumer.ErrNotFound) || k.eraser.Erased(pending) || !body(pending) {
		t.Errorf("erased before a sink has it: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- k.lake.Run(ctx) }()
	if _, err := k.events.Get(t.Context(), erased); !errors.Is(err, consumer.ErrNotFound) || !body(erased) || !body(kept) {
		t.Fatalf("the crash did not take the index back: %v, or took a body", err)
	}
	if _, err := k.eraser.Erase(t.Context(), erased); err != nil || body(erased) {
		t.Errorf("erased before the index has it: %v, body there: %t", err, body(erased))
	}
	go func() { ended <- k.index.Run(ctx) }()
	k.caughtUp(t)
	if _, err := k.events.Get(t.Context(), erased); !errors.Is(err, consumer.ErrNotFound) || body(erased) {
		t.Errorf("once the index has caught up: %v, body there: %t", err, body(erased))
	}
	for _, id := range []string{kept, pending} {
		if _, err := k.events.Get(t.Context(), id); err != nil || !body(id) {
			t.Errorf("another event: %v, body there: %t", err, body(id))
		}
	}
	stopCore(t, k, cancel, ended)
}
