package ingest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

// post accepts one document with the key "k" and a deadline of one second.
func (w *world) post(t testing.TB, body string) (Ack, bool, error) {
	t.Helper()
	return w.Accept(within(t, time.Second), w.submission(body), "k")
}

// replays fails unless posting the body again answers with the first ack, and the stream has n copies of the event.
func (w *world) replays(t testing.TB, body string, first Ack, n int) {
	t.Helper()
	ack, replayed, err := w.post(t, body)
	if err != nil || !replayed || ack != first {
		t.Errorf("replay: %+v, %v, %v; first was %+v", ack, replayed, err, first)
	}
	if copies := w.stream.copies(first.ID); copies != n || len(w.stream.events()) != n {
		t.Errorf("%d copies, %d events", copies, len(w.stream.events()))
	}
}

// claimed gives the claim of the key "k".
func (w *world) claimed(t testing.TB) Claim {
	t.Helper()
	c, ok := w.claims.get("k")
	if !ok {
		t.Fatal("no claim")
	}
	return c
}

func TestReplayOfADoneRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(2, 1), ample)
		first, replayed, err := w.post(t, `{"n":1}`)
		if err != nil || replayed {
			t.Fatal(first, replayed, err)
		}
		elapse(time.Hour) // the received time must be the first one's
		w.replays(t, `{"n":1}`, first, 1)
		w.restart(t)
		w.replays(t, `{"n":1}`, first, 1)
		if w.ledger.asked != 0 || !w.claimed(t).Done {
			t.Errorf("the ledger was asked %d times; claim %+v", w.ledger.asked, w.claimed(t))
		}
		if s := w.Stats(); s.Accepted != 0 {
			t.Errorf("%d events accepted after the restart", s.Accepted)
		}
		w.settle(t)
	})
}

func TestReusedKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(2, 1), ample)
		if _, _, err := w.post(t, `{"n":1}`); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.post(t, `{"n": 1}`); !errors.Is(err, ErrKeyReused) {
			t.Error("another body:", err)
		}
		for name, change := range map[string]func(*schemas.Attributes){
			"type":      func(a *schemas.Attributes) { a.Type = "x" },
			"subject":   func(a *schemas.Attributes) { a.Subject = "x" },
			"extension": func(a *schemas.Attributes) { a.Extensions = map[string]string{"x": "y"} },
			"key":       func(a *schemas.Attributes) { a.PartitionKey = "x" },
		} {
			s := w.submission(`{"n":1}`)
			change(&s.Attributes)
			if _, _, err := w.Accept(within(t, time.Second), s, "k"); !errors.Is(err, ErrKeyReused) {
				t.Errorf("another %s: %v", name, err)
			}
		}
		batch := []Submission{w.submission(`{"n":1}`)}
		if results, _, err := w.AcceptBatch(within(t, time.Second), batch, nil, "k"); !errors.Is(err, ErrKeyReused) || results != nil {
			t.Error("as a batch:", results, err)
		}
		if len(w.stream.events()) != 1 {
			t.Errorf("%d events", len(w.stream.events()))
		}
		w.settle(t)
	})
}

func TestFingerprintFramesItsParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newFakeStream(1, 1), ample)
	seen := map[[32]byte]string{}
	for name, items := range map[string][]Submission{
		"12 and 3": {w.submission("12"), w.submission("3")},
		"1 and 23": {w.submission("1"), w.submission("23")},
		"123":      {w.submission("123")},
		"type ab":  {{Body: []byte("1"), Attributes: schemas.Attributes{Type: "ab"}}},
		"a, b":     {{Body: []byte("1"), Attributes: schemas.Attributes{Type: "a", Source: "b"}}},
		"b, a":     {{Body: []byte("1"), Attributes: schemas.Attributes{Type: "b", Source: "a"}}},
		"x=yz":     {{Body: []byte("1"), Attributes: schemas.Attributes{Extensions: map[string]string{"x": "yz"}}}},
		"xy=z":     {{Body: []byte("1"), Attributes: schemas.Attributes{Extensions: map[string]string{"xy": "z"}}}},
	} {
		f := w.newRequest(items, nil, true).fingerprint(t.Context())
		if other, ok := seen[f]; ok {
			t.Errorf("%q and %q have one fingerprint", name, other)
		}
		seen[f] = name
		if f != w.newRequest(items, nil, true).fingerprint(t.Context()) {
			t.Errorf("%q has two fingerprints", name)
		}
		if f == w.newRequest(items, nil, false).fingerprint(t.Context()) {
			t.Errorf("%q: single and batch have one fingerprint", name)
		}
	}
}

func TestTwoRequestsWithOneKeyAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(2, 1, call{delay: 100 * time.Millisecond}), ample)
		acks := make(chan Ack, 1)
		go func() {
			ack, _, err := w.post(t, `1`)
			if err != nil {
				t.Error(err)
			}
			acks <- ack
		}()
		synctest.Wait()
		if _, _, err := w.post(t, `1`); !errors.Is(err, ErrKeyInFlight) {
			t.Error(err)
		}
		w.replays(t, `1`, <-acks, 1)
		w.settle(t)
	})
}

// TestCrashBetweenStoreAndFinish: the event is on the stream, the claim does not know.
func TestCrashBetweenStoreAndFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(2, 1), ample)
		w.claims.finishErr = errRefused
		first, _, err := w.post(t, `1`)
		if err != nil || w.claimed(t).Done {
			t.Fatal(err, w.claimed(t))
		}
		w.restart(t)
		w.replays(t, `1`, first, 1)
		w.claims.finishErr = nil
		w.replays(t, `1`, first, 1)
		w.replays(t, `1`, first, 1)
		if w.ledger.asked != 2 || !w.claimed(t).Done {
			t.Errorf("the ledger was asked %d times, want 2: the second answer ends it", w.ledger.asked)
		}
		w.settle(t)
	})
}

// TestCrashBetweenClaimAndStore: the claim is all that is left.
func TestCrashBetweenClaimAndStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(2, 1), ample)
		items := []Submission{w.submission(`1`)}
		r := w.newRequest(items, nil, false)
		r.receive(now().UTC().Truncate(time.Microsecond))
		left := Claim{ID: r.id, ReceivedTime: r.received, Fingerprint: r.fingerprint(t.Context())}
		if _, _, err := w.claims.Claim(t.Context(), "k", left); err != nil {
			t.Fatal(err)
		}
		elapse(time.Hour)
		ack, replayed, err := w.post(t, `1`)
		if err != nil || replayed || ack.ID != left.ID || !ack.ReceivedTime.Equal(left.ReceivedTime) {
			t.Fatal(ack, replayed, err)
		}
		if e := w.stream.events()[0]; e.ID != left.ID || !e.ReceivedTime.Equal(left.ReceivedTime) || !e.Time.Equal(left.ReceivedTime) {
			t.Errorf("stored %+v", e)
		}
		if !slices.Equal(w.ledger.tries, []string{left.ID}) {
			t.Errorf("the ledger was told of tries of %q", w.ledger.tries)
		}
		w.replays(t, `1`, ack, 1)
		w.settle(t)
	})
}

// TestKeyStaysInFlightAfterUnknown: the client has given up, the flight has not.
func TestKeyStaysInFlightAfterUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(2, 1, call{delay: 3 * time.Second}, call{}), ample)
		if _, _, err := w.post(t, `1`); !errors.Is(err, ErrUnknownOutcome) {
			t.Fatal(err)
		}
		for range 2 {
			if _, _, err := w.post(t, `1`); !errors.Is(err, ErrKeyInFlight) {
				t.Error(err)
			}
		}
		elapse(3 * time.Second)
		c := w.claimed(t)
		if !c.Done {
			t.Error("the landing did not finish the claim")
		}
		w.replays(t, `1`, Ack{ID: c.ID, ReceivedTime: c.ReceivedTime, Via: viaStream}, 1)
		if w.ledger.asked != 0 {
			t.Errorf("the ledger was asked %d times", w.ledger.asked)
		}
		w.settle(t)
	})
}

func TestRetryAfterTheFirstWasDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(2, 1, call{fates: []fate{fateThrottled}}), ample)
		if _, _, err := w.post(t, `1`); !errors.Is(err, ErrNotDurable) {
			t.Fatal(err)
		}
		w.stream.then(call{})
		ack, replayed, err := w.post(t, `1`)
		if err != nil || replayed || ack.ID != w.claimed(t).ID {
			t.Error(ack, replayed, err)
		}
		w.replays(t, `1`, ack, 1)
		w.settle(t)
	})
}

