package client_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"penstock/infra/client"
	"penstock/infra/client/clienttest"
	"penstock/schemas"
)

// quick retries without making a test wait.
var quick = client.Retry{For: 20 * time.Second, Base: time.Millisecond, Max: 10 * time.Millisecond}

func connect(t *testing.T, url string, idle time.Duration) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: url, Idle: idle})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// sent runs a sender over paths and returns what it reported.
func sent(t *testing.T, s *client.Sender, paths ...string) ([]client.Outcome, client.Tally, error) {
	t.Helper()
	if s.Retry.For == 0 {
		s.Retry = quick
	}
	return collected(t.Context(), s, paths...)
}

// sentUntil is sent for one request that never succeeds: it is cancelled after its given number of tries, however long
// they take.
func sentUntil(
	ctx context.Context, s *client.Sender, tries int, cancel func(), paths ...string,
) ([]client.Outcome, client.Tally, error) {
	waits := 0
	s.Retry.Waiting = func(error, time.Duration) {
		if waits++; waits == tries {
			cancel()
		}
	}
	return collected(ctx, s, paths...)
}

func collected(ctx context.Context, s *client.Sender, paths ...string) ([]client.Outcome, client.Tally, error) {
	if s.Concurrency == 0 {
		s.Concurrency = 4
	}
	var outcomes []client.Outcome
	var tally client.Tally
	err := s.Send(ctx, paths, func(o client.Outcome) {
		outcomes = append(outcomes, o)
		tally.Add(o)
	})
	return outcomes, tally, err
}

func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// received is what the server has for every receipt, in the order of the reports.
func received(t *testing.T, server *clienttest.Server, outcomes []client.Outcome) (bodies []string) {
	t.Helper()
	for _, o := range outcomes {
		for _, r := range o.Receipts {
			if r.Err != nil {
				continue
			}
			event, ok := server.Event(r.ID)
			if !ok {
				t.Fatalf("the server has no event %s", r.ID)
			}
			bodies = append(bodies, string(event.Body))
		}
	}
	return bodies
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d: %.300q", len(got), len(want), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("event %d is %.200q, want %.200q", i, got[i], want[i])
		}
	}
}

func TestSendKeepsBytesAndOrder(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	dir := t.TempDir()
	whole := " \n{\"b\":1.50,\"a\":\"\\u00e4\",\"b\":2}\n\n"
	write(t, dir, "a.json", []byte(whole))
	write(t, dir, "b/lines.ndjson", []byte("{\"n\": 1}\r\n\n  \t\n [2] \n\"last\""))
	write(t, dir, "c.json.gz", zipped(t, []byte("{\"zipped\":true}")))
	write(t, dir, "d.jsonl.gz", zipped(t, []byte("10\n11\n")))
	write(t, dir, "notes.txt", []byte("no event"))
	extent, err := client.Measure([]string{dir})
	if err != nil || extent.Files != 4 || extent.Skipped != 1 || extent.Unbounded {
		t.Fatalf("measured %+v, %v", extent, err)
	}

	outcomes, tally, err := sent(t, &client.Sender{
		Client: connect(t, server.URL, 0), Attributes: client.Attributes{Type: "a type&more", PartitionKey: "k"},
	}, dir)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, received(t, server, outcomes), []string{whole, `{"n": 1}`, " [2] ", `"last"`, `{"zipped":true}`, "10", "11"})
	if tally.Accepted != 7 || tally.Rejected+tally.Unsent+tally.Unconfirmed != 0 {
		t.Errorf("tally %+v", tally)
	}
	var places []string
	consumed := int64(0)
	for _, o := range outcomes {
		consumed += o.Consumed
		for _, origin := range o.Origins {
			places = append(places, client.Place(filepath.Base(o.Path), origin.Position))
		}
	}
	equal(t, places, []string{"a.json", "lines.ndjson:1", "lines.ndjson:4", "lines.ndjson:5", "c.json.gz", "d.jsonl.gz:1", "d.jsonl.gz:2"})
	if consumed != extent.Bytes {
		t.Errorf("consumed %d of %d bytes", consumed, extent.Bytes)
	}
	for _, e := range server.Events() {
		if e.Attributes.Get("type") != "a type&more" || e.Attributes.Get("partitionkey") != "k" || len(e.Attributes) != 2 {
			t.Errorf("attributes %v", e.Attributes)
		}
		if e.Gzipped != (string(e.Body) == `{"zipped":true}`) {
			t.Errorf("%s gzipped: %v", e.Body, e.Gzipped)
		}
	}
}

