package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"penstock/consumer"
	"penstock/ingest"
)

// collector turns the statistics into metrics at the moment of a scrape, so that nothing is counted twice over.
type collector struct{ sources Sources }

var _ prometheus.Collector = (*collector)(nil)

// Describe sends nothing: the collector is unchecked, since its shards come and go.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	m := emitter{out}
	if c.sources.Ingest != nil {
		m.ingest(c.sources.Ingest())
	}
	if c.sources.Fleets != nil {
		for _, fleet := range c.sources.Fleets() {
			m.fleet(fleet)
		}
	}
	if c.sources.Lake != nil {
		m.lake(c.sources.Lake())
	}
	if c.sources.Table != nil {
		m.table(c.sources.Table())
	}
	if c.sources.Store != nil {
		m.store(c.sources.Store())
	}
}

type emitter struct{ out chan<- prometheus.Metric }

// labels alternate names and values.
func (m emitter) emit(kind prometheus.ValueType, name, help string, value float64, labels []string) {
	names, values := make([]string, 0, len(labels)/2), make([]string, 0, len(labels)/2)
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	m.out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
}

func (m emitter) gauge(name, help string, value float64, labels ...string) {
	m.emit(prometheus.GaugeValue, name, help, value, labels)
}

func (m emitter) counter(name, help string, value uint64, labels ...string) {
	m.emit(prometheus.CounterValue, name, help, float64(value), labels)
}

func (m emitter) ingest(s ingest.Stats) {
	m.counter("penstock_events_accepted_total", "Events acked.", s.Accepted)
	m.counter("penstock_events_accepted_bytes_total", "Bytes of the bodies of acked events.", s.AcceptedBytes)
	m.counter("penstock_stream_puts_total", "Calls that put records on the stream.", s.Puts)
	const outcomes, help = "penstock_stream_put_records_total", "Records put on the stream, by outcome."
	m.counter(outcomes, help, s.Records, "outcome", "stored")
	m.counter(outcomes, help, s.Throttled, "outcome", "throttled")
	m.counter(outcomes, help, s.Ambiguous, "outcome", "ambiguous")
	m.counter(outcomes, help, s.Failed, "outcome", "failed")
	m.gauge("penstock_queued_events", "Encoded events in lanes and flights.", float64(s.QueuedEvents))
	m.gauge("penstock_queued_bytes", "Bytes of encoded events in lanes and flights.", float64(s.QueuedBytes))
	m.gauge("penstock_inflight_bytes", "Bytes in flight.", float64(s.InFlightBytes))
	m.gauge("penstock_inflight_limit_bytes", "Bytes in flight beyond which requests are refused.", float64(s.InFlightLimit))

	var count uint64
	buckets := make(map[float64]uint64, len(ingest.AckBuckets))
	for i, n := range s.AckSeconds {
		count += n
		if i < len(ingest.AckBuckets) {
			buckets[ingest.AckBuckets[i]] = count
		}
	}
	desc := prometheus.NewDesc("penstock_ack_seconds", "Time from the acceptance of a document to its ack.", nil, nil)
	m.out <- prometheus.MustNewConstHistogram(desc, count, s.AckSum, buckets)
}

func (m emitter) fleet(f consumer.FleetStats) {
	unowned := 0
	for _, s := range f.Shards {
		if s.Owner == "" && !s.Drained {
			unowned++
		}
		if !s.Ours {
			continue
		}
		failing := 0.0
		if s.Err != nil {
			failing = 1
		}
		m.gauge("penstock_sink_lag_seconds", "Age of the newest moment that the sink has reached in the shard, durably or not.",
			s.Lag.Seconds(), "sink", f.Sink, "shard", s.Shard)
		if s.Report.LagKnown {
			m.gauge("penstock_iterator_age_seconds", "About how long ago the oldest record of the shard arrived that the sink does not hold durably.",
				s.Report.Lag.Seconds(), "sink", f.Sink, "shard", s.Shard)
		}
		m.counter("penstock_sink_doubles_total", "Events left out because they stand earlier in the stream already.",
			s.Doubles, "sink", f.Sink, "shard", s.Shard)
		m.gauge("penstock_sink_failing", "1 while the shard waits to be tried again after an error.",
			failing, "sink", f.Sink, "shard", s.Shard)
	}
	m.gauge("penstock_unowned_shards", "Listed shards that are not read to their end and have no worker.", float64(unowned), "sink", f.Sink)
}

