//go:build !nolocal

package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

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
