//go:build !nolocal

package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the script
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// endlessSQL runs until somebody stops it.
const endlessSQL = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range > 1"

// subscriber is a client on a WebSocket.
type subscriber struct {
	t *testing.T
	c *websocket.Conn
}

func (s *server) subscriber() *subscriber {
	s.t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"penstock.v1"}, HandshakeTimeout: time.Minute}
	c, _, err := dialer.DialContext(s.t.Context(), "ws"+strings.TrimPrefix(s.url, "http")+"/v1/ws", nil) //nolint:bodyclose // a WebSocket has none
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.log())
	}
	s.t.Cleanup(func() { _ = c.Close() }) // again, or after the server
	return &subscriber{s.t, c}
}

func (k *subscriber) subscribe(id string) {
	k.t.Helper()
	if err := k.c.WriteJSON(map[string]string{"action": "subscribe", "executionId": id}); err != nil {
		k.t.Fatal(err)
	}
}

// pushed is a message of the server.
type pushed struct {
	Type, ExecutionID, State, URL, Data, SHA256, Detail string

	Bytes, Rows, Seq int64
}

// next returns the next message, or the error that ended the connection.
func (k *subscriber) next() (m pushed, err error) {
	if err := k.c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return m, err
	}
	_, text, err := k.c.ReadMessage()
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(text, &m)
}

// end reads messages, which must be in their order, until the result or the error of an execution, and returns both.
func (k *subscriber) end(id string) (result string, failure string, err error) {
	var all strings.Builder
	var bytes, seq int64
	for {
		m, err := k.next()
		switch {
		case err != nil:
			return "", "", err
		case m.ExecutionID != id:
			return "", "", fmt.Errorf("%+v is not of %s", m, id)
		case m.Type == "error":
			return "", m.Detail, nil
		case m.Type == "result":
			bytes = m.Bytes
		case m.Type == "chunk" && m.Seq == seq && len(m.Data) <= 32<<10:
			seq++
			all.WriteString(m.Data)
		case m.Type == "end":
			sum := sha256.Sum256([]byte(all.String()))
			if m.SHA256 != hex.EncodeToString(sum[:]) || int64(all.Len()) != bytes {
				return "", "", fmt.Errorf("%d of %d bytes, sha256 %s", all.Len(), bytes, m.SHA256)
			}
			return all.String(), "", nil
		case m.Type != "state":
			return "", "", fmt.Errorf("%+v instead of chunk %d", m, seq)
		}
	}
}

func (s *server) startQuery(sql string) string {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		s.t.Fatal(err)
	}
	var started struct{ ExecutionID string }
	decode(s.t, s.must(http.StatusAccepted, "POST", "/v1/queries", body, "Content-Type", "application/json").body, &started)
	return started.ExecutionID
}

// TestPush: the CSV comes chunk by chunk, and is what /result has.
func TestPush(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	s.post([]byte(`{"text":"\"quoted\", €, 😀\n"}`))
	k := s.subscriber()
	for _, sql := range []string{
		"SELECT id, json_extract_scalar(data, '$.text') AS text, NULL AS nothing FROM events",
		"SELECT a.range AS n, b.range AS m, repeat('é', 7) AS text FROM range(300) a, range(300) b", // some megabytes
		"SELECT id FROM events WHERE false",
	} {
		id := s.startQuery(sql)
		k.subscribe(id)
		got, failure, err := k.end(id)
		if err != nil || failure != "" {
			t.Fatalf("%s: %s, %v", sql, failure, err)
		}
		if served := s.must(http.StatusOK, "GET", "/v1/queries/"+id+"/result", nil); string(served.body) != got || got == "" {
			t.Errorf("%s: %d bytes were pushed, %d are served", sql, len(got), len(served.body))
		}
	}
	id := s.startQuery("SELECT CAST(type AS bigint) FROM events")
	k.subscribe(id)
	if _, failure, err := k.end(id); err != nil || failure == "" {
		t.Errorf("a query that fails: %q, %v", failure, err)
	}
	s.stop()
}

