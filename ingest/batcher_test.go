package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"penstock/schemas"
)

// scenario is what one run of the property test does. It is drawn as a whole before virtual time begins.
type scenario struct {
	Shards, Slots int
	Calls         int
	Linger        time.Duration
	LaneBytes     int
	Limit         int64
	BodyDelay     time.Duration
	BodyFails     bool
	Script        []call
	Clients       []client
	DrainAfter    time.Duration // 0: when all clients are done
}

// client posts its documents one after the other.
type client struct {
	Start, Think, Deadline time.Duration
	Key                    string
	Idempotent             bool
	Sizes                  []int
	Batch                  int // items of each post; 0: single
}

// TestEveryEventHasItsHonestOutcome runs random clients against a stream with random faults, and compares what the
// clients were told with what is on the stream.
func TestEveryEventHasItsHonestOutcome(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScenario(rt)
		var problems []string
		synctest.Test(t, func(t *testing.T) { problems = s.run(t) })
		if len(problems) > 0 {
			rt.Fatalf("%s", strings.Join(problems[:min(len(problems), 5)], "\n"))
		}
	})
}

func drawScenario(t *rapid.T) scenario {
	milliseconds := func(from, to int, label string) time.Duration {
		return time.Duration(rapid.IntRange(from, to).Draw(t, label)) * time.Millisecond
	}
	drawCall := rapid.Custom(func(t *rapid.T) call {
		return call{
			delay: time.Duration(rapid.SampledFrom([]int{0, 0, 1, 15, 300, 2500}).Draw(t, "delay")) * time.Millisecond,
			hang:  rapid.IntRange(0, 11).Draw(t, "hang") == 11,
			short: rapid.IntRange(0, 15).Draw(t, "short") == 15,
			fates: rapid.SliceOfN(rapid.SampledFrom([]fate{
				fateStored, fateStored, fateStored, fateThrottled, fateThrottled, fateAmbiguousLost, fateAmbiguousStored,
				fateAmbiguousLate, fateOpenLate, fateFull, fateRefused,
			}), 0, 5).Draw(t, "fates"),
		}
	})
	drawClient := rapid.Custom(func(t *rapid.T) client {
		c := client{
			Start: milliseconds(0, 50, "start"), Think: milliseconds(0, 5, "think"),
			Deadline:   milliseconds(1, 2000, "deadline"),
			Key:        rapid.SampledFrom([]string{"", "", "a", "b", "c"}).Draw(t, "key"),
			Idempotent: rapid.Bool().Draw(t, "idempotent"),
			Sizes: rapid.SliceOfN(rapid.SampledFrom([]int{
				0, 0, 0, 0, 2_000, 2_000, 120_000, 262_000, schemas.MaxInlineBody, schemas.MaxInlineBody + 1,
			}), 1, 6).Draw(t, "sizes"),
		}
		if rapid.IntRange(0, 3).Draw(t, "isBatch") == 0 {
			c.Batch = rapid.SampledFrom([]int{1, 7, 40, 1_200}).Draw(t, "batch")
			c.Sizes = []int{0, 300}[:rapid.IntRange(1, 2).Draw(t, "posts")]
		}
		return c
	})
	return scenario{
		Shards: rapid.IntRange(1, 4).Draw(t, "shards"), Slots: rapid.IntRange(1, 3).Draw(t, "slots"),
		Calls:      rapid.SampledFrom([]int{1, 2, 4, 12}).Draw(t, "calls"),
		Linger:     rapid.SampledFrom([]time.Duration{0, 2 * time.Millisecond, 100 * time.Millisecond}).Draw(t, "linger"),
		LaneBytes:  rapid.SampledFrom([]int{1, 300_000, 1 << 20, maxFlightBytes}).Draw(t, "laneBytes"),
		Limit:      rapid.SampledFrom([]int64{2_000, 1_500_000, 64 << 20, 64 << 20}).Draw(t, "limit"),
		BodyDelay:  milliseconds(0, 400, "bodyDelay"),
		BodyFails:  rapid.IntRange(0, 9).Draw(t, "bodyFails") == 9,
		Script:     rapid.SliceOfN(drawCall, 0, 8).Draw(t, "script"),
		Clients:    rapid.SliceOfN(drawClient, 1, 8).Draw(t, "clients"),
		DrainAfter: milliseconds(0, 1, "drainKind") * time.Duration(rapid.IntRange(0, 3000).Draw(t, "drainAfter")),
	}
}

// told is what a client was told about one document.
type told struct {
	client int
	key    string
	body   []byte
	ack    Ack
	err    error
}

// trial is a running scenario.
type trial struct {
	scenario
	w *world

	mu       sync.Mutex
	told     []told // per client in order
	problems []string
}