func TestSendSplitsArrays(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	dir := t.TempDir()
	array := write(t, dir, "array.json", []byte(" \n[ {\"a\" : 1.0} ,\n{\n  \"b\": [1,\n2]\n}, \"x\\n\" ,3e0]\n"))
	object := write(t, dir, "object.json", []byte("  {\"not\":[\"an array\"]} "))
	empty := write(t, dir, "empty.json", []byte("[ ]"))
	zip := write(t, dir, "zip.json.gz", zipped(t, []byte("[true]")))
	outcomes, _, err := sent(t, &client.Sender{Client: connect(t, server.URL, 0), Split: true}, array, object, empty, zip)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, received(t, server, outcomes), []string{
		`{"a" : 1.0}`, "{\n  \"b\": [1,\n2]\n}", `"x\n"`, "3e0", `  {"not":["an array"]} `, "true",
	})
	for _, e := range server.Events() {
		alone := strings.Contains(string(e.Body), "\n") || strings.Contains(string(e.Body), "not")
		if e.Line == alone {
			t.Errorf("%q came in a batch: %v", e.Body, e.Line)
		}
	}
}

func TestSendReportsBrokenArray(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"[1,2", "[1,2,}", "[1,2] 3", "[1,2,", "[1 2"} {
		server := clienttest.New(t)
		path := write(t, t.TempDir(), "a.json", []byte(content))
		_, tally, err := sent(t, &client.Sender{Client: connect(t, server.URL, 0), Split: true}, path)
		if err != nil || tally.Rejected != 1 || tally.Accepted > 2 {
			t.Errorf("%s: %+v, %v", content, tally, err)
		}
	}
}

// A lost answer must not make a second event, and a refused try no hole.
func TestSendRetriesWithOneKey(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Fault = func(n int) clienttest.Fault {
		return []clienttest.Fault{
			{Lose: true}, {Status: 503, Kind: "overloaded"}, {}, {Drop: true}, {Status: 429, Kind: "rate"}, {Items: []int{0, 2}}, {Status: 502},
		}[n%7]
	}
	var input strings.Builder
	var want []string
	for i := range 5_000 {
		fmt.Fprintf(&input, "{\"n\":%d}\n", i)
		want = append(want, fmt.Sprintf("{\"n\":%d}", i))
	}
	dir := t.TempDir()
	paths := []string{write(t, dir, "a.ndjson", []byte(input.String()))}
	for i := range 20 {
		doc := fmt.Sprintf("[%d]", i)
		paths = append(paths, write(t, dir, fmt.Sprintf("%02d.json", i), []byte(doc)))
		want = append(want, doc)
	}
	waits := atomic.Int64{}
	retry := quick
	retry.Waiting = func(error, time.Duration) { waits.Add(1) }
	outcomes, tally, err := sent(t, &client.Sender{Client: connect(t, server.URL, 0), Retry: retry}, paths...)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, received(t, server, outcomes), want)
	if n := len(server.Events()); n != len(want) {
		t.Errorf("%d events are stored, want %d", n, len(want))
	}
	if tally.Retries == 0 || tally.Retries != waits.Load() || tally.Requests != int64(len(outcomes))+tally.Retries {
		t.Errorf("tally %+v, %d waits", tally, waits.Load())
	}
}

// What was acked once stays acked, whatever a later try of the same batch says.
func TestSendKeepsTheFirstAck(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Fault = func(n int) clienttest.Fault { return clienttest.Fault{Items: []int{0, 1}[:min(n, 2)]} }
	path := write(t, t.TempDir(), "a.ndjson", []byte("0\n1\n2\n"))
	ctx, cancel := context.WithCancel(t.Context())
	outcomes, tally, err := sentUntil(ctx, &client.Sender{Client: connect(t, server.URL, 0), Retry: quick}, 3, cancel, path)
	if err == nil || tally.Accepted != 2 || tally.Unsent != 1 || tally.Retries != 2 {
		t.Errorf("accepted %d, unsent %d, retries %d: %v", tally.Accepted, tally.Unsent, tally.Retries, err)
	}
	equal(t, received(t, server, outcomes), []string{"1", "2"})
}

