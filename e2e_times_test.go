//go:build !nolocal

package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

// What is promised in seconds, on a machine that does nothing else: this test is not parallel, so that it runs before all
// that are.
//
//nolint:paralleltest // the others would skew it
func TestPromisedTimes(t *testing.T) {
	dir, l := t.TempDir(), newLoad()
	s := startServer(t, dir)

	// At low load an event can be read by its id within 100 ms of its ack.
	var visible []time.Duration
	for n := range 20 {
		id := s.post(fmt.Appendf(nil, `{"n": %d}`, n))
		acked := time.Now()
		s.fetch(id)
		visible = append(visible, time.Since(acked))
	}
	slices.Sort(visible)
	t.Logf("readable after %v (median), %v (longest)", visible[len(visible)/2], visible[len(visible)-1])
	if median := visible[len(visible)/2]; median > 100*time.Millisecond*raceFactor {
		t.Errorf("events can be read %v after their ack (median of %d)", median, len(visible))
	}

	// After kill -9 under load it is ready, and has answered the first SQL, within 5 s.
	for round := range 2 {
		l.loadAndEnd(t, s, round, 1, s.kill)
		began := time.Now()
		s = startServer(t, dir)
		ready := time.Since(began)
		s.must(http.StatusOK, "GET", "/readyz", nil)
		s.sql("SELECT count(*) FROM events")
		answered := time.Since(began)
		t.Logf("ready after %v, first SQL after %v", ready, answered)
		if answered > 5*time.Second*raceFactor {
			t.Errorf("ready %v after the start, first SQL after %v", ready, answered)
		}
	}
	s.stop()
}
