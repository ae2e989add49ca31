// Package consumer reads the stream and fans its events into sinks: fleets of shard workers that hold leases, the index
// sink (lookup by id), the lake sink (SQL), and each sink's dead letters.
//
// It is a core: it imports schemas and the standard library and small general libraries only, never ingest, an adapter,
// or a vendor's SDK. What it needs from outside is declared in ports.go.
package consumer
