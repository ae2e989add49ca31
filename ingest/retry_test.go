package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// retries is a scenario of requests that are repeated with their keys, by several clients at once, over crashes.
type retries struct {
	Shards, Slots int
	Script        []call
	Items         []int // of each request; 0: single
	Clients       int   // of each request
	Deadlines     []time.Duration
	Pause         time.Duration
	Crashes       []time.Duration
	FinishFails   bool
}

// TestOneKeyNeverMakesASecondEvent: whatever happens to a request with a key, all its acks name one id, the stream has
// no other, and no more copies than the stream itself made.
func TestOneKeyNeverMakesASecondEvent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := drawRetries(rt)
		var problems []string
		synctest.Test(t, func(t *testing.T) { problems = s.run(t) })
		if len(problems) > 0 {
			rt.Fatalf("%s", strings.Join(problems[:min(len(problems), 5)], "\n"))
		}
	})
}

func drawRetries(t *rapid.T) retries {
	milliseconds := func(from, to int) *rapid.Generator[time.Duration] {
		return rapid.Map(rapid.IntRange(from, to), func(n int) time.Duration { return time.Duration(n) * time.Millisecond })
	}
	drawCall := rapid.Custom(func(t *rapid.T) call {
		return call{
			delay: time.Duration(rapid.SampledFrom([]int{0, 5, 100, 400, 2500}).Draw(t, "delay")) * time.Millisecond,
			hang:  rapid.IntRange(0, 9).Draw(t, "hang") == 9,
			fates: rapid.SliceOfN(rapid.SampledFrom([]fate{
				fateStored, fateStored, fateThrottled, fateAmbiguousLost, fateAmbiguousStored, fateAmbiguousLate,
				fateOpenLate, fateFull,
			}), 1, 4).Draw(t, "fates"),
		}
	})
	return retries{
		Shards: rapid.IntRange(1, 3).Draw(t, "shards"), Slots: rapid.IntRange(1, 2).Draw(t, "slots"),
		Script:      rapid.SliceOfN(drawCall, 1, 8).Draw(t, "script"),
		Items:       rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 1, 4}), 1, 4).Draw(t, "items"),
		Clients:     rapid.IntRange(1, 3).Draw(t, "clients"),
		Deadlines:   rapid.SliceOfN(milliseconds(1, 2000), 1, 5).Draw(t, "deadlines"),
		Pause:       milliseconds(0, 500).Draw(t, "pause"),
		Crashes:     rapid.SliceOfN(milliseconds(1, 2000), 0, 2).Draw(t, "crashes"),
		FinishFails: rapid.Bool().Draw(t, "finishFails"),
	}
}

// siege is a running scenario.
type siege struct {
	retries

	mu       sync.Mutex
	w        *world
	old      []*Ingest
	acks     map[string]string // document → id
	problems []string
}

func (s retries) run(t *testing.T) []string {
	r := &siege{
		retries: s, w: newWorld(t, newFakeStream(s.Shards, s.Slots, s.Script...), ample), acks: map[string]string{},
	}
	if s.FinishFails {
		r.w.claims.finishErr = errRefused
	}
	var clients sync.WaitGroup
	for request := range s.Items {
		for range s.Clients {
			clients.Go(func() {
				for attempt := range 8 {
					r.post(request, s.Deadlines[attempt%len(s.Deadlines)])
					elapse(s.Pause)
				}
			})
		}
	}
	for _, after := range s.Crashes {
		elapse(after)
		r.crash(t)
	}
	clients.Wait()
	r.drain(t)
	r.w.stream.then(call{})
	r.w.restart(t)
	for request := range s.Items { // at the end everybody gets an answer
		r.post(request, time.Minute)
	}
	r.drain(t)
	r.compare()
	return r.problems
}

func (r *siege) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// crash ends the process: its flights are cut off, nothing of it runs on, and another one starts.
func (r *siege) crash(t *testing.T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w.abort()
	r.w.stream.forget()
	r.old = append(r.old, r.w.Ingest)
	r.w.restart(t)
}

func (r *siege) drain(t *testing.T) {
	for _, in := range append(r.old, r.w.Ingest) {
		if err := in.Drain(within(t, time.Minute)); err != nil {
			r.problem("drain: %v", err)
		}
	}
	r.w.stream.late.Wait()
	synctest.Wait()
	if leftover := r.w.leftovers(); leftover != "" {
		r.problem("%s", leftover)
	}
}

func document(request, item int) string {
	return fmt.Sprintf(`{"request":%d,"item":%d}`, request, item)
}

func (r *siege) post(request int, deadline time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	items := make([]Submission, max(r.Items[request], 1))
	for i := range items {
		items[i] = r.w.submission(document(request, i))
		items[i].Attributes.PartitionKey = []string{"", "a", "b", "c"}[i]
	}
	r.mu.Lock()
	in, key := r.w.Ingest, fmt.Sprint("key-", request)
	r.mu.Unlock()
	var results []Result
	var err error
	if r.Items[request] == 0 {
		var ack Ack
		if ack, _, err = in.Accept(ctx, items[0], key); err == nil {
			results = []Result{{Ack: ack}}
		}
	} else {
		results, _, err = in.AcceptBatch(ctx, items, nil, key)
	}
	if errors.Is(err, ErrKeyReused) {
		r.problem("request %d: %v", request, err)
	}
	for i, result := range results {
		if result.Err != nil {
			continue
		}
		if r.w.stream.copies(result.Ack.ID) == 0 {
			r.problem("request %d, item %d was acked and is not stored", request, i)
		}
		r.mu.Lock()
		first, acked := r.acks[document(request, i)]
		r.acks[document(request, i)] = result.Ack.ID
		r.mu.Unlock()
		if acked && first != result.Ack.ID {
			r.problem("request %d, item %d has ids %s and %s", request, i, first, result.Ack.ID)
		}
	}
}

func (r *siege) compare() {
	ids := map[[32]byte]string{}
	received := map[string]time.Time{}
	for _, e := range r.w.stream.events() {
		if other, ok := ids[e.SHA256]; ok && other != e.ID {
			r.problem("%s is stored as %s and %s", e.Data, other, e.ID)
		}
		if other, ok := received[e.ID]; ok && !other.Equal(e.ReceivedTime) {
			r.problem("event %s has two received times", e.ID)
		}
		ids[e.SHA256], received[e.ID] = e.ID, e.ReceivedTime
	}
	for request, items := range r.Items {
		for i := range max(items, 1) {
			d := document(request, i)
			if id := r.acks[d]; id == "" || ids[sha256.Sum256([]byte(d))] != id {
				r.problem("%s was acked as %q in the end", d, id)
			}
		}
	}
	for id, attempts := range r.w.stream.attempts {
		may := 1
		for _, a := range attempts {
			if a.fate == fateAmbiguousStored || a.fate == fateAmbiguousLate || a.fate == fateOpenLate {
				may++
			}
		}
		if copies := r.w.stream.copies(id); copies > may {
			r.problem("event %s is stored %d times, %d explained", id, copies, may)
		}
	}
}
