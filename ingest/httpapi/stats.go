package httpapi

import (
	"context"
	"time"

	"penstock/ingest"
)

// statsState is how the process does, as the API shows it. Who subtracts two looks has rates, and the acks of the time between:
// the counters begin anew when since changes.
type statsState struct {
	Time     string        `json:"time"`
	Since    string        `json:"since"`
	Accepted acceptedStats `json:"accepted"`
	Acks     ackStats      `json:"acks"`
	Sinks    []sinkStats   `json:"sinks,omitempty"`
	Stream   *streamSize   `json:"stream,omitempty"`
	Lake     *lakeSize     `json:"lake,omitempty"`
}

type acceptedStats struct {
	Events uint64 `json:"events"`
	Bytes  uint64 `json:"bytes"`
}

// ackStats is a histogram: Counts[i] acks took at most Bounds[i] seconds and more than the bound before; the last count, which
// has no bound, is of those that took longer than all.
type ackStats struct {
	Bounds []float64 `json:"bounds"`
	Counts []uint64  `json:"counts"`
}

type sinkStats struct {
	Sink string `json:"sink"`
	// LagSeconds is the age of the oldest record that the sink does not hold yet.
	LagSeconds   float64 `json:"lagSeconds"`
	BacklogBytes int64   `json:"backlogBytes"`
}

type streamSize struct {
	Bytes int64 `json:"bytes"`
}

type lakeSize struct {
	Rows  int64 `json:"rows"`
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (s *Server) getStats(x *exchange) error {
	ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
	defer cancel()
	stats := s.deps.Stats.Stats(ctx)
	state := statsState{
		Time: formatTime(stats.At), Since: formatTime(stats.Since),
		Accepted: acceptedStats{Events: stats.Ingest.Accepted, Bytes: stats.Ingest.AcceptedBytes},
		Acks:     ackStats{Bounds: ingest.AckBuckets, Counts: stats.Ingest.AckSeconds},
		Stream:   (*streamSize)(stats.Stream), Lake: (*lakeSize)(stats.Lake),
	}
	for _, sink := range stats.Sinks {
		var lag time.Duration
		if !sink.Oldest.IsZero() {
			lag = max(0, stats.At.Sub(sink.Oldest))
		}
		state.Sinks = append(state.Sinks, sinkStats{Sink: sink.Sink, LagSeconds: lag.Seconds(), BacklogBytes: sink.Bytes})
	}
	x.ctx.Response.Header.Set("Cache-Control", "no-store")
	return s.answerJSON(x, textAnswer*(1+len(state.Sinks)), state)
}
