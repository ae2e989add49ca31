package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

const ample = 64 << 20

// elapse lets virtual time pass.
func elapse(d time.Duration) { <-time.After(d) }

// background runs accept calls and collects their errors.
type background struct {
	sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

func (b *background) accept(ctx context.Context, w *world, s Submission) {
	b.Go(func() {
		_, _, err := w.Accept(ctx, s, "")
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errs = append(b.errs, err)
	})
}

// allDurable waits for the calls and fails unless all were acked.
func (b *background) allDurable(t *testing.T) {
	t.Helper()
	b.Wait()
	for _, err := range b.errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestIdleLaneFliesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{delay: 10 * time.Millisecond}), ample)
		began := time.Now()
		ack, replayed, err := w.Accept(within(t, time.Second), w.submission(`{"a":1}`), "")
		if err != nil || replayed || ack.Via != "stream" {
			t.Fatal(ack, replayed, err)
		}
		if took := time.Since(began); took != 10*time.Millisecond {
			t.Errorf("took %v, want the one round trip of 10 ms", took)
		}
		stored := w.stream.events()
		if len(stored) != 1 || stored[0].ID != ack.ID || string(stored[0].Data) != `{"a":1}` ||
			!stored[0].ReceivedTime.Equal(ack.ReceivedTime) {
			t.Errorf("stored %+v, acked %+v", stored, ack)
		}
		w.settle(t)
	})
}

func TestBusyLaneGathers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{delay: 10 * time.Millisecond}), ample)
		var posts background
		for i := range 1001 {
			posts.accept(within(t, time.Second), w, w.submission(fmt.Sprint(i)))
			synctest.Wait() // the first flies, the others queue in order
		}
		posts.allDurable(t)
		if !slices.Equal(w.stream.sizes, []int{1, 2}) {
			t.Errorf("records per call: %v, want one event alone and then 1000 in two records", w.stream.sizes)
		}
		for i, e := range w.stream.events() {
			if string(e.Data) != fmt.Sprint(i) {
				t.Fatalf("event %d is %s", i, e.Data)
			}
		}
		w.settle(t)
	})
}

func TestBatchSharesRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		items := make([]Submission, 600)
		for i := range items {
			items[i] = w.submission(fmt.Sprint(i))
		}
		results, _, err := w.AcceptBatch(within(t, time.Second), items, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		stored := w.stream.events()
		for i, r := range results {
			if r.Err != nil || stored[i].ID != r.Ack.ID || string(stored[i].Data) != fmt.Sprint(i) {
				t.Fatalf("item %d: %+v, stored %s %s", i, r, stored[i].ID, stored[i].Data)
			}
		}
		if !slices.Equal(w.stream.sizes, []int{2}) {
			t.Errorf("records per call: %v, want one call of two records", w.stream.sizes)
		}
		w.settle(t)
	})
}

// large is a document of n bytes.
func large(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }

func TestOnlyThrottledRecordsAreRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{fates: []fate{fateStored, fateThrottled, fateStored}}, call{}), ample)
		items := []Submission{w.submission(large(200_000)), w.submission(large(200_001)), w.submission(large(200_002))}
		results, _, err := w.AcceptBatch(within(t, time.Second), items, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Err != nil || w.stream.copies(r.Ack.ID) != 1 {
				t.Errorf("item %d: %v, %d copies", i, r.Err, w.stream.copies(r.Ack.ID))
			}
		}
		if !slices.Equal(w.stream.sizes, []int{3, 1}) {
			t.Errorf("records per call: %v, want 3 and then the throttled one", w.stream.sizes)
		}
		if s := w.Stats(); s.Throttled != 1 || s.Records != 3 || s.Puts != 2 || s.Accepted != 3 ||
			s.AcceptedBytes != 600_003 || s.AckSeconds[5]+s.AckSeconds[4] != 3 {
			t.Errorf("stats: %+v", s)
		}
		w.settle(t)
	})
}

// TestThrottledGoBackInOrder has two flights in the air and both throttled: their events must come before those that
// arrived later, in the order in which they arrived, whichever flight lands first.
func TestThrottledGoBackInOrder(t *testing.T) {
	t.Parallel()
	for name, delays := range map[string][2]time.Duration{"first lands first": {1, 2}, "second lands first": {2, 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				throttle := []fate{fateThrottled}
				w := newWorld(t, newFakeStream(1, 2, call{delay: delays[0], fates: throttle},
					call{delay: delays[1], fates: throttle}, call{}), ample)
				var posts background
				for i := range 5 {
					posts.accept(within(t, time.Second), w, w.submission(fmt.Sprint(i)))
					synctest.Wait()
				}
				posts.allDurable(t)
				for i, e := range w.stream.events() {
					if string(e.Data) != fmt.Sprint(i) {
						t.Errorf("event %d is %s", i, e.Data)
					}
				}
				if !slices.Equal(w.stream.sizes, []int{1, 1, 1}) {
					t.Errorf("records per call: %v", w.stream.sizes)
				}
				w.settle(t)
			})
		})
	}
}

func TestBackoffGrowsAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{fates: []fate{fateThrottled}}), ample)
		began := time.Now()
		_, _, err := w.Accept(within(t, 2*time.Second), w.submission(`1`), "")
		if !errors.Is(err, ErrNotDurable) || !errors.Is(err, ErrThrottled) || errors.Is(err, ErrUnknownOutcome) {
			t.Error(err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("answered after %v", took)
		}
		// Pauses of 10-20, 20-40, 40-80, 80-160, 160-320 and then 250-500 ms.
		if n := w.stream.count(); n < 7 || n > 13 {
			t.Errorf("%d attempts in 2 s", n)
		}
		// One flight that gets through ends the series.
		w.stream.then(call{}, call{fates: []fate{fateThrottled}}, call{})
		for range 2 {
			began = time.Now()
			if _, _, err := w.Accept(within(t, 2*time.Second), w.submission(`2`), ""); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took > firstPause {
			t.Errorf("a first throttle after a success cost %v", took)
		}
		w.settle(t)
	})
}

func TestFlightStaysWithinTenMebibytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{delay: time.Millisecond}), ample)
		items := make([]Submission, 23)
		for i := range items {
			items[i] = w.submission(large(schemas.MaxInlineBody - i))
			items[i].Attributes.Subject = strings.Repeat("s", 15_000)
		}
		results, _, err := w.AcceptBatch(within(t, time.Second), items, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Err != nil {
				t.Errorf("item %d: %v", i, r.Err)
			}
		}
		if !slices.Equal(w.stream.sizes, []int{10, 10, 3}) {
			t.Errorf("records per call: %v", w.stream.sizes)
		}
		w.settle(t)
	})
}

func TestAggregateSizeIsNeverUnderestimated(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 100, 127, 128, 16_383, 16_384, 262_144, 1_017_000, 2_097_152} {
		event := make([]byte, n)
		base := schemas.AggregatedSize(recordKey, schemas.MaxHashKey, nil)
		size := schemas.AggregatedSize(recordKey, schemas.MaxHashKey, [][]byte{event, event})
		if guess := base + 2*(n+subrecordOverhead); size > guess {
			t.Errorf("two events of %d bytes take %d, planned %d", n, size, guess)
		}
	}
}

func TestDoubtIsSticky(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]call{
		"full": {fates: []fate{fateFull}}, "refused": {fates: []fate{fateRefused}}, "throttled": {fates: []fate{fateThrottled}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, newFakeStream(1, 1, call{fates: []fate{fateAmbiguousStored}}, second, second, second), ample)
				_, _, err := w.Accept(within(t, 40*time.Millisecond), w.submission(`1`), "")
				if !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrNotDurable) {
					t.Errorf("the event is stored, and the answer is %v", err)
				}
				w.settle(t)
			})
		})
	}
}

// TestOpenWriteIsNotRetried: it may yet land, and a second copy would stay (invariant 2).
func TestOpenWriteIsNotRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{fates: []fate{fateOpenLate}}, call{}), ample)
		_, _, err := w.Accept(within(t, time.Minute), w.submission(`1`), "")
		if !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrNotDurable) {
			t.Errorf("the event may yet be stored, and the answer is %v", err)
		}
		if _, _, err := w.Accept(within(t, time.Second), w.submission(`2`), ""); err != nil {
			t.Errorf("the next event: %v", err)
		}
		w.settle(t)
		if stored := w.stream.events(); len(stored) != 2 || w.stream.count() != 2 || w.Stats().Ambiguous != 1 {
			t.Errorf("%d calls, %+v, stored %v", w.stream.count(), w.Stats(), stored)
		}
	})
}

func TestFinalErrorsAreNotRetried(t *testing.T) {
	t.Parallel()
	for cause, f := range map[error]fate{ErrStorageFull: fateFull, errRefused: fateRefused} {
		t.Run(cause.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, newFakeStream(1, 1, call{fates: []fate{f}}), ample)
				_, _, err := w.Accept(within(t, time.Second), w.submission(`1`), "")
				if !errors.Is(err, ErrNotDurable) || !errors.Is(err, cause) {
					t.Error(err)
				}
				if w.stream.count() != 1 || w.Stats().Failed != 1 {
					t.Errorf("%d calls, %d failed", w.stream.count(), w.Stats().Failed)
				}
				w.settle(t)
			})
		})
	}
}

// TestWaiterThatLeavesFreesItsBytes: the first event hangs in a flight, the second only queues.
func TestWaiterThatLeavesFreesItsBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{delay: 3 * time.Second}, call{}), ample)
		var first background
		first.accept(within(t, time.Second), w, w.submission(`1`))
		synctest.Wait()
		inFlight := w.budget.Used()
		_, _, err := w.Accept(within(t, time.Second), w.submission(`2`), "")
		if !errors.Is(err, ErrNotDurable) || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("queued only: %v", err)
		}
		if used := w.budget.Used(); used != inFlight {
			t.Errorf("%d bytes in use after the second left, %d before it came", used, inFlight)
		}
		first.Wait()
		if !errors.Is(first.errs[0], ErrUnknownOutcome) {
			t.Errorf("in flight: %v", first.errs[0])
		}
		w.settle(t)
		if stored := w.stream.events(); len(stored) != 1 || string(stored[0].Data) != "1" {
			t.Errorf("stored: %v; the first flight must go on without its client, the second must never start", stored)
		}
	})
}

func TestHangingPutEndsAtItsOwnDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{hang: true}, call{}), ample)
		began := time.Now()
		ack, _, err := w.Accept(within(t, time.Minute), w.submission(`1`), "")
		if took := time.Since(began); err != nil || took < putTimeout || took > putTimeout+firstPause {
			t.Errorf("%v after %v", err, took)
		}
		if w.stream.copies(ack.ID) != 1 {
			t.Error("not stored once")
		}
		w.settle(t)
	})
}

func TestStreamThatAnswersTooLittleIsAmbiguous(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{short: true}, call{}), ample)
		ack, _, err := w.Accept(within(t, time.Second), w.submission(`1`), "")
		if err != nil || w.stream.copies(ack.ID) != 2 || w.Stats().Ambiguous != 1 {
			t.Errorf("%v, %d copies, %+v", err, w.stream.copies(ack.ID), w.Stats())
		}
		w.settle(t)
	})
}
