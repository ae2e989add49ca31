package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Connections adds the front's client connections: those open now, and those refused since the start because there were
// too many. The source must be safe for concurrent use. To be called once.
func (m *Metrics) Connections(source func() (open int, refused uint64)) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "penstock_http_connections", Help: "Open client connections.",
		}, func() float64 { open, _ := source(); return float64(open) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "penstock_http_refused_connections_total", Help: "Connections refused because too many were open.",
		}, func() float64 { _, refused := source(); return float64(refused) }),
	)
}
