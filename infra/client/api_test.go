package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"penstock/infra/client"
	"penstock/infra/client/clienttest"
	"penstock/schemas"
)

// stored posts one document and returns its id.
func stored(t *testing.T, c *client.Client, body []byte) string {
	t.Helper()
	d := c.Deliver(t.Context(), t.Context(), client.Submission{Body: body}, quick)
	if d.Err != nil || d.Receipts[0].Err != nil {
		t.Fatal(d.Err, d.Receipts[0].Err)
	}
	return d.Receipts[0].ID
}

func TestGet(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Pending = 3
	c := connect(t, server.URL, 0)
	body := []byte(" {\"a\":\r\n1.0}\n")
	id := stored(t, c, body)
	for _, envelope := range []bool{false, true} {
		in, err := c.Get(t.Context(), id, envelope, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		if err = errors.Join(err, in.Close()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(got, body) || (len(got) > len(body)) != envelope {
			t.Errorf("envelope %v: %q", envelope, got)
		}
	}
}

func TestGetFailures(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Damage = true
	c := connect(t, server.URL, 0)
	in, err := c.Get(t.Context(), stored(t, c, []byte("[1,2]")), false, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(in); !errors.Is(err, client.ErrDamaged) {
		t.Errorf("a damaged document: %v", err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	var problem *client.Problem
	if _, err := c.Get(t.Context(), schemas.NewID(time.Now()), false, time.Minute); !errors.As(err, &problem) || problem.Kind() != "event-unknown" {
		t.Errorf("an unknown id: %v", err)
	}
	if _, err := c.Get(t.Context(), "../queries", false, 0); err == nil {
		t.Error("a malformed id was asked for")
	}
	server.Pending = 1 << 30
	start := time.Now()
	if _, err := c.Get(t.Context(), schemas.NewID(time.Now()), false, 150*time.Millisecond); !errors.As(err, &problem) || problem.Kind() != "event-pending" {
		t.Errorf("a pending id: %v", err)
	}
	if waited := time.Since(start); waited < 150*time.Millisecond {
		t.Errorf("gave up after %v", waited)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, cfg := range []client.Config{
		{URL: ""}, {URL: "localhost:8080"}, {URL: "ftp://x"}, {URL: "http://user:hunter2@x"}, {URL: "http://x?key=hunter2"},
		{URL: "http://x", Key: "hunter2\n"}, {URL: "http://hunter2 hunter2/"},
	} {
		_, err := client.New(cfg)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestRedirectIsAnError(t *testing.T) {
	t.Parallel()
	other := clienttest.New(t)
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	d := connect(t, server.URL, 0).Deliver(t.Context(), t.Context(), client.Submission{Body: []byte("1")}, quick)
	if d.Err == nil || !strings.Contains(d.Err.Error(), other.URL) || other.Posts() > 0 || d.Tries != 1 {
		t.Errorf("%d tries, %d posts: %v", d.Tries, other.Posts(), d.Err)
	}
}

func TestAnswerOfAnotherServer(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"<html>", `{"id":"short"}`, `{"items":[]}`, `{"items":[{"status":202}]}`} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, answer) // the client may be gone
		}))
		for _, lines := range []int{0, 1} {
			d := connect(t, server.URL, 0).Deliver(t.Context(), t.Context(), client.Submission{Body: []byte("1\n"), Lines: lines}, quick)
			if d.Err == nil || d.Receipts[0].Err == nil || !d.Receipts[0].Unsure {
				t.Errorf("%s taken for an ack: %+v", answer, d)
			}
		}
		server.Close()
	}
}

// executions is a server of one query that goes through the given states, the last of which is an end unless it holds. A nil breaks the
// connection.
func executions(t *testing.T, holds bool, states ...map[string]any) (*clienttest.Server, *atomic.Int32, *atomic.Int32) {
	t.Helper()
	sent, cancelled := &atomic.Int32{}, &atomic.Int32{}
	server := clienttest.New(t)
	server.Handle = func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "POST /v1/queries":
			clienttest.Answer(w, 202, map[string]any{"executionId": "q1", "state": "QUEUED"})
		case "GET /v1/ws":
			clienttest.Push(w, r, func(id string, send func(any)) bool {
				for n := int(sent.Load()); n < len(states); n++ {
					sent.Add(1)
					if states[n] == nil {
						return true
					}
					detail := states[n]["error"]
					delete(states[n], "error")
					states[n]["type"] = "state"
					send(states[n])
					if detail != nil {
						send(map[string]any{"type": "error", "executionId": id, "title": "The query failed", "detail": detail})
					}
				}
				if !holds {
					send(map[string]any{"type": "result", "executionId": id})
				}
				return false
			})
		case "DELETE /v1/queries/q1":
			cancelled.Add(1)
			w.WriteHeader(http.StatusNoContent)
		case "GET /v1/queries/q1/result":
			_, _ = io.WriteString(w, "\"n\"\n\"1\"\n") // the client may be gone
		default:
			clienttest.Refuse(w, clienttest.Fault{Status: 404, Kind: "not-found"}, r.URL.Path)
		}
	}
	return server, sent, cancelled
}