func TestRetryAfterAmbiguity(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fate     fate
		replayed bool
	}{
		"stored": {fateAmbiguousStored, true},
		"lost":   {fateAmbiguousLost, false},
		"late":   {fateAmbiguousLate, true},
		"open":   {fateOpenLate, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// The request ends while the flight is out, so that nothing is tried again.
				w := newWorld(t, newFakeStream(2, 1, call{delay: 1100 * time.Millisecond, fates: []fate{test.fate}}), ample)
				if _, _, err := w.post(t, `1`); !errors.Is(err, ErrUnknownOutcome) {
					t.Fatal(err)
				}
				elapse(time.Second)
				w.stream.then(call{})
				if test.fate == fateAmbiguousLate || test.fate == fateOpenLate {
					if _, _, err := w.post(t, `1`); !errors.Is(err, ErrKeyInFlight) || !errors.Is(err, ErrUnsettled) {
						t.Error("before it is settled:", err)
					}
					w.stream.late.Wait()
				}
				ack, replayed, err := w.post(t, `1`)
				if err != nil || replayed != test.replayed || ack.ID != w.claimed(t).ID {
					t.Error(ack, replayed, err)
				}
				w.replays(t, `1`, ack, 1)
				w.settle(t)
			})
		})
	}
}

func TestBatchPutsOnlyWhatIsMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{fates: []fate{fateStored, fateFull, fateStored}}), ample)
		items := []Submission{
			w.submission(large(200_000)), w.submission(`malformed`), w.submission(large(200_001)), {}, w.submission(large(200_002)),
		}
		errCut := errors.New("cut off")
		post := func() ([]Result, bool) {
			results, replayed, err := w.AcceptBatch(within(t, time.Second), items, []error{nil, nil, nil, errCut, nil}, "k")
			if err != nil {
				t.Fatal(err)
			}
			var malformed *schemas.JSONError
			if !errors.As(results[1].Err, &malformed) || !errors.Is(results[3].Err, errCut) {
				t.Errorf("what is wrong must be judged alike: %v, %v", results[1].Err, results[3].Err)
			}
			return results, replayed
		}
		first, _ := post()
		if first[0].Err != nil || !errors.Is(first[2].Err, ErrStorageFull) || first[4].Err != nil || w.claimed(t).Done {
			t.Fatalf("%+v, claim %+v", first, w.claimed(t))
		}
		w.restart(t)
		w.stream.then(call{})
		second, replayed := post()
		if replayed || !w.claimed(t).Done || w.stream.count() != 1 || w.stream.sizes[1] != 1 {
			t.Errorf("replayed %v, calls %d, records %v", replayed, w.stream.count(), w.stream.sizes)
		}
		third, replayed := post()
		if !replayed || w.stream.count() != 1 || w.ledger.asked != 1 {
			t.Errorf("replayed %v, calls %d, ledger %d", replayed, w.stream.count(), w.ledger.asked)
		}
		for _, i := range []int{0, 2, 4} {
			id := schemas.DeriveID(w.claimed(t).ID, i)
			if second[i].Ack.ID != id || third[i].Ack != second[i].Ack || w.stream.copies(id) != 1 {
				t.Errorf("item %d: %+v, %+v, %d copies of %s", i, second[i], third[i], w.stream.copies(id), id)
			}
		}
		if first[0].Ack != second[0].Ack || len(w.stream.events()) != 3 {
			t.Errorf("%+v, %+v, %d events", first[0], second[0], len(w.stream.events()))
		}
		w.settle(t)
	})
}

// TestBatchOverloadIsNotDone: an item that found no room is acceptable, so the claim stays open for it.
func TestBatchOverloadIsNotDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), 3_000)
		items := []Submission{w.submission(large(1_000)), w.submission(large(1_900)), w.submission(`1`)}
		results, _, err := w.AcceptBatch(within(t, time.Second), items, nil, "k")
		if err != nil || results[0].Err != nil || !errors.Is(results[1].Err, ErrOverloaded) || results[2].Err != nil {
			t.Fatal(results, err)
		}
		if w.claimed(t).Done {
			t.Error("claim is done with an item missing")
		}
		results, replayed, err := w.AcceptBatch(within(t, time.Second), items, nil, "k")
		if err != nil || replayed || results[1].Err != nil || len(w.stream.events()) != 3 || !w.claimed(t).Done {
			t.Error(results, replayed, err, len(w.stream.events()))
		}
		w.settle(t)
	})
}

func TestInvalidSubmissionsClaimNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		if _, _, err := w.post(t, `{`); err == nil {
			t.Error("no error")
		}
		items := []Submission{w.submission(`{`), {}}
		results, replayed, err := w.AcceptBatch(within(t, time.Second), items, []error{nil, errRefused}, "k")
		if err != nil || replayed || results[0].Err == nil || results[1].Err == nil {
			t.Error(results, replayed, err)
		}
		if len(w.claims.kept) != 0 {
			t.Errorf("claims: %v", w.claims.kept)
		}
		w.settle(t)
	})
}

func TestClaimFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		w.claims.err = fmt.Errorf("state table: %w", ErrStorageFull)
		if _, _, err := w.post(t, `1`); !errors.Is(err, ErrNotDurable) || !errors.Is(err, ErrStorageFull) {
			t.Error(err)
		}
		if w.stream.count() != 0 {
			t.Error("the stream was asked")
		}
		w.claims.err = nil
		if _, replayed, err := w.post(t, `1`); err != nil || replayed {
			t.Error(replayed, err)
		}
		w.settle(t)
	})
}

// TestClaimThatHangs: the answer comes at the deadline although the store ignores its context, and when its write lands
// at last the next request finds it.
func TestClaimThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		w.claims.hang = make(chan struct{})
		began := time.Now()
		_, _, err := w.post(t, `1`)
		if took := time.Since(began); !errors.Is(err, ErrNotDurable) || took != time.Second {
			t.Errorf("%v after %v", err, took)
		}
		close(w.claims.hang)
		synctest.Wait()
		ack, _, err := w.post(t, `1`)
		if err != nil || ack.ID != w.claimed(t).ID {
			t.Error(ack, err)
		}
		w.replays(t, `1`, ack, 1)
		w.settle(t)
	})
}

func TestLedgerFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{fates: []fate{fateFull}}), ample)
		if _, _, err := w.post(t, `1`); !errors.Is(err, ErrStorageFull) {
			t.Fatal(err)
		}
		w.stream.then(call{})
		for _, cause := range []error{errRefused, ErrUnsettled} {
			w.ledger.err = cause
			want := map[error]error{errRefused: ErrUnknownOutcome, ErrUnsettled: ErrKeyInFlight}[cause]
			if _, _, err := w.post(t, `1`); !errors.Is(err, want) || !errors.Is(err, cause) {
				t.Errorf("%v: %v", cause, err)
			}
		}
		if w.stream.count() != 0 {
			t.Error("the stream was asked")
		}
		w.ledger.err = nil
		if ack, _, err := w.post(t, `1`); err != nil || ack.ID != w.claimed(t).ID {
			t.Error(ack, err)
		}
		w.settle(t)
	})
}

// TestLedgerThatHasNotCaughtUp: a retry after a restart must not be told that nothing is stored, when all that is known is
// that the ledger could not tell before the deadline.
func TestLedgerThatHasNotCaughtUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		w.claims.finishErr = errRefused
		first, _, err := w.post(t, `1`)
		if err != nil {
			t.Fatal(err)
		}
		w.restart(t)
		w.ledger.slow = true
		began := time.Now()
		_, _, err = w.post(t, `1`)
		if took := time.Since(began); !errors.Is(err, ErrKeyInFlight) || !errors.Is(err, ErrUnsettled) ||
			errors.Is(err, ErrNotDurable) || took != time.Second {
			t.Errorf("%v after %v", err, took)
		}
		synctest.Wait() // for the call that was left behind
		w.ledger.slow = false
		w.replays(t, `1`, first, 1)
		w.settle(t)
	})
}

func TestLargeBodyIsRetriedWithItsID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		w.bodies.delay = 1500 * time.Millisecond
		body := large(schemas.MaxInlineBody + 1)
		if _, _, err := w.post(t, body); !errors.Is(err, ErrNotDurable) {
			t.Fatal(err)
		}
		w.bodies.setDelay(0) // the first upload is still under way
		ack, replayed, err := w.post(t, body)
		if err != nil || replayed || ack.ID != w.claimed(t).ID {
			t.Error(ack, replayed, err)
		}
		w.replays(t, body, ack, 1)
		w.settle(t)
		if len(w.bodies.kept) != 1 {
			t.Errorf("%d bodies", len(w.bodies.kept))
		}
	})
}
