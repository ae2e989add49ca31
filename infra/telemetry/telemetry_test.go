package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock/consumer"
	"penstock/ingest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLogger(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger, err := NewLogger(&out, "json", "warn")
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("too quiet")
	logger.Warn("heard", "n", 1)
	var line struct {
		Msg string
		N   int
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "heard" || line.N != 1 {
		t.Errorf("%v %s", err, out.Bytes())
	}
	out.Reset()
	if logger, err = NewLogger(&out, "text", "debug"); err != nil {
		t.Fatal(err)
	}
	logger.Debug("heard")
	if !strings.Contains(out.String(), "msg=heard") {
		t.Errorf("%s", out.Bytes())
	}
	for _, bad := range [][2]string{{"xml", "info"}, {"text", "loud"}, {"", "info"}} {
		if _, err := NewLogger(&out, bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), "must be") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// A scrape shows what the sources say at that moment, in Prometheus' own text format.
func TestScrape(t *testing.T) {
	t.Parallel()
	accepted := uint64(6)
	acks := make([]uint64, len(ingest.AckBuckets)+1)
	acks[0], acks[2], acks[len(acks)-1] = 1, 2, 3
	m := NewMetrics(Sources{
		Ingest: func() ingest.Stats {
			return ingest.Stats{
				Accepted: accepted, AcceptedBytes: 600, Throttled: 2, Ambiguous: 1, Records: 9, Puts: 4,
				QueuedEvents: 3, InFlightBytes: 77, InFlightLimit: 100, AckSeconds: acks, AckSum: 12.5,
			}
		},
		Fleets: func() []consumer.FleetStats {
			return []consumer.FleetStats{{Sink: "index", Shards: []consumer.ShardStats{
				{Shard: "a", Owner: "me", Ours: true, Lag: 1500 * time.Millisecond, Err: errors.New("later"),
					Report: consumer.Report{Lag: 2500 * time.Millisecond, LagKnown: true}},
				{Shard: "b"},
				{Shard: "e", Owner: "me", Ours: true},
				{Shard: "c", Drained: true},
				{Shard: "d", Owner: "other"},
			}}}
		},
		Lake: func() consumer.LakeStats { return consumer.LakeStats{Flushes: 5, Rows: 50, Conflicts: 1, Overtaken: 4} },
		Table: func() TableStats {
			return TableStats{Known: true, Files: 3, SmallFiles: 2, OrphansRemoved: 9, LastSweep: time.UnixMilli(1500)}
		},
		Store: func() StoreStats {
			return StoreStats{
				Shards: []StoreShard{{Shard: "a", Records: 8, Bytes: 800}}, TrimmedBytes: 70, HeldBytes: 60, StateBytes: 900, DiskFree: 1000,
				Sinks: []StoreSink{{Sink: "index"}, {Sink: "lake", Backlog: 500, Age: 2 * time.Second, Slowest: true}},
			}
		},
	})
	m.Connections(func() (int, uint64) { return 7, 8 })
	m.Observe("/v1/events", "POST", 202, 3*time.Millisecond)
	scrape := func() string {
		t.Helper()
		res := httptest.NewRecorder()
		m.Handler().ServeHTTP(res, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
		if res.Code != 200 {
			t.Fatalf("%d %s", res.Code, res.Body)
		}
		return res.Body.String()
	}
	text := scrape()
	for _, want := range []string{
		"penstock_events_accepted_total 6",
		`penstock_stream_put_records_total{outcome="throttled"} 2`,
		"penstock_inflight_bytes 77",
		`penstock_ack_seconds_bucket{le="0.0005"} 1`,
		`penstock_ack_seconds_bucket{le="0.002"} 3`,
		`penstock_ack_seconds_bucket{le="2"} 3`,
		`penstock_ack_seconds_bucket{le="+Inf"} 6`,
		"penstock_ack_seconds_sum 12.5",
		`penstock_sink_lag_seconds{shard="a",sink="index"} 1.5`,
		`penstock_iterator_age_seconds{shard="a",sink="index"} 2.5`,
		`penstock_sink_failing{shard="a",sink="index"} 1`,
		`penstock_unowned_shards{sink="index"} 1`,
		`penstock_lake_flushes_total{outcome="conflict"} 1`,
		"penstock_lake_commits_overtaken_total 4",
		"penstock_lake_files 3",
		"penstock_lake_small_files 2",
		"penstock_lake_orphans_removed_total 9",
		"penstock_lake_last_sweep_timestamp_seconds 1.5",
		`penstock_stream_bytes{shard="a"} 800`,
		"penstock_stream_trimmed_bytes_total 70",
		"penstock_stream_held_bytes 60",
		`penstock_sink_backlog_bytes{sink="index"} 0`,
		`penstock_sink_backlog_bytes{sink="lake"} 500`,
		`penstock_sink_backlog_seconds{sink="lake"} 2`,
		`penstock_sink_slowest{sink="index"} 0`,
		`penstock_sink_slowest{sink="lake"} 1`,
		"penstock_state_disk_bytes 900",
		"penstock_disk_free_bytes 1000",
		"penstock_http_connections 7",
		"penstock_http_refused_connections_total 8",
		`penstock_http_request_seconds_count{method="POST",route="/v1/events",status="202"} 1`,
		"go_goroutines ",
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("the scrape lacks %s", want)
		}
	}
	for _, never := range []string{`shard="d"`, "penstock_lake_last_compaction_timestamp_seconds ", "penstock_disk_size_bytes ", `penstock_sink_lag_seconds{shard="b"`,
		`penstock_iterator_age_seconds{shard="e"`} {
		if strings.Contains(text, never) {
			t.Errorf("the scrape has %s, which this process does not know", never)
		}
	}
	accepted = 7
	if !strings.Contains(scrape(), "\npenstock_events_accepted_total 7") {
		t.Error("the second scrape shows the first one's numbers")
	}
}