func ignore(client.Execution) {}

func TestQuery(t *testing.T) {
	t.Parallel()
	server, sent, _ := executions(t, false,
		map[string]any{"executionId": "q1", "state": "QUEUED"},
		nil, // the connection breaks, and is made again
		map[string]any{"executionId": "q1", "state": "RUNNING"},
		map[string]any{
			"executionId": "q1", "state": "SUCCEEDED", "completeThrough": "2026-01-02T03:04:05.000000Z",
			"statistics": map[string]int{"rows": 1, "scannedBytes": 20, "elapsedMilliseconds": 3},
		})
	c := connect(t, server.URL, 0)
	started, err := c.StartQuery(t.Context(), "SELECT 1", []string{"x"}, quick)
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	e, err := c.FollowQuery(t.Context(), started.ExecutionID, quick, func(e client.Execution) { states = append(states, e.State) })
	if err != nil || strings.Join(states, " ") != "QUEUED RUNNING SUCCEEDED" || e.Statistics.Rows != 1 || e.Statistics.ElapsedMilliseconds != 3 || e.CompleteThrough.Year() != 2026 {
		t.Fatalf("%+v after %v, %d: %v", e, states, sent.Load(), err)
	}
	result, err := c.Result(t.Context(), e.ExecutionID, quick)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(result)
	if err = errors.Join(err, result.Close()); err != nil || string(got) != "\"n\"\n\"1\"\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestQueryFails(t *testing.T) {
	t.Parallel()
	server, _, _ := executions(t, false, map[string]any{"executionId": "q1", "state": "FAILED", "error": "line 1: no such \x1b[31mcolumn"})
	_, err := connect(t, server.URL, 0).FollowQuery(t.Context(), "q1", quick, ignore)
	var failed *client.QueryError
	if !errors.As(err, &failed) || failed.State != "FAILED" || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "no such") {
		t.Errorf("%v", err)
	}
}

func TestQueryFollowEndsWithContext(t *testing.T) {
	t.Parallel()
	server, asked, cancelled := executions(t, true, map[string]any{"executionId": "q1", "state": "RUNNING"})
	c := connect(t, server.URL, 0)
	own := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for asked.Load() == 0 {
			<-time.After(time.Millisecond)
		}
		cancel(own)
	}()
	if _, err := c.FollowQuery(ctx, "q1", quick, ignore); !errors.Is(err, own) {
		t.Errorf("%v", err)
	}
	if err := c.CancelQuery(t.Context(), "q1"); err != nil || cancelled.Load() != 1 {
		t.Errorf("%v", err)
	}
}

// A result whose connection breaks must not look like a short one.
func TestResultBreaksOff(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Handle = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("\"x\"\n"), 10_000))
		panic(http.ErrAbortHandler)
	}
	in, err := connect(t, server.URL, 0).Result(t.Context(), "q1", quick)
	if err == nil {
		_, err = io.ReadAll(in)
		err = errors.Join(err, in.Close())
	}
	if err == nil {
		t.Error("no error")
	}
}

