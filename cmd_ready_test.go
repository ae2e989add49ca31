package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// nobodyListens is an address without a server. A port that was let go of would not do: another test may have it by then.
const nobodyListens = "http://127.0.0.1:1"

// The exit status of `penstock ready` is what a container engine goes by.
func TestReadyCommand(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/readyz" {
			t.Errorf("asked for %s %s", r.Method, r.URL)
		}
		if status != http.StatusOK {
			w.Header().Set("Content-Type", "application/problem+json")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"status": 503, "detail": "stream: not there"}`) // the client sees what is missing
	}))
	defer server.Close()
	ask := func(url string) (int, string) {
		var out bytes.Buffer
		return run([]string{"ready", "--url", url}, strings.NewReader(""), &out, &out), out.String()
	}
	if exit, said := ask(server.URL); exit != 0 || said != "ready\n" {
		t.Errorf("a ready process: %d %q", exit, said)
	}
	status = http.StatusServiceUnavailable
	if exit, said := ask(server.URL); exit != 1 || !strings.Contains(said, "stream: not there") {
		t.Errorf("one that is not: %d %q", exit, said)
	}
	if exit, said := ask(nobodyListens); exit != 1 || !strings.Contains(said, "nothing listens at "+nobodyListens) {
		t.Errorf("none at all: %d %q", exit, said)
	}
}
