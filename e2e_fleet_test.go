//go:build !nolocal

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// fleet runs `penstock fleet --json` and gives what it prints, and its exit status.
func (d *deployment) fleet(flags ...string) (view fleetView, status int, stderr string) {
	d.t.Helper()
	cmd := program(d.t.Context(), append([]string{"fleet", "--json", "--stream", d.name, "--state-table", d.name + "-state"}, flags...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // its status tells
	if status = cmd.ProcessState.ExitCode(); out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &view); err != nil {
			d.t.Fatalf("%v: %s", err, out.String())
		}
	}
	return view, status, errs.String()
}

// awaitFleet asks until it is so.
func (d *deployment) awaitFleet(what string, so func(view fleetView, status int) bool) (view fleetView, stderr string) {
	d.t.Helper()
	for begun := time.Now(); ; {
		view, status, stderr := d.fleet()
		if so(view, status) {
			return view, stderr
		}
		if time.Since(begun) > time.Minute {
			d.t.Fatalf("%s: status %d, %+v\n%s", what, status, view, stderr)
		}
	}
}

// The fleets of a deployment are seen while they work, while nobody does, and while something fails.
func TestConformFleet(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, 2)
	if _, status, stderr := d.fleet(); status != 1 || !strings.Contains(stderr, d.name+"-state") {
		t.Errorf("before the first start: status %d, %s", status, stderr)
	}
	if _, status, stderr := d.fleet("--stream", "e2e-nothing"); status != 1 || !strings.Contains(stderr, "e2e-nothing") || !strings.Contains(stderr, "check the name") {
		t.Errorf("no such stream: status %d, %s", status, stderr)
	}
	front := d.ingest()
	workers := []*server{d.consumer("index"), d.consumer("index"), d.consumer("lake")}
	for n := range 20 {
		front.post(fmt.Appendf(nil, `{"n":%d}`, n), "ce-partitionkey", fmt.Sprint(n))
	}
	d.awaitFleet("all is owned, shared, read and durable", func(view fleetView, status int) bool {
		for _, sink := range view.Sinks {
			for _, s := range sink.Shards {
				if s.State != "owned" || s.Lag == nil || *s.Lag > 5 || s.Checkpoint == "" {
					return false
				}
			}
		}
		if status != 0 || len(view.Sinks) != 2 {
			return false
		}
		index, lake := view.Sinks[0], view.Sinks[1]
		return len(index.Workers) == 2 && len(index.Shards) == 2 && index.Shards[0].Worker != index.Shards[1].Worker && len(lake.Workers) == 1
	})
	admin := &server{t: t, url: workers[2].admin}
	scraped := string(admin.must(200, "GET", "/metrics", nil).body)
	if !strings.Contains(scraped, "penstock_iterator_age_seconds{shard=") || !strings.Contains(scraped, `penstock_unowned_shards{sink="lake"} 0`) {
		t.Errorf("the lake's consumer tells\n%s", scraped)
	}

	for _, w := range workers {
		w.kill()
	}
	view, stderr := d.awaitFleet("all are dead", func(view fleetView, status int) bool {
		return status == 1 && len(view.Sinks) == 2 && view.Sinks[0].Unowned == 2 && view.Sinks[1].Unowned == 2
	})
	for _, want := range []string{"UNOWNED", "penstock consumer --sink index", "penstock consumer --sink lake"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q: %s", want, stderr)
		}
	}
	for _, sink := range view.Sinks {
		for _, s := range sink.Shards {
			if s.Checkpoint == "" || s.AsOf == nil || s.Lag == nil || *s.Lag < 6 || s.RenewedAgo == nil || *s.RenewedAgo < 6 {
				t.Errorf("%s: %+v, whose worker is dead", sink.Sink, s)
			}
		}
	}
}
