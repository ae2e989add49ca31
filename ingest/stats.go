package ingest

import (
	"sync/atomic"
	"time"
)

// Stats are counters since the start and present gauges.
type Stats struct {
	Accepted, AcceptedBytes      uint64 // events acked and their body bytes
	Throttled, Ambiguous, Failed uint64 // records by outcome of a Put
	Records, Puts                uint64 // records stored, Put calls
	QueuedEvents, QueuedBytes    int64  // encoded, waiting for or in a flight
	InFlightBytes, InFlightLimit int64  // of the budget
	// AckSeconds is a histogram of the time from Accept to ack: AckSeconds[i] counts acks within AckBuckets[i]
	// seconds (not cumulative), the last entry those above.
	AckSeconds []uint64
	AckSum     float64
}

// AckBuckets are the upper bounds of Stats.AckSeconds, in seconds.
var AckBuckets = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2}

// counters are the live form of Stats.
type counters struct {
	accepted, acceptedBytes      atomic.Uint64
	throttled, ambiguous, failed atomic.Uint64
	records, puts                atomic.Uint64
	queuedEvents, queuedBytes    atomic.Int64
	ackBuckets                   []atomic.Uint64
	ackNanoseconds               atomic.Int64
}

func newCounters() *counters { return &counters{ackBuckets: make([]atomic.Uint64, len(AckBuckets)+1)} }

// acked counts events of one request that were acked after the given time.
func (c *counters) acked(events, bodyBytes int, after time.Duration) {
	if events == 0 {
		return
	}
	c.accepted.Add(uint64(events))
	c.acceptedBytes.Add(uint64(bodyBytes))
	c.ackNanoseconds.Add(int64(after) * int64(events))
	bucket, seconds := 0, after.Seconds()
	for bucket < len(AckBuckets) && seconds > AckBuckets[bucket] {
		bucket++
	}
	c.ackBuckets[bucket].Add(uint64(events))
}

// Stats reads the counters. Each is exact, but they are not read in one instant.
func (in *Ingest) Stats() Stats {
	c := in.counters
	s := Stats{
		Accepted: c.accepted.Load(), AcceptedBytes: c.acceptedBytes.Load(),
		Throttled: c.throttled.Load(), Ambiguous: c.ambiguous.Load(), Failed: c.failed.Load(),
		Records: c.records.Load(), Puts: c.puts.Load(),
		QueuedEvents: c.queuedEvents.Load(), QueuedBytes: c.queuedBytes.Load(),
		InFlightBytes: in.budget.Used(), InFlightLimit: in.budget.Limit(),
		AckSeconds: make([]uint64, len(c.ackBuckets)),
		AckSum:     time.Duration(c.ackNanoseconds.Load()).Seconds(),
	}
	for i := range c.ackBuckets {
		s.AckSeconds[i] = c.ackBuckets[i].Load()
	}
	return s
}