func (s scenario) run(t *testing.T) []string {
	stream := newFakeStream(s.Shards, s.Slots, s.Script...)
	stream.atOnce, stream.linger, stream.laneBytes = s.Calls, s.Linger, s.LaneBytes
	r := &trial{scenario: s, w: newWorld(t, stream, s.Limit)}
	r.w.bodies.delay = s.BodyDelay
	if s.BodyFails {
		r.w.bodies.err = errRefused
	}
	var clients sync.WaitGroup
	for i := range s.Clients {
		clients.Go(func() { r.client(i) })
	}
	if s.DrainAfter == 0 {
		clients.Wait()
	} else {
		elapse(s.DrainAfter)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.w.Drain(ctx); err != nil {
		r.problem("drain: %v", err)
	}
	clients.Wait()
	r.w.stream.late.Wait()
	synctest.Wait()
	if leftover := r.w.leftovers(); leftover != "" {
		r.problem("%s", leftover)
	}
	r.compare()
	r.checkAttempts()
	r.checkOrder()
	return r.problems
}

func (r *trial) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// client posts and checks at once what can be checked only at once: an ack means that the event is stored, now.
func (r *trial) client(i int) {
	c := r.Clients[i]
	elapse(c.Start)
	for n, size := range c.Sizes {
		items := make([]Submission, max(c.Batch, 1))
		for k := range items {
			items[k] = r.w.submission(fmt.Sprintf(`{"client":%d,"post":%d,"item":%d}%s`, i, n, k, strings.Repeat(" ", size)))
			if size > 1000 { // exactly that large
				items[k].Body = items[k].Body[:size]
			}
			items[k].Attributes.PartitionKey = c.Key
		}
		key := ""
		if c.Idempotent {
			key = fmt.Sprintf("key-%d-%d", i, n)
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.Deadline)
		began := time.Now()
		results := r.post(ctx, c, items, key)
		if took := time.Since(began); took > c.Deadline {
			r.problem("client %d waited %v, its deadline was %v", i, took, c.Deadline)
		}
		cancel()
		for k, result := range results {
			if result.Err == nil && r.w.stream.copies(result.Ack.ID) == 0 {
				r.problem("client %d: post %d, item %d was acked before it was stored", i, n, k)
			}
			items[k].Hold.Release()
			r.mu.Lock()
			r.told = append(r.told, told{i, c.Key, items[k].Body, result.Ack, result.Err})
			r.mu.Unlock()
		}
		elapse(c.Think)
	}
}

func (r *trial) post(ctx context.Context, c client, items []Submission, key string) []Result {
	if c.Batch == 0 {
		ack, _, err := r.w.Accept(ctx, items[0], key)
		return []Result{{ack, err}}
	}
	results, _, err := r.w.AcceptBatch(ctx, items, nil, key)
	if err != nil {
		return slices.Repeat([]Result{{Err: err}}, len(items))
	}
	return results
}

// compare holds what the clients were told against what is stored.
func (r *trial) compare() {
	bySum := map[[32]byte][]schemas.Event{}
	for _, e := range r.w.stream.events() {
		bySum[e.SHA256] = append(bySum[e.SHA256], e)
	}
	for _, d := range r.told {
		copies := bySum[sha256.Sum256(d.body)]
		delete(bySum, sha256.Sum256(d.body))
		switch {
		case d.err == nil:
			r.checkStored(d, copies)
		case errors.Is(d.err, ErrUnknownOutcome):
			// anything may be
		case errors.Is(d.err, ErrNotDurable), errors.Is(d.err, ErrOverloaded), errors.Is(d.err, ErrDraining):
			if len(copies) > 0 {
				r.problem("client %d was told %q, but %d copies are stored", d.client, d.err, len(copies))
			}
		default:
			r.problem("client %d was told %v", d.client, d.err)
		}
	}
	if len(bySum) > 0 {
		r.problem("%d events on the stream that nobody sent", len(bySum))
	}
}

func (r *trial) checkStored(d told, copies []schemas.Event) {
	if len(copies) == 0 {
		r.problem("client %d has an ack for an event that is not stored", d.client)
		return
	}
	for _, e := range copies {
		body := e.Data
		if e.DataRef != "" {
			body = r.w.bodies.get(e.DataRef)
		}
		if !bytes.Equal(body, d.body) || e.ID != d.ack.ID || e.PartitionKey != d.key ||
			!e.ReceivedTime.Equal(d.ack.ReceivedTime) {
			r.problem("client %d: the stored event %s is not the one that was sent", d.client, e.ID)
		}
	}
}

// checkAttempts holds every event's attempts against the retry rules.
func (r *trial) checkAttempts() {
	for id, attempts := range r.w.stream.attempts {
		var pinned *schemas.HashKey
		for k, a := range attempts {
			if pinned != nil && a.hashKey != *pinned {
				r.problem("event %s changed its hash key after it was ambiguous", id)
			}
			switch a.fate {
			case fateThrottled:
			case fateAmbiguousLost, fateAmbiguousStored, fateAmbiguousLate:
				pinned = &a.hashKey
			default:
				if k < len(attempts)-1 {
					r.problem("event %s was sent again after fate %d", id, a.fate)
				}
			}
		}
		if copies := len(r.w.stream.at[id]); pinned == nil && copies > 1 {
			r.problem("event %s was never ambiguous and is stored %d times", id, copies)
		}
	}
}

// checkOrder checks that a client that waits for each ack finds the first copies of its keyed events in that order.
func (r *trial) checkOrder() {
	place := map[string]int{} // index of the first copy in its shard
	shard := map[string]string{}
	for id, log := range r.w.stream.log {
		for i, e := range slices.Backward(log) {
			place[e.ID], shard[e.ID] = i, id
		}
	}
	last := map[int]Ack{}
	for _, d := range r.told {
		if d.key == "" || d.err != nil || r.Clients[d.client].Batch > 0 {
			continue
		}
		if before, ok := last[d.client]; ok {
			if shard[before.ID] != shard[d.ack.ID] || place[before.ID] >= place[d.ack.ID] {
				r.problem("client %d: event %s is stored before %s", d.client, d.ack.ID, before.ID)
			}
		}
		last[d.client] = d.ack
	}
}