func TestSendReportsBadLinesByPlace(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Fault = func(n int) clienttest.Fault {
		if n == 1 {
			return clienttest.Fault{Items: []int{2}} // worth another try, in which the bad line is judged again
		}
		return clienttest.Fault{}
	}
	path := write(t, t.TempDir(), "a.ndjson", []byte("1\n\n{bad}\n3\n"))
	outcomes, tally, err := sent(t, &client.Sender{Client: connect(t, server.URL, 0)}, path)
	if err != nil {
		t.Fatal(err)
	}
	if tally.Accepted != 2 || tally.Rejected != 1 || tally.Retries != 1 {
		t.Errorf("tally %+v", tally)
	}
	var problem *client.Problem
	if !errors.As(outcomes[0].Receipts[1].Err, &problem) || problem.Status != 400 || problem.Offset == nil || *problem.Offset != 2 ||
		problem.Detail != "broken." || outcomes[0].Origins[1].Position != 3 {
		t.Errorf("the bad line: %+v at %+v", outcomes[0].Receipts[1].Err, outcomes[0].Origins[1])
	}
}

func TestSendLargeDocuments(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	dir := t.TempDir()
	quoted := func(n int) []byte { return []byte(`"` + strings.Repeat("x", n-2) + `"`) }
	most, over := quoted(schemas.MaxBody), quoted(schemas.MaxBody+1)
	outcomes, tally, err := sent(t, &client.Sender{Client: connect(t, server.URL, 0), Split: true},
		write(t, dir, "over.json", over),
		write(t, dir, "over.json.gz", zipped(t, over)), // only the server can tell
		write(t, dir, "most.json", most),
		write(t, dir, "lines.ndjson", bytes.Join([][]byte{[]byte("1"), most, over, []byte("4")}, []byte("\r\n"))),
		write(t, dir, "array.json", bytes.Join([][]byte{[]byte("[1"), most, over, []byte("4]")}, []byte(","))),
	)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, received(t, server, outcomes), []string{string(most), "1", string(most), "4", "1", string(most), "4"})
	if tally.Rejected != 4 {
		t.Errorf("%d rejected, want 4", tally.Rejected)
	}
}

func TestSendStopsWhenServerKnowsNoKey(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Key = "right"
	path := write(t, t.TempDir(), "a.ndjson", []byte(strings.Repeat("1\n", 100_000)))
	outcomes, tally, err := sent(t, &client.Sender{Client: connect(t, server.URL, 0), Concurrency: 1}, path)
	var problem *client.Problem
	var stopped *client.StoppedError
	if !errors.As(err, &stopped) || !errors.As(err, &problem) || problem.Status != 401 || stopped.Position < 1001 {
		t.Errorf("error %v", err)
	}
	if len(outcomes) > 3 || tally.Rejected == 0 || len(server.Events()) > 0 {
		t.Errorf("%d outcomes, %+v", len(outcomes), tally)
	}
}

func TestSendGivesUpAfterPatience(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Fault = func(int) clienttest.Fault { return clienttest.Fault{Status: 503, Kind: "storage-full", RetryAfter: 30} }
	path := write(t, t.TempDir(), "a.json", []byte("1"))
	start := time.Now()
	_, tally, err := sent(t, &client.Sender{Client: connect(t, server.URL, 0)}, path)
	if err == nil || tally.Unsent != 1 || server.Posts() != 1 || time.Since(start) > 10*time.Second {
		t.Errorf("%+v after %d posts: %v", tally, server.Posts(), err)
	}
}

func TestSendUnreachable(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Close()
	path := write(t, t.TempDir(), "a.json", []byte("1"))
	ctx, cancel := context.WithCancel(t.Context())
	outcomes, tally, err := sentUntil(ctx, &client.Sender{Client: connect(t, server.URL, 0), Retry: quick}, 3, cancel, path)
	if err == nil || tally.Unsent != 1 || tally.Retries != 2 {
		t.Errorf("unsent %d, retries %d: %v", tally.Unsent, tally.Retries, err)
	}
	if text := client.Explain(outcomes[0].Err); !strings.Contains(text, server.URL) || !strings.Contains(text, "penstock local") {
		t.Errorf("explained as %q", text)
	}
}

