package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"penstock/consumer"
	"penstock/ingest"
)

// Sources are asked when metrics are scraped. What a process does not have is nil.
type Sources struct {
	Ingest func() ingest.Stats
	Fleets func() []consumer.FleetStats
	Lake   func() consumer.LakeStats
	Table  func() TableStats
	Store  func() StoreStats
}

// TableStats describe the lake's table and its upkeep since the start.
type TableStats struct {
	// Known is false when the table could not be read just now; Files, SmallFiles, Bytes, Rows and Snapshots are not
	// known then.
	Known                                                                  bool
	Files, SmallFiles, Bytes, Rows, Snapshots                              int64
	FilesCompacted, SnapshotsForgotten, OrphansRemoved, OrphanBytesRemoved uint64
	UpkeepFailures                                                         uint64
	LastCompaction, LastSweep                                              time.Time
}

// StoreStats describe the stream on this machine and the disk below it. The stream's bytes are before compression.
type StoreStats struct {
	Shards []StoreShard
	// Trimmed is since the start; HeldBytes are past retention and still there for the slowest sink.
	TrimmedBytes uint64
	HeldBytes    int64
	// Sinks are empty when it is not known just now how far they are.
	Sinks []StoreSink
	// StateBytes and IndexBytes are those of files, DiskFree and DiskSize the disk's; 0 is not known.
	StateBytes, IndexBytes, DiskFree, DiskSize int64
}

// StoreSink is what the stream keeps for a sink that does not hold it yet.
type StoreSink struct {
	Sink    string
	Backlog int64 // bytes
	Age     time.Duration
	Slowest bool
}

// StoreShard is one shard's retained records.
type StoreShard struct {
	Shard          string
	Records, Bytes int64
}

// Metrics gathers everything under names that begin with penstock_, and the Go runtime's own.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

// NewMetrics makes the registry.
func NewMetrics(sources Sources) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "penstock_http_request_seconds", Help: "Time from the end of a request's header to its answer.",
			Buckets: ingest.AckBuckets,
		}, []string{"route", "method", "status"}),
	}
	m.registry.MustRegister(
		m.requests,
		&collector{sources},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Observe records an answer.
func (m *Metrics) Observe(route, method string, status int, elapsed time.Duration) {
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Observe(elapsed.Seconds())
}
