package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything is waited for. It only ends tests that fail.
const patience = time.Minute

// server is a running `penstock local`.
type server struct {
	t    *testing.T
	dir  string
	args []string
	url  string
	key  string // API key of every request, or empty

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended

	mu  sync.Mutex
	log bytes.Buffer
}

// startServer starts the program on free ports, and ends it with the test.
func startServer(t *testing.T, flags ...string) *server {
	t.Helper()
	if os.Getenv("PENSTOCK_E2E") == "" {
		t.Skip("runs in `make e2e`, which builds the program; it needs Chromium")
	}
	s := &server{t: t, dir: t.TempDir(), args: flags}
	s.start("127.0.0.1:0")
	t.Cleanup(s.kill)
	return s
}

// start returns when the program says that it is ready.
func (s *server) start(listen string) {
	s.t.Helper()
	args := append([]string{"local", "--data", s.dir, "--listen", listen, "--s3-listen", "127.0.0.1:0", "--min-free", "64MiB"}, s.args...)
	s.cmd = exec.CommandContext(context.Background(), os.Getenv("PENSTOCK_E2E"), args...)
	s.cmd.Stderr = s
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			switch fields := strings.Fields(lines.Text()); {
			case len(fields) != 2:
			case fields[0] == "HTTP":
				s.url = fields[1]
			case fields[0] == "data": // the last line
				close(ready)
			}
		}
		_ = s.cmd.Wait() // it was killed
	}()
	select {
	case <-ready:
	case <-s.done:
		s.t.Fatalf("the server ended before it was ready\n%s", s.said())
	case <-time.After(patience):
		s.t.Fatalf("the server is not ready\n%s", s.said())
	}
}

// restart kills the server as hard as it goes, and starts it at the same address.
func (s *server) restart(meanwhile func()) {
	s.t.Helper()
	s.kill()
	meanwhile()
	s.start(strings.TrimPrefix(s.url, "http://"))
}

// kill is kill -9; harmless on a server that has ended.
func (s *server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGKILL) // it may have ended
	<-s.done
}

func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// post posts a body until it is acked, and returns the answer.
func (s *server) post(query, media string, body []byte) map[string]any {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/v1/events"+query, bytes.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header.Set("Content-Type", media)
		if s.key != "" {
			req.Header.Set("Authorization", "Bearer "+s.key)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			s.t.Fatalf("%v\n%s", err, s.said())
		}
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			s.t.Fatal(err)
		}
		if res.StatusCode == http.StatusAccepted {
			var document map[string]any
			if err := json.Unmarshal(answer, &document); err != nil {
				s.t.Fatal(err)
			}
			return document
		}
		if res.StatusCode != http.StatusServiceUnavailable || time.Now().After(deadline) {
			s.t.Fatalf("post: %d %s\n%s", res.StatusCode, answer, s.said())
		}
	}
}

// document posts a document and returns its id.
func (s *server) document(body string) string {
	s.t.Helper()
	return fmt.Sprint(s.post("", "application/json", []byte(body))["id"])
}
