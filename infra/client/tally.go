package client

import (
	"math"
	"time"
)

// Tally adds outcomes up.
type Tally struct {
	// Accepted events are durable, and Bytes are theirs as they were sent.
	Accepted, Bytes int64
	// Rejected events were refused for good. Unsent ones are not stored, but might be accepted later. Unconfirmed ones
	// may be stored or not.
	Rejected, Unsent, Unconfirmed int64
	// Requests that were made, and how many of them were tries beyond the first.
	Requests, Retries int64
	latencies         histogram
}

// Add counts an outcome.
func (t *Tally) Add(o Outcome) {
	for i, r := range o.Receipts {
		switch {
		case r.Err == nil:
			t.Accepted++
			t.Bytes += int64(o.Origins[i].Size)
		case r.Unsure:
			t.Unconfirmed++
		case Transient(r.Err):
			t.Unsent++
		default:
			t.Rejected++
		}
	}
	if o.Tries == 0 {
		return
	}
	t.Requests += int64(o.Tries)
	t.Retries += int64(o.Tries - 1)
	if o.Err == nil {
		t.latencies.add(o.Elapsed)
	}
}

// Latency is the time, in the given quantile of the answered requests, from the beginning of the first try to the answer;
// exact for 1, else at most 3 % too high.
func (t *Tally) Latency(quantile float64) time.Duration { return t.latencies.quantile(quantile) }

// histogram counts durations in buckets that grow by a 32nd of a power of two.
type histogram struct {
	buckets [64 * 32]int64
	count   int64
	longest time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 1)
	bucket := int(math.Log2(float64(d)) * 32)
	h.buckets[min(max(bucket, 0), len(h.buckets)-1)]++
	h.count++
	h.longest = max(h.longest, d)
}

func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(h.count)))
	for i, n := range h.buckets {
		if rank -= n; rank <= 0 && n > 0 {
			return min(time.Duration(math.Exp2(float64(i+1)/32)), h.longest)
		}
	}
	return h.longest
}