// An answer that never comes leaves the outcome open, and is told so.
func TestSendUnconfirmed(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Fault = func(int) clienttest.Fault { return clienttest.Fault{Hang: true} }
	path := write(t, t.TempDir(), "a.json", []byte("1"))
	retry := client.Retry{For: time.Millisecond, Base: 10 * time.Millisecond}
	_, tally, err := sent(t, &client.Sender{Client: connect(t, server.URL, time.Second), Retry: retry}, path)
	if err == nil || tally.Unconfirmed != 1 || len(server.Events()) != 1 {
		t.Errorf("tally %+v, %d stored", tally, len(server.Events()))
	}
}

func TestSendInterrupted(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	server.Fault = func(n int) clienttest.Fault {
		if n == 3 {
			cancel() // while a request is under way: its answer is still awaited
		}
		return clienttest.Fault{}
	}
	path := write(t, t.TempDir(), "a.ndjson", []byte(strings.Repeat("1\n", 100_000)))
	var tally client.Tally
	s := &client.Sender{Client: connect(t, server.URL, 0), Concurrency: 2, Retry: quick}
	err := s.Send(ctx, []string{path}, tally.Add)
	var stopped *client.StoppedError
	if !errors.As(err, &stopped) || !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if tally.Accepted != int64(len(server.Events())) || tally.Accepted != int64(stopped.Position-1) || tally.Unconfirmed != 0 {
		t.Errorf("%+v; %d stored; stopped at %d", tally, len(server.Events()), stopped.Position)
	}
}

// A slow pipe's lines don't wait for company.
func TestSendStdinFollows(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	in, out := io.Pipe()
	ids := make(chan client.Outcome)
	done := make(chan error)
	s := &client.Sender{Client: connect(t, server.URL, 0), Concurrency: 2, Retry: quick, Stdin: in}
	go func() { done <- s.Send(t.Context(), []string{client.Stdin}, func(o client.Outcome) { ids <- o }) }()
	for i, line := range []string{"{\"n\"", ":1}\n2\n"} {
		if _, err := io.WriteString(out, line); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue // half a line: nothing may be sent
		}
		o := <-ids
		equal(t, received(t, server, []client.Outcome{o}), []string{`{"n":1}`, "2"})
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// endless is NDJSON that counts what was taken from it.
type endless struct {
	line  []byte
	left  int64
	taken atomic.Int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n+len(e.line) <= len(p) && e.left > 0 {
		n += copy(p[n:], e.line)
		e.left--
	}
	e.taken.Add(int64(n))
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// A server that does not answer must stop the reading: memory is bounded by the requests under way.
func TestSendStdinBounded(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	gate := make(chan struct{})
	arrived := make(chan struct{}, 100)
	server.Fault = func(int) clienttest.Fault {
		arrived <- struct{}{}
		<-gate
		return clienttest.Fault{}
	}
	in := &endless{line: []byte(`"` + strings.Repeat("y", 8_000) + "\"\n"), left: 5_000} // 40 MB
	s := &client.Sender{Client: connect(t, server.URL, 0), Concurrency: 3, Retry: quick, Stdin: in}
	var tally client.Tally
	done := make(chan error)
	go func() { done <- s.Send(t.Context(), []string{client.Stdin}, tally.Add) }()
	<-arrived // the fake holds its lock meanwhile, so the others wait behind it
	for last := int64(-1); last != in.taken.Load(); {
		last = in.taken.Load()
		timer := time.NewTimer(300 * time.Millisecond)
		<-timer.C
	}
	// Three batches of at most 4 MiB, and buffers of 64 KiB.
	if taken := in.taken.Load(); taken > 3*4<<20+1<<20 {
		t.Errorf("%d bytes were read though no request was answered", taken)
	}
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if tally.Accepted != 5_000 {
		t.Errorf("tally %+v", tally)
	}
}

func TestMeasureRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, paths := range [][]string{
		nil, {filepath.Join(dir, "missing.json")}, {write(t, dir, "x.txt", nil)}, {dir}, {"-", "-"},
	} {
		if e, err := client.Measure(paths); err == nil {
			t.Errorf("%v: measured %+v", paths, e)
		}
	}
}
