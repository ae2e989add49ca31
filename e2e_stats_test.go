//go:build !nolocal

package main

import (
	"net/http"
	"testing"
	"time"
)

// What an open console is shown follows what is posted, on its whole way to the lake.
func TestStatsFollowTheEvents(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	type look struct {
		Since    string
		Accepted struct{ Events, Bytes int }
		Acks     struct {
			Bounds []float64
			Counts []int
		}
		Sinks []struct {
			Sink         string
			LagSeconds   float64
			BacklogBytes int64
		}
		Stream struct{ Bytes int64 }
		Lake   struct{ Rows, Files, Bytes int64 }
	}
	// A look may be a moment old.
	await := func(what string, is func(look) bool) look {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; {
			var now look
			decode(t, s.must(http.StatusOK, "GET", "/v1/stats", nil).body, &now)
			if is(now) {
				return now
			}
			if time.Now().After(deadline) {
				t.Fatalf("it never came: %s: %+v", what, now)
			}
		}
	}
	first := await("nothing yet", func(l look) bool { return l.Accepted.Events == 0 && l.Lake.Rows == 0 })
	for range 3 {
		s.post([]byte(`{"n": 1}`))
	}
	await("three events, all in the index and none in the lake", func(l look) bool {
		return l.Accepted.Events == 3 && len(l.Sinks) == 2 && l.Sinks[0].BacklogBytes == 0 && l.Sinks[1].BacklogBytes > 0 && l.Sinks[1].LagSeconds > 0
	})
	s.sql("SELECT count(*) FROM events") // flushes
	last := await("three rows", func(l look) bool { return l.Lake.Rows == 3 && l.Sinks[1].BacklogBytes == 0 })
	acks := 0
	for _, n := range last.Acks.Counts {
		acks += n
	}
	if last.Since != first.Since || last.Accepted.Bytes != 24 || acks != 3 || len(last.Acks.Counts) != len(last.Acks.Bounds)+1 ||
		last.Stream.Bytes == 0 || last.Lake.Files == 0 || last.Lake.Bytes == 0 {
		t.Errorf("%+v", last)
	}
}
