//go:build !frontend

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// All proofs are made, at the same time, and told in their order; one that fails makes the command fail.
func TestCheckReportsEverything(t *testing.T) {
	t.Parallel()
	all := func() []proof {
		last := make(chan struct{})
		return []proof{
			{"stream s", func(context.Context) (string, string, error) { <-last; return "read", "", nil }},
			{"table t", func(context.Context) (string, string, error) { return "", "", errors.New("table t: allow it") }},
			{"bucket long", func(context.Context) (string, string, error) { close(last); return "listed", "but", nil }},
		}
	}
	var text, lines bytes.Buffer
	if err := reported(all(), false, &text); !errors.Is(err, errReported) {
		t.Errorf("%v, want errReported", err)
	}
	want := "ok       stream s     read\nfailed   table t      allow it\nwarning  bucket long  listed; but\n"
	if text.String() != want {
		t.Errorf("got\n%swant\n%s", text.String(), want)
	}
	if err := reported(all(), true, &lines); !errors.Is(err, errReported) {
		t.Errorf("%v, want errReported", err)
	}
	var found []finding
	for d := json.NewDecoder(&lines); d.More(); {
		var f finding
		if err := d.Decode(&f); err != nil {
			t.Fatal(err)
		}
		found = append(found, f)
	}
	if !slices.Equal(found, []finding{
		{"stream s", checkOK, "read"}, {"table t", checkFailed, "allow it"}, {"bucket long", checkWarning, "listed; but"},
	}) {
		t.Errorf("as JSON: %+v", found)
	}
	if err := reported(slices.Delete(all(), 1, 2), false, &text); err != nil {
		t.Errorf("with nothing worse than a warning: %v", err)
	}
}

func reported(proofs []proof, asJSON bool, to *bytes.Buffer) error {
	return report(newOutput(strings.NewReader(""), to, to), asJSON, proofs, findings(context.Background(), proofs))
}

// What does not answer is a failure, after a bounded time.
func TestCheckEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		silent := proof{"bucket b", func(ctx context.Context) (string, string, error) { <-ctx.Done(); return "", "", ctx.Err() }}
		var text bytes.Buffer
		if err := reported([]proof{silent, silent}, false, &text); !errors.Is(err, errReported) || time.Since(begun) != proofTimeout {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// A process's credentials are not asked for what only others need.
func TestCheckScope(t *testing.T) {
	t.Parallel()
	for process, want := range map[string]string{
		"ingest":            "stream s, writing; table e; table t; bucket b",
		"index":             "stream s, reading; table e; table t; bucket b",
		"lake":              "stream s, reading; table t; bucket b; Glue table d.events",
		"query":             "table t; bucket b; Athena workgroup w; executions in table t",
		"ingest,index,lake": "stream s, writing; stream s, reading; table e; table t; bucket b; Glue table d.events",
	} {
		c := &checkCmd{
			awsFlags:   awsFlags{Stream: "s", EventsTable: "e", StateTable: "t", Bucket: "b"},
			queryFlags: queryFlags{Database: "d", Workgroup: "w"},
			checkScope: checkScope{For: strings.Split(process, ",")},
		}
		var things []string
		for _, p := range c.proofs(&awsParts{}) {
			things = append(things, p.thing)
		}
		if got := strings.Join(things, "; "); got != want {
			t.Errorf("%s: %s, want %s", process, got, want)
		}
	}
}
