package main

import (
	"net/http"
	"strings"
	"testing"

	"penstock/infra/client/clienttest"
)

// upkeepServer runs every task through all its states; expiry fails.
func upkeepServer(t *testing.T) *clienttest.Server {
	polls := 0
	server := clienttest.New(t)
	server.Handle = func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/v1/lake/")
		state := map[string]any{"task": name, "state": "QUEUED", "href": r.URL.Path}
		if r.Method == http.MethodPost {
			polls = 0
			clienttest.Answer(w, http.StatusAccepted, state)
			return
		}
		polls++
		state["state"], state["filesBefore"], state["bytesBefore"], state["filesAfter"], state["bytesAfter"] = "RUNNING", 9, 9000, 1, 5000
		state["filesRemoved"], state["bytesRemoved"], state["filesKept"], state["bytesKept"] = 1, 10, 2, 20
		if polls > 1 {
			state["state"] = "SUCCEEDED"
			if name == "expire" {
				state["state"], state["error"] = "FAILED", "the disk is gone"
			}
		}
		clienttest.Answer(w, http.StatusOK, state)
	}
	return server
}

func TestUpkeepCommands(t *testing.T) {
	t.Parallel()
	server := upkeepServer(t)
	contains(t, prints(t, server, "lake", "compact"), "9 files (9.0 kB) became 1 file (5.0 kB)")
	contains(t, prints(t, server, "lake", "orphans"), "1 file removed (10 B); 2 files kept for now (20 B)")
	contains(t, prints(t, server, "lake", "compact", "--json"), `"state":"SUCCEEDED"`, `"filesAfter":1`)
	var failing console
	if err := failing.command(t.Context(), t, server, "lake", "expire"); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("a failed task: %v", err)
	}
	terminal := console{width: 80}
	if err := terminal.command(t.Context(), t, server, "lake", "compact"); err != nil {
		t.Fatal(err)
	}
	contains(t, terminal.stderr.String(), "waiting for its turn", "9 files", "\r\x1b[K")
}
