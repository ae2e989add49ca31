package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"penstock/infra/client/clienttest"
	"penstock/schemas"
)

const resultCSV = "\"type\",\"n\"\n\"PushEvent\",\"12\"\n,\"3\"\n"

// queryServer answers every query with resultCSV once asked becomes true, and remembers the last one.
type queryServer struct {
	*clienttest.Server
	running   chan struct{} // one for each who subscribed
	never     bool          // queries don't end
	failure   string
	cancelled atomic.Bool
	last      atomic.Pointer[map[string]any]
}

func newQueryServer(t *testing.T) *queryServer {
	q := &queryServer{Server: clienttest.New(t), running: make(chan struct{}, 100)}
	q.Handle = func(w http.ResponseWriter, r *http.Request) {
		state := map[string]any{
			"executionId": "q1", "state": "SUCCEEDED", "completeThrough": "2026-01-02T03:04:05.678000Z",
			"statistics": map[string]int{"rows": 2, "scannedBytes": 2_000_000, "elapsedMilliseconds": 35},
		}
		switch r.Method + " " + r.URL.Path {
		case "POST /v1/queries":
			var body map[string]any
			_ = json.NewDecoder(r.Body).Decode(&body) // nil shows in the test
			q.last.Store(&body)
			clienttest.Answer(w, 202, map[string]string{"executionId": "q1", "state": "QUEUED"})
		case "GET /v1/ws":
			clienttest.Push(w, r, func(id string, send func(any)) bool {
				send(map[string]string{"type": "state", "executionId": id, "state": "RUNNING"})
				q.running <- struct{}{}
				switch {
				case q.never:
				case q.failure != "":
					send(map[string]string{"type": "state", "executionId": id, "state": "FAILED"})
					send(map[string]string{"type": "error", "executionId": id, "detail": q.failure})
				default:
					state["type"] = "state"
					send(state)
					send(map[string]string{"type": "result", "executionId": id})
				}
				return false
			})
		case "GET /v1/queries/q1/result":
			_, _ = io.WriteString(w, resultCSV) // the client may be gone
		case "DELETE /v1/queries/q1":
			q.cancelled.Store(true)
			clienttest.Answer(w, 200, state)
		}
	}
	return q
}

func TestQueryCommand(t *testing.T) {
	t.Parallel()
	q := newQueryServer(t)
	want := " type      │  n\n───────────┼────\n PushEvent │ 12\n NULL      │  3\n" +
		"(2 rows, 35ms, 2.0 MB scanned, complete through 2026-01-02 03:04:05.678 UTC)\n"
	if got := prints(t, q.Server, "query", "SELECT 1"); got != want {
		t.Errorf("table:\n%s\nwant:\n%s", got, want)
	}
	if got := prints(t, q.Server, "query", "SELECT 1", "--format", "csv"); got != resultCSV {
		t.Errorf("csv %q", got)
	}
	if got := prints(t, q.Server, "query", "SELECT 1", "--json"); got != `{"type":"PushEvent","n":"12"}`+"\n"+`{"type":null,"n":"3"}`+"\n" {
		t.Errorf("json %s", got)
	}
	file := filepath.Join(t.TempDir(), "out.csv")
	prints(t, q.Server, "query", "SELECT 1", "--format", "csv", "-o", file)
	if got, err := os.ReadFile(file); err != nil || string(got) != resultCSV {
		t.Errorf("file %q, %v", got, err)
	}
	terminal := console{width: 80}
	if err := terminal.command(t.Context(), t, q.Server, "query", "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	contains(t, terminal.stdout.String(), "\x1b[2mNULL\x1b[0m")
}

func TestQueryCommandSendsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	q := newQueryServer(t)
	c := console{stdin: strings.NewReader("SELECT ?,\n?")}
	if err := c.command(t.Context(), t, q.Server, "query", "-", "--param", "a,b", "--param", "", "--format", "csv"); err != nil {
		t.Fatal(err)
	}
	sent, err := json.Marshal(*q.last.Load())
	if err != nil || string(sent) != `{"parameters":["a,b",""],"sql":"SELECT ?,\n?"}` {
		t.Errorf("%s, %v", sent, err)
	}
	for _, sql := range []string{" \n", strings.Repeat("x", schemas.MaxSQL+1)} {
		c := console{stdin: strings.NewReader(sql)}
		if err := c.command(t.Context(), t, q.Server, "query", "-"); err == nil {
			t.Errorf("SQL of %d bytes was taken", len(sql))
		}
	}
}

func TestQueryCommandFails(t *testing.T) {
	t.Parallel()
	q := newQueryServer(t)
	q.failure = "no such column: x"
	var c console
	err := c.command(t.Context(), t, q.Server, "query", "SELECT x")
	if err == nil || c.stdout.Len() > 0 {
		t.Fatalf("%v, %q", err, &c.stdout)
	}
	contains(t, err.Error(), "FAILED", q.failure)
}

func TestQueryCommandCancels(t *testing.T) {
	t.Parallel()
	for _, timeout := range []string{"50ms", "1h"} {
		q := newQueryServer(t)
		q.never = true
		ctx, cancel := context.WithCancel(t.Context())
		if timeout == "1h" {
			go func() { <-q.running; cancel() }()
		}
		terminal := console{width: 80}
		err := terminal.command(ctx, t, q.Server, "query", "SELECT 1", "--timeout", timeout)
		cancel()
		if err == nil || !q.cancelled.Load() {
			t.Fatalf("cancelled %v: %v", q.cancelled.Load(), err)
		}
		contains(t, err.Error(), "q1", "cancelled")
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("says nothing to people: %v", err)
		}
	}
}