// Only the server may not stand still; a reader behind a pager may.
func TestResultWaitsForItsReader(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Handle = func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("\"x\"\n"), 1_000_000)) // the client may be gone
		if strings.Contains(r.URL.Path, "stuck") {
			<-r.Context().Done()
		}
	}
	c := connect(t, server.URL, time.Second)
	for _, id := range []string{"q1", "stuck"} {
		stuck := id == "stuck"
		in, err := c.Result(t.Context(), id, quick)
		if err != nil {
			t.Fatal(err)
		}
		if !stuck {
			timer := time.NewTimer(1500 * time.Millisecond) // longer than the server may stand still
			<-timer.C
		}
		got, err := io.ReadAll(in)
		if len(got) != 4_000_000 || (err != nil) != stuck {
			t.Errorf("stuck %v: %d bytes, %v", stuck, len(got), err)
		}
		if err := in.Close(); err != nil && !stuck {
			t.Error(err)
		}
	}
}

// A statement whose answer was lost is sent again under the same key, so that it is started once.
func TestStartQueryAfterLostAnswer(t *testing.T) {
	t.Parallel()
	keys := make(chan string, 10)
	posts := atomic.Int32{}
	server := clienttest.New(t)
	server.Handle = func(w http.ResponseWriter, r *http.Request) {
		keys <- r.Header.Get("Idempotency-Key")
		switch posts.Add(1) {
		case 1:
			clienttest.Refuse(w, clienttest.Fault{Status: 503, Kind: "queries-busy"}, "busy")
		case 2:
			panic(http.ErrAbortHandler)
		default:
			clienttest.Answer(w, 202, map[string]any{"executionId": "q1", "state": "QUEUED"})
		}
	}
	e, err := connect(t, server.URL, 0).StartQuery(t.Context(), "SELECT 1", nil, quick)
	first, second, third := <-keys, <-keys, <-keys
	if err != nil || e.ExecutionID != "q1" || first == "" || second != first || third != first {
		t.Errorf("%+v, %v; keys %q, %q, %q", e, err, first, second, third)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	var requests []string
	server := clienttest.New(t)
	server.Handle = func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method+" "+r.URL.RequestURI())
		letter := func(sub string) map[string]any {
			return map[string]any{"sink": "lake", "shard": "s/0", "position": "12/" + sub, "reason": "no", "arrived": "2026-01-02T03:04:05Z"}
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/requeue"):
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path != "/v1/dead-letters":
			one := letter("0")
			one["raw"] = []byte{1, 2}
			clienttest.Answer(w, 200, one)
		case r.URL.Query().Get("after") == "":
			clienttest.Answer(w, 200, map[string]any{"items": []any{letter("0"), letter("1")}, "next": "s/0/12/1"})
		default:
			clienttest.Answer(w, 200, map[string]any{"items": []any{letter("2")}})
		}
	}
	c := connect(t, server.URL, 0)
	var places []string
	for letter, err := range c.DeadLetters(t.Context(), "lake", "") {
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, letter.Place())
	}
	equal(t, places, []string{"s/0/12/0", "s/0/12/1", "s/0/12/2"})
	letter, err := c.GetDeadLetter(t.Context(), "lake", places[0])
	if err != nil || !bytes.Equal(letter.Raw, []byte{1, 2}) {
		t.Errorf("%+v, %v", letter, err)
	}
	if err := c.Requeue(t.Context(), "lake", places[1]); err != nil {
		t.Error(err)
	}
	equal(t, requests, []string{
		"GET /v1/dead-letters?limit=500&sink=lake", "GET /v1/dead-letters?after=s%2F0%2F12%2F1&limit=500&sink=lake",
		"GET /v1/dead-letters/lake/s%2F0/12/0", "POST /v1/dead-letters/lake/s%2F0/12/1/requeue",
	})
	for _, place := range []string{"", "12/0", "s/x/1", "s/1/../../..", "/1/2"} {
		if err := c.Requeue(t.Context(), "lake", place); err == nil {
			t.Errorf("%q was taken for a place", place)
		}
	}
	if len(requests) != 4 {
		t.Errorf("requests %q", requests[4:])
	}
}

func TestLake(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Handle = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"table":"penstock.events","snapshotId":"9007199254740993","snapshots":2,"committed":"2026-01-02T03:04:05Z",
			"rows":3,"dataFiles":1,"dataBytes":100,"completeThrough":"0001-01-01T00:00:00Z","shards":[{"shard":"s","position":"1/0","end":true}],"later":1}`)
	}
	status, raw, err := connect(t, server.URL, 0).Lake(t.Context())
	if err != nil || status.SnapshotID != 9007199254740993 || !status.Shards[0].End || !json.Valid(raw) {
		t.Errorf("%+v, %v", status, err)
	}
}