func (m emitter) store(s StoreStats) {
	for _, shard := range s.Shards {
		m.gauge("penstock_stream_records", "Records that the stream keeps.", float64(shard.Records), "shard", shard.Shard)
		m.gauge("penstock_stream_bytes", "Bytes that the stream keeps, before compression.", float64(shard.Bytes), "shard", shard.Shard)
	}
	m.counter("penstock_stream_trimmed_bytes_total", "Bytes trimmed off the stream, before compression.", s.TrimmedBytes)
	m.gauge("penstock_stream_held_bytes", "Bytes past retention that the stream keeps for the slowest sink.", float64(s.HeldBytes))
	for _, sink := range s.Sinks {
		slowest := 0.0
		if sink.Slowest {
			slowest = 1
		}
		m.gauge("penstock_sink_backlog_bytes", "Bytes of the stream that the sink does not hold yet, before compression.",
			float64(sink.Backlog), "sink", sink.Sink)
		m.gauge("penstock_sink_backlog_seconds", "Age of the oldest record of the stream that the sink does not hold yet.",
			sink.Age.Seconds(), "sink", sink.Sink)
		m.gauge("penstock_sink_slowest", "1 for the sink that trimming waits for most.", slowest, "sink", sink.Sink)
	}
	m.known("penstock_state_disk_bytes", "Bytes on disk of the stream and the state.", s.StateBytes)
	m.known("penstock_index_disk_bytes", "Bytes on disk of the index.", s.IndexBytes)
	m.known("penstock_disk_free_bytes", "Bytes free on the disk of the data directory.", s.DiskFree)
	m.known("penstock_disk_size_bytes", "Bytes of the disk of the data directory.", s.DiskSize)
}

// known is absent while it is 0.
func (m emitter) known(name, help string, value int64) {
	if value != 0 {
		m.gauge(name, help, float64(value))
	}
}

func (m emitter) lake(s consumer.LakeStats) {
	m.gauge("penstock_lake_buffered_rows", "Rows that wait for a commit.", float64(s.BufferedRows))
	m.gauge("penstock_lake_buffered_bytes", "Bytes that wait for a commit.", float64(s.BufferedBytes))
	m.counter("penstock_lake_rows_total", "Rows committed.", s.Rows)
	const flushes, help = "penstock_lake_flushes_total", "Flushes, by outcome."
	m.counter(flushes, help, s.Flushes, "outcome", "committed")
	m.counter(flushes, help, s.Conflicts, "outcome", "conflict")
	m.counter(flushes, help, s.Failures, "outcome", "failed")
	m.counter("penstock_lake_commits_overtaken_total", "Commits made again behind another worker's.", s.Overtaken)
	m.gauge("penstock_lake_last_flush_seconds", "How long the last commit took.", s.LastFlush.Seconds())
}

func (m emitter) table(s TableStats) {
	if s.Known {
		m.gauge("penstock_lake_files", "Data files of the table.", float64(s.Files))
		m.gauge("penstock_lake_small_files", "Data files below half of the target size.", float64(s.SmallFiles))
		m.gauge("penstock_lake_bytes", "Bytes of the table's data files.", float64(s.Bytes))
		m.gauge("penstock_lake_rows", "Rows of the table.", float64(s.Rows))
		m.gauge("penstock_lake_snapshots", "Snapshots that the table remembers.", float64(s.Snapshots))
	}
	m.counter("penstock_lake_compacted_files_total", "Data files that compaction has replaced.", s.FilesCompacted)
	m.counter("penstock_lake_expired_snapshots_total", "Snapshots forgotten by age.", s.SnapshotsForgotten)
	m.counter("penstock_lake_orphans_removed_total", "Files removed that nothing referred to.", s.OrphansRemoved)
	m.counter("penstock_lake_orphans_removed_bytes_total", "Bytes of those files.", s.OrphanBytesRemoved)
	m.counter("penstock_lake_upkeep_failures_total", "Runs of lake upkeep that ended with an error.", s.UpkeepFailures)
	m.time("penstock_lake_last_compaction_timestamp_seconds", "When data files were last replaced.", s.LastCompaction)
	m.time("penstock_lake_last_sweep_timestamp_seconds", "When the last orphan sweep ended.", s.LastSweep)
}

// time is absent while there is none.
func (m emitter) time(name, help string, t time.Time) {
	if !t.IsZero() {
		m.gauge(name, help, float64(t.UnixMilli())/1000)
	}
}