// TestPushAfterKill: whatever became of an execution, the next process tells, also who has the result of an earlier one.
func TestPushAfterKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir)
	s.post([]byte(`{"n":1}`))
	done := s.startQuery("SELECT count(*) AS n FROM events")
	k := s.subscriber()
	k.subscribe(done)
	result, _, err := k.end(done)
	if err != nil {
		t.Fatal(err)
	}
	running, queued := s.startQuery(endlessSQL), []string{}
	for range 3 {
		queued = append(queued, s.startQuery(endlessSQL))
	}
	k.subscribe(running)
	for m := (pushed{}); m.State != "RUNNING"; {
		if m, err = k.next(); err != nil {
			t.Fatal(err)
		}
	}
	s.kill()

	s = startServer(t, dir)
	k = s.subscriber()
	k.subscribe(done)
	if again, failure, err := k.end(done); err != nil || again != result {
		t.Errorf("the result of before: %q instead of %q, %s, %v", again, result, failure, err)
	}
	for _, id := range append(queued, running) {
		var e struct{ State, Error string }
		decode(t, s.must(http.StatusOK, "GET", "/v1/queries/"+id, nil).body, &e)
		if e.State != "FAILED" || !strings.Contains(e.Error, "restarted") {
			t.Errorf("%s: %+v", id, e)
		}
		k.subscribe(id)
		if _, failure, err := k.end(id); err != nil || failure != e.Error {
			t.Errorf("%s: told %q, %v", id, failure, err)
		}
	}
	if left, err := os.ReadDir(dir + "/results"); err != nil || len(left) != 1 {
		t.Errorf("%d files of results, %v", len(left), err)
	}
	s.stop()
}

// TestPushToMany: 1,000 clients and 50 executions at once; each gets each of its messages once, in order.
func TestPushToMany(t *testing.T) {
	t.Parallel()
	const clients, executions = 1000, 50
	s := startServer(t, t.TempDir())
	s.post([]byte(`{"n":1}`))
	var ids []string
	for i := range executions {
		ids = append(ids, s.startQuery(fmt.Sprintf("SELECT %d AS i, count(*) AS n FROM events", i)))
	}
	var wait sync.WaitGroup
	for i := range clients {
		k := s.subscriber()
		id := ids[i%executions]
		k.subscribe(id)
		wait.Go(func() {
			got, failure, err := k.end(id)
			if want := fmt.Sprintf("\"i\",\"n\"\n\"%d\",\"1\"\n", i%executions); err != nil || got != want {
				t.Errorf("client %d: %q, %s, %v", i, got, failure, err)
			}
		})
	}
	wait.Wait()
	s.stop()
}

var (
	//go:embed testdata/subscribe.py
	subscribePython string
	//go:embed testdata/subscribe.cjs
	subscribeNode string
)

// TestConformPush: the same with clients that nobody here wrote, Python's websockets and Node's ws.
func TestConformPush(t *testing.T) {
	t.Parallel()
	python, node := os.Getenv("PENSTOCK_STACK_PYTHON"), os.Getenv("PENSTOCK_STACK_NODE")
	if python == "" || node == "" {
		if os.Getenv("PENSTOCK_CONFORMANCE") != "" {
			t.Fatal("PENSTOCK_STACK_PYTHON or PENSTOCK_STACK_NODE is not set: run make conformance")
		}
		t.Skip("needs Python's websockets and Node's ws: make conformance")
	}
	s := startServer(t, t.TempDir())
	s.post([]byte(`{"n":1}`))
	for name, client := range map[string]*exec.Cmd{
		"websockets": exec.CommandContext(t.Context(), "python3", "-c", subscribePython, s.url),
		"ws":         exec.CommandContext(t.Context(), "node", "-e", subscribeNode, s.url),
	} {
		client.Env = append(os.Environ(), "PYTHONPATH="+python, "PYTHONDONTWRITEBYTECODE=1", "NODE_PATH="+node)
		client.Stdin = strings.NewReader("SELECT a.range AS n, repeat('é', 7) AS text FROM range(50000) a, events")
		var complaints bytes.Buffer
		client.Stderr = &complaints
		got, err := client.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, &complaints)
		}
		var list struct {
			Items []struct{ ResultHref string }
		}
		decode(t, s.must(http.StatusOK, "GET", "/v1/queries", nil).body, &list)
		if served := s.must(http.StatusOK, "GET", list.Items[0].ResultHref, nil); !bytes.Equal(got, served.body) || len(got) < 1<<20 {
			t.Errorf("%s: %d bytes were pushed, %d are served", name, len(got), len(served.body))
		}
	}
	s.stop()
}
