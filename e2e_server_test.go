//go:build !nolocal

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary stand in for the real one: with asProgram set it runs main, so that the end-to-end tests
// start, kill and restart the whole program as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	m.Run()
}

const asProgram = "PENSTOCK_TEST_AS_PROGRAM"

// program runs the real program with the given arguments.
func program(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// testWorker is this test binary as a worker of an engine that a test makes.
func testWorker() (*exec.Cmd, error) { return program(context.Background(), "sql-worker"), nil }

// server is a running `penstock local`, or another that says where it listens.
type server struct {
	t     *testing.T
	dir   string
	cmd   *exec.Cmd
	url   string
	s3    string
	admin string
	key   string        // API key of every request, or empty
	done  chan struct{} // closed when the process has ended
	err   error         // how it ended

	mu     sync.Mutex
	stderr bytes.Buffer
}

// startServer starts `penstock local` on free ports over dir and returns when it says that it is ready.
func startServer(t *testing.T, dir string, flags ...string) *server {
	t.Helper()
	s, err := tryServer(t, dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryServer(t *testing.T, dir string, flags ...string) (*server, error) {
	t.Helper()
	args := append([]string{"local", "--data", dir, "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", "--min-free", "64MiB"}, flags...)
	return tryProgram(t, dir, "data", args...)
}

// tryProgram starts a server and returns when it has said the last line of those that say it is ready.
func tryProgram(t *testing.T, dir, last string, args ...string) (*server, error) {
	t.Helper()
	return tryCommand(t, dir, last, program(context.Background(), args...))
}

// tryCommand is tryProgram with a command that is made already.
func tryCommand(t *testing.T, dir, last string, cmd *exec.Cmd) (*server, error) {
	t.Helper()
	s := &server{t: t, dir: dir, cmd: cmd, done: make(chan struct{})}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stderr = s
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(s.kill)
	ready := make(chan struct{})
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if fields := strings.Fields(lines.Text()); len(fields) == 2 {
				switch fields[0] {
				case "HTTP":
					s.url = fields[1]
				case "S3":
					s.s3 = fields[1]
				case "admin":
					s.admin = fields[1]
				}
				if fields[0] == last {
					close(ready)
				}
			}
		}
		s.err = s.cmd.Wait()
	}()
	select {
	case <-ready:
		return s, nil
	case <-s.done:
		return nil, fmt.Errorf("the server ended before it was ready: %w\n%s", errors.Join(s.err, errors.New("exit")), s.log())
	case <-time.After(60 * time.Second):
		s.kill()
		return nil, fmt.Errorf("the server was not ready in a minute\n%s", s.log())
	}
}

func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.Write(p)
}

func (s *server) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.String()
}

// awaitFiles returns as soon as there have been n more files of the pattern in the data directory; older ones may go.
func (s *server) awaitFiles(pattern string, n int) {
	s.t.Helper()
	seen := map[string]bool{}
	look := func() {
		found, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, name := range found {
			seen[name] = true
		}
	}
	look()
	tick := time.NewTicker(time.Millisecond) // the server needs the processor
	defer tick.Stop()
	for before := len(seen); len(seen) < before+n; look() {
		select {
		case <-s.done:
			s.t.Fatalf("the server ended by itself: %v\n%s", s.err, s.log())
		case <-tick.C:
		}
	}
}

// kill is kill -9; harmless on a server that has ended.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.done
	s.noRace()
}

// noRace fails the test when the race detector has spoken: kill -9 leaves it no exit status to set.
func (s *server) noRace() {
	s.t.Helper()
	if log := s.log(); strings.Contains(log, "WARNING: DATA RACE") {
		s.t.Errorf("a data race in the server:\n%s", log)
	}
}

// stop is SIGTERM; the server must exit 0.
func (s *server) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(60 * time.Second):
		s.t.Fatalf("the server did not stop within a minute of SIGTERM\n%s", s.log())
	}
	s.noRace()
	if s.err != nil {
		s.t.Fatalf("after SIGTERM: %v\n%s", s.err, s.log())
	}
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// request does one request; header is alternating names and values.
func (s *server) request(method, path string, body []byte, header ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end below
	read, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, read}, err
}

// must does a request whose answer must have the given status.
func (s *server) must(status int, method, path string, body []byte, header ...string) answer {
	s.t.Helper()
	a, err := s.request(method, path, body, header...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", method, path, err, s.log())
	}
	if a.status != status {
		s.t.Fatalf("%s %s: %d, want %d: %.500s\n%s", method, path, a.status, status, a.body, s.log())
	}
	return a
}

// post sends a JSON document until it is acked, as a client does that honours 503, and returns its id: a disk that others
// keep busy may miss the deadline of an ack.
func (s *server) post(body []byte, header ...string) string {
	s.t.Helper()
	header = append([]string{"Content-Type", "application/json", "Idempotency-Key", rand.Text()}, header...)
	for deadline := time.Now().Add(time.Minute); ; {
		a, err := s.request("POST", "/v1/events", body, header...)
		switch {
		case err != nil:
			s.t.Fatalf("post: %v\n%s", err, s.log())
		case a.status == http.StatusAccepted:
			var ack struct{ ID string }
			decode(s.t, a.body, &ack)
			return ack.ID
		case a.status != http.StatusServiceUnavailable && a.status != http.StatusConflict || time.Now().After(deadline):
			s.t.Fatalf("post: %d %.300s\n%s", a.status, a.body, s.log())
		}
	}
}

// fetch reads a document by id; it waits for the index.
func (s *server) fetch(id string) []byte {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		a, err := s.request("GET", "/v1/events/"+id, nil)
		switch {
		case err != nil:
			s.t.Fatalf("get %s: %v\n%s", id, err, s.log())
		case a.status == http.StatusOK:
			return a.body
		case a.status != http.StatusNotFound || time.Now().After(deadline):
			s.t.Fatalf("get %s: %d %.300s\n%s", id, a.status, a.body, s.log())
		}
	}
}

// sql runs a query to its end and returns its rows, the header first.
func (s *server) sql(query string) [][]string {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"sql": query})
	if err != nil {
		s.t.Fatal(err)
	}
	var execution struct{ ExecutionID, State, Error string }
	decode(s.t, s.must(http.StatusAccepted, "POST", "/v1/queries", body, "Content-Type", "application/json").body, &execution)
	for execution.State == "QUEUED" || execution.State == "RUNNING" {
		a := s.must(http.StatusOK, "GET", "/v1/queries/"+execution.ExecutionID+"?wait=20", nil)
		decode(s.t, a.body, &execution)
		if execution.State != "SUCCEEDED" && execution.State != "QUEUED" && execution.State != "RUNNING" {
			s.t.Fatalf("%s: %s\n%s", query, a.body, s.log())
		}
	}
	a := s.must(http.StatusOK, "GET", "/v1/queries/"+execution.ExecutionID+"/result", nil)
	rows, err := csv.NewReader(bytes.NewReader(a.body)).ReadAll()
	if err != nil {
		s.t.Fatalf("%s: the result is not CSV: %v", query, err)
	}
	return rows
}

func decode(t *testing.T, body []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%v in %.300s", err, body)
	}
}
