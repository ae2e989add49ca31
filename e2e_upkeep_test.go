//go:build !nolocal

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestUpkeepEndToEnd: many small commits become few files by command, and in the background of a server that is killed
// meanwhile; SQL says the same before, during and after; what is left over goes, and what is young stays.
func TestUpkeepEndToEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "--flush-age", "10m", "--upkeep-interval", "24h")
	count := func() string {
		return s.sql("SELECT count(*), count(DISTINCT id), sum(CAST(data AS bigint)) FROM events")[1][0]
	}
	const events = 12
	for n := range events {
		id := s.post(fmt.Appendf(nil, "%d", n))
		if n == 0 {
			s.fetch(id) // the index has it, and nothing sends it to the lake
			if out, _ := s.command("lake", "status"); !strings.Contains(out, "slowest sink      lake, ") || !strings.Contains(out, " free of ") {
				t.Errorf("lake status:\n%s", out)
			}
			if metrics := string(s.must(200, "GET", "/metrics", nil).body); !strings.Contains(metrics, "\npenstock_sink_slowest{sink=\"lake\"} 1\n") {
				t.Error("/metrics does not tell of the lake's backlog")
			}
		}
		if got := count(); got != fmt.Sprint(n+1) { // which flushes
			t.Fatalf("%d events, SQL finds %s", n+1, got)
		}
	}
	old, young := filepath.Join(dir, "lake", "events", "data", "old.parquet"), filepath.Join(dir, "lake", "events", "data", "young.parquet")
	for _, stray := range []string{old, young} {
		if err := os.WriteFile(stray, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	longAgo := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(old, longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	if out, status := s.command("lake", "compact"); status != 0 || !strings.Contains(out, "became 1 file") {
		t.Errorf("compact: status %d, %s\n%s", status, out, s.log())
	}
	if out, status := s.command("lake", "expire", "--json"); status != 0 || !strings.Contains(out, `"state":"SUCCEEDED"`) {
		t.Errorf("expire: status %d, %s\n%s", status, out, s.log())
	}
	if out, status := s.command("lake", "orphans"); status != 0 || !strings.Contains(out, "1 file removed") {
		t.Errorf("orphans: status %d, %s\n%s", status, out, s.log())
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old stray: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the young stray: %v", err)
	}
	if got := count(); got != fmt.Sprint(events) {
		t.Errorf("after upkeep SQL finds %s", got)
	}
	if out, _ := s.command("lake", "status"); !strings.Contains(out, "compacted 2") || !strings.Contains(out, "1 orphan removed") {
		t.Errorf("lake status:\n%s", out)
	}
	if metrics := string(s.must(200, "GET", "/metrics", nil).body); !strings.Contains(metrics, "\npenstock_lake_orphans_removed_total 1\n") {
		t.Error("/metrics does not tell of the orphan")
	}
	s.kill()

	s = startServer(t, dir, "--flush-age", "10m", "--upkeep-interval", "10s")
	for n := events; n < 2*events; n++ {
		s.post(fmt.Appendf(nil, "%d", n))
		count()
	}
	for deadline := time.Now().Add(60 * time.Second); ; {
		if metrics := string(s.must(200, "GET", "/metrics", nil).body); !strings.Contains(metrics, "\npenstock_lake_compacted_files_total 0\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing was compacted\n%s", s.log())
		}
	}
	if got := count(); got != fmt.Sprint(2*events) {
		t.Errorf("after upkeep SQL finds %s", got)
	}
	s.stop()
}
