// Package telemetry is what an operator sees: structured logs and Prometheus metrics.
//
// It reads the statistics that the cores keep; it imports them, schemas and Prometheus' client, and nothing imports it
// but the wiring. It must never hold up what it measures.
package telemetry
