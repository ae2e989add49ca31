//go:build !nolocal

package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The whole way of an event, through the real program: POST, GET by id, SQL, and all of it again after a restart.
func TestEventEndToEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir)

	odd := []byte(" {\"b\": 1.0,\t\"a\": 1e2, \"a\": \"\\u00e9é\"}\r\n")
	large := fmt.Appendf(nil, `{"kind":"large","text":"%s"}`, strings.Repeat("long text, ", 110_000))
	ids := []string{
		s.post(odd, "ce-type", "order", "ce-region", "eu"),
		s.post([]byte(`[1,2,3]`)),
		s.post(large, "ce-type", "large"),
	}
	bodies := [][]byte{odd, []byte(`[1,2,3]`), large}

	for round := range 2 {
		for i, id := range ids {
			if got := s.fetch(id); !bytes.Equal(got, bodies[i]) {
				t.Fatalf("round %d: %s came back as %d bytes, sent %d", round, id, len(got), len(bodies[i]))
			}
		}
		rows := s.sql("SELECT id, type, size, length(data), extensions['region'] FROM penstock.events ORDER BY id")
		if len(rows) != 4 {
			t.Fatalf("round %d: %d rows, want 3 and a header: %q", round, len(rows), rows)
		}
		got := s.sql(fmt.Sprintf("SELECT type, length(data) FROM events WHERE id = '%s'", ids[2]))
		if want := fmt.Sprint([]string{"large", fmt.Sprint(len(large))}); fmt.Sprint(got[1]) != want {
			t.Fatalf("round %d: the large document is in SQL as %v, want %v", round, got[1], want)
		}
		if round == 0 {
			s.stop()
			s = startServer(t, dir)
		}
	}
	s.stop()
}

// SQL right after an ack sees the event, every time.
func TestQueryReadsOwnWrites(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	for i := range 10 {
		id := s.post(fmt.Appendf(nil, `{"n":%d}`, i))
		rows := s.sql("SELECT count(*) FROM events WHERE id = '" + id + "'")
		if rows[1][0] != "1" {
			t.Fatalf("event %d, %s: counted %s times right after its ack", i, id, rows[1][0])
		}
	}
	s.stop()
}

func TestLocalRefusesToStart(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() }) // end of test
	inUse := t.TempDir()
	startServer(t, inUse)
	newer := t.TempDir()
	startServer(t, newer).stop()
	if err := os.WriteFile(filepath.Join(newer, "FORMAT"), []byte("penstock-local 999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir   string
		flags []string
		want  []string
	}{
		"data directory in use":    {inUse, nil, []string{inUse, "in use"}},
		"data directory newer":     {newer, nil, []string{newer, "newer"}},
		"data directory is a file": {file, nil, []string{file}},
		"not writable":             {"/sys/penstock-data", nil, []string{"/sys/penstock-data", "not writable"}}, // not for root either
		"port in use":              {t.TempDir(), []string{"--listen", taken.Addr().String()}, []string{"--listen", taken.Addr().String(), "in use"}},
		"S3 port in use":           {t.TempDir(), []string{"--s3-listen", taken.Addr().String()}, []string{"--s3-listen", taken.Addr().String(), "in use"}},
		"admin port in use":        {t.TempDir(), []string{"--admin-listen", taken.Addr().String()}, []string{"--admin-listen", taken.Addr().String(), "in use"}},
		"no keys off loopback":     {t.TempDir(), []string{"--listen", "0.0.0.0:0"}, []string{"--listen", "--key-file"}},
		"flag out of bounds":       {t.TempDir(), []string{"--shards", "0"}, []string{"--shards", "64"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tryServer(t, c.dir, c.flags...)
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message lacks %q:\n%v", want, err)
				}
			}
			if made, err := os.ReadDir(c.dir); strings.Contains(name, "port") && (err != nil || len(made) > 0) {
				t.Errorf("it made %v (%v) before it knew", made, err)
			}
		})
	}
}

// A second process on a data directory is told which it is and what to do, and the first one goes on with all that it had.
func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir)
	before := s.post([]byte(`{"n":1}`))
	_, err := tryServer(t, dir)
	if err == nil {
		t.Fatal("it started")
	}
	contains(t, err.Error(), "exit status 1", "data directory is in use: "+dir, "stop the other Penstock that runs on it, or choose another directory")
	after := s.post([]byte(`{"n":2}`))
	for id, want := range map[string]string{before: `{"n":1}`, after: `{"n":2}`} {
		if got := s.fetch(id); string(got) != want {
			t.Errorf("%s reads %s, want %s", id, got, want)
		}
	}
	if rows := s.sql("SELECT count(*) FROM events"); rows[1][0] != "2" {
		t.Errorf("SQL finds %s events", rows[1][0])
	}
	s.stop()
	s = startServer(t, dir)
	if rows := s.sql("SELECT count(*) FROM events"); rows[1][0] != "2" {
		t.Errorf("after a restart SQL finds %s events", rows[1][0])
	}
	s.stop()
}

// A disk with less room than --min-free refuses new events honestly and goes on answering the rest.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir)
	id := s.post([]byte(`{"before":"full"}`))
	s.stop()
	s = startServer(t, dir, "--min-free", "1EiB")
	a := s.must(http.StatusServiceUnavailable, "POST", "/v1/events", []byte(`{"n":1}`), "Content-Type", "application/json")
	if a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), "full") {
		t.Errorf("the refusal says neither when to retry nor why: %v %s", a.header, a.body)
	}
	if got := s.fetch(id); string(got) != `{"before":"full"}` {
		t.Errorf("the earlier event reads %s", got)
	}
	s.stop()
}

// Who waits for a long query hears that it was cancelled when the server stops, and doesn't hold the stop up.
func TestStopDuringQuery(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	var started, ended struct{ ExecutionID, State string }
	sql := []byte(`{"sql":"SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range > 1"}`)
	decode(t, s.must(http.StatusAccepted, "POST", "/v1/queries", sql, "Content-Type", "application/json").body, &started)
	path := "/v1/queries/" + started.ExecutionID
	for started.State != "RUNNING" {
		decode(t, s.must(http.StatusOK, "GET", path, nil).body, &started)
		if started.State != "QUEUED" && started.State != "RUNNING" {
			t.Fatalf("the query is %s", started.State)
		}
	}
	waited := make(chan answer, 1)
	go func() {
		a, _ := s.request("GET", path+"?wait=20", nil) // the zero answer when the server has gone
		waited <- a
	}()
	s.must(http.StatusOK, "GET", path+"?wait=1", nil) // meanwhile the other has come in
	begun := time.Now()
	s.stop()
	if took := time.Since(begun); took > 15*time.Second { // who waits, waits for 20 s
		t.Errorf("the stop took %s", took)
	}
	if a := <-waited; a.status == http.StatusOK {
		if decode(t, a.body, &ended); ended.State != "CANCELLED" {
			t.Errorf("the one who waits hears %s", a.body)
		}
	}
}
