package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"penstock/infra/client/clienttest"
)

func TestLakeStatusCommand(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Handle = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"table": "penstock.events", "snapshotId": "42", "snapshots": 2, "committed": "2026-01-02T03:04:05Z", "rows": 12345,
			"dataFiles": 1, "dataBytes": 1000000, "smallFiles": 1, "orphansRemoved": 2, "completeThrough": "2026-01-02T03:04:06Z",
			"shards": [{"shard": "shard-0", "position": "17/3", "asOf": "0001-01-01T00:00:00Z", "end": true}],
			"stream": {"bytes": 5000000, "heldBytes": 2000, "slowestSink": "lake",
				"sinks": [{"sink": "index", "backlogBytes": 1}, {"sink": "lake", "backlogBytes": 3000, "oldest": "2026-01-02T03:04:07Z"}]},
			"disk": {"stateBytes": 7000000, "indexBytes": 8000000, "freeBytes": 1000000000, "sizeBytes": 2000000000}}`)
	}
	contains(t, prints(t, server, "lake", "status"), "penstock.events", "12,345", "1 file (1 small), 1.0 MB", "nothing compacted yet; 2 orphans removed", "42, committed 2026-01-02 03:04:05 UTC",
		"2 snapshots kept", "complete through  2026-01-02 03:04:06 UTC", "17/3", "read to its end", "not known",
		"5.0 MB, of it 2.0 kB only for the slowest sink", "slowest sink      lake, 3.0 kB to go, the oldest from 2026-01-02 03:04:07 UTC",
		"state 7.0 MB, index 8.0 MB; 1.0 GB free of 2.0 GB")
	contains(t, prints(t, server, "lake", "status", "--json"), `{"table":"penstock.events","snapshotId":"42"`)
}

// letterServer has three dead letters, of which its sink refuses the second again.
func letterServer(t *testing.T) (*clienttest.Server, *[]string) {
	var requeued []string
	server := clienttest.New(t)
	server.Handle = func(w http.ResponseWriter, r *http.Request) {
		letter := func(sub string) map[string]any {
			return map[string]any{
				"sink": "lake", "shard": "s0", "position": "12/" + sub, "arrived": "2026-01-02T03:04:05.6Z", "reason": "corrupt \x1b[31m record", "size": 5,
			}
		}
		path := strings.TrimPrefix(r.URL.Path, "/v1/dead-letters")
		switch {
		case path == "":
			clienttest.Answer(w, 200, map[string]any{"items": []any{letter("0"), letter("1"), letter("2")}})
		case r.Method == http.MethodGet:
			one := letter("1")
			one["raw"] = []byte("a\x00b\n{")
			clienttest.Answer(w, 200, one)
		case strings.Contains(path, "/12/1/"):
			clienttest.Refuse(w, clienttest.Fault{Status: http.StatusUnprocessableEntity, Kind: "refused-again"}, "still corrupt")
		default:
			requeued = append(requeued, path)
			w.WriteHeader(http.StatusNoContent)
		}
	}
	return server, &requeued
}

func TestDlqCommands(t *testing.T) {
	t.Parallel()
	server, requeued := letterServer(t)
	contains(t, prints(t, server, "dlq", "list", "lake"), "s0/12/0", "s0/12/2", `corrupt \u001b[31m record`, "(3 dead letters of lake)")
	contains(t, prints(t, server, "dlq", "list", "lake", "--limit", "2"), "(2 dead letters of lake; there are more: --after s0/12/1)")
	if got := prints(t, server, "dlq", "list", "lake", "--json"); strings.Count(got, "\n") != 3 || !strings.HasPrefix(got, `{"place":"s0/12/0","sink":"lake"`) {
		t.Errorf("json %s", got)
	}
	contains(t, prints(t, server, "dlq", "show", "lake", "s0/12/1"), "place    s0/12/1", `record   a\u0000b\n{`)
	if got := prints(t, server, "dlq", "show", "lake", "s0/12/1", "--raw"); got != "a\x00b\n{" {
		t.Errorf("raw %q", got)
	}
	contains(t, prints(t, server, "dlq", "requeue", "lake", "s0/12/0"), "1 dead letter of lake requeued, 0 refused")

	var c console
	if err := c.command(t.Context(), t, server, "dlq", "requeue", "lake", "--all"); !errors.Is(err, errReported) {
		t.Errorf("%v", err)
	}
	contains(t, c.stdout.String(), "2 dead letters of lake requeued, 1 refused")
	contains(t, c.stderr.String(), "s0/12/1", "still corrupt")
	if len(*requeued) != 3 || (*requeued)[2] != "/lake/s0/12/2/requeue" {
		t.Errorf("requeued %v", *requeued)
	}
	for _, args := range [][]string{{}, {"--all", "s0/12/0"}, {"s0"}} {
		var c console
		if err := c.command(t.Context(), t, server, append([]string{"dlq", "requeue", "lake"}, args...)...); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
