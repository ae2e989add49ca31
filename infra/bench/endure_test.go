package main

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const twoDays = `goos: linux
BenchmarkMonth-2   	{"day":1,"commitMillis":10,"countDayMillis":20,"lookupMicros":30,"tableFiles":11,"metadataBytes":50000,"seconds":60}
{"day":2,"commitMillis":15,"countDayMillis":50,"lookupMicros":30,"tableFiles":43,"metadataBytes":40000,"seconds":61}
       1	66908577880 ns/op
PASS
`

func TestMonthIsReadAndComparedWithItsFirstDay(t *testing.T) {
	t.Parallel()
	var progress, said bytes.Buffer
	days, err := readMonth(strings.NewReader(twoDays), &progress, &said)
	if err != nil || len(days) != 2 || days[0].CommitMillis != 10 || days[1].TableFiles != 43 {
		t.Fatalf("days %+v, %v", days, err)
	}
	if n := strings.Count(progress.String(), "\n"); n != 3 {
		t.Errorf("%d lines of progress", n)
	}
	if !strings.Contains(said.String(), "PASS") {
		t.Errorf("what it said besides: %q", said.String())
	}
	met := map[string]bool{}
	ratios := map[string]float64{}
	for _, m := range monthMeasures(days) {
		if m.Met != nil {
			met[m.What], ratios[m.What] = *m.Met, m.Ratio
		}
	}
	for what, want := range map[string]struct {
		ratio float64
		met   bool
	}{
		"SQL count of a day": {2.5, false}, "look-up by id": {1, true}, "commit, p50": {1.5, true},
		"files in the table": {43. / 42, false}, "metadata file": {0.05, true},
	} {
		if ratios[what] != want.ratio || met[what] != want.met {
			t.Errorf("%s: ratio %v, met %t; want %+v", what, ratios[what], met[what], want)
		}
	}
}

func TestMonthRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, line := range []string{`{"day":1,"speed":3}`, `{"day":1`} {
		if _, err := readMonth(strings.NewReader(line+"\n"), io.Discard, io.Discard); err == nil {
			t.Errorf("%s was taken for a day", line)
		}
	}
}

func TestMetricsAreParsed(t *testing.T) {
	t.Parallel()
	got, err := parseMetrics(strings.NewReader("# HELP go_goroutines Number.\n\ngo_goroutines 12\n" +
		"lag{shard=\"shard 0\",sink=\"lake\"} 0.25\nbytes 3.5e+06\n"))
	want := map[string]float64{"go_goroutines": 12, `lag{shard="shard 0",sink="lake"}`: 0.25, "bytes": 3.5e6}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseMetrics(strings.NewReader("go_goroutines many\n")); err == nil {
		t.Error("a word was taken for a number")
	}
}

// scraped is a server that tells its vitals, and a data directory of 3 bytes.
func scraped(t *testing.T, text string) *process {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
	t.Cleanup(s.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &process{address: strings.TrimPrefix(s.URL, "http://"), dataDir: dir}
}

func TestVitals(t *testing.T) {
	t.Parallel()
	const all = "process_resident_memory_bytes 1\ngo_memstats_heap_alloc_bytes 2\ngo_goroutines 3\nprocess_open_fds 4\n"
	v, err := scraped(t, all).vitals(t.Context(), time.Now())
	v.Seconds = 0
	if want := (vitals{RSS: 1, Heap: 2, Goroutines: 3, Descriptors: 4, Disk: 3}); err != nil || v != want {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := scraped(t, "go_goroutines 3\n").vitals(t.Context(), time.Now()); err == nil {
		t.Error("vitals without a figure")
	}
}

func TestSlowestSinkCounts(t *testing.T) {
	t.Parallel()
	lag := sinkLag(map[string]float64{`penstock_sink_lag_seconds{shard="a"}`: 0.5, `penstock_sink_lag_seconds{shard="b"}`: 30, "go_goroutines": 99})
	if lag != 30 {
		t.Errorf("the slowest sink lags by %v s", lag)
	}
	if err := scraped(t, `penstock_sink_lag_seconds{shard="a"} 0.5`+"\n").settle(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLastMinuteIsComparedWithTheFirst(t *testing.T) {
	t.Parallel()
	minute := func(p99 float64, rss ...float64) steadyMinute {
		m := steadyMinute{P50Millis: 1, P99Millis: p99}
		for _, r := range rss {
			m.Vitals = append(m.Vitals, vitals{RSS: r * mebibyte, Heap: 1, Goroutines: 10, Descriptors: 10, Disk: r})
		}
		return m
	}
	measures := steadyMeasures([]steadyMinute{minute(10, 90, 100, 200), minute(99, 900), minute(14, 110, 120, 500)})
	for _, m := range measures {
		want := map[string]struct {
			ratio float64
			met   bool
		}{"p99": {1.4, true}, "resident memory": {1.2, false}, "goroutines": {1, true}}
		if w, ok := want[m.What]; ok && (m.Ratio != w.ratio || *m.Met != w.met) {
			t.Errorf("%s: %+v", m.What, m)
		}
	}
}
