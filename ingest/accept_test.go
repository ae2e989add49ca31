package ingest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

func TestWhatIsWrongWithTheSubmissionComesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), 10) // nothing fits
		isJSON := func(err error) bool {
			var e *schemas.JSONError
			return errors.As(err, &e)
		}
		is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
		badSource := w.submission(`1`)
		badSource.Attributes.Source = "not a uri"
		for name, test := range map[string]struct {
			s    Submission
			want func(error) bool
		}{
			"empty":      {w.submission(``), is(ErrEmpty)},
			"malformed":  {w.submission(`{"a":}`), isJSON},
			"two values": {w.submission(`1 2`), isJSON},
			"deep":       {w.submission(strings.Repeat("[", 1_000_000)), isJSON},
			"too large":  {w.submission(strings.Repeat(" ", schemas.MaxBody) + "1"), is(ErrTooLarge)},
			"attribute":  {badSource, is(schemas.ErrAttribute)},
			"overload":   {w.submission(`1`), is(ErrOverloaded)},
		} {
			if ack, _, err := w.Accept(within(t, time.Second), test.s, ""); !test.want(err) || ack != (Ack{}) {
				t.Errorf("%s: %v, %v", name, ack, err)
			}
			results, _, err := w.AcceptBatch(within(t, time.Second), []Submission{test.s}, nil, "")
			if err != nil || !test.want(results[0].Err) {
				t.Errorf("%s in a batch: %v, %v", name, results, err)
			}
		}
		if w.stream.count() != 0 {
			t.Error("the stream was asked")
		}
		w.settle(t)
	})
}

// TestBatchThatTakesTooLong: what can't even be checked in time is refused as a whole, and claims nothing.
func TestBatchThatTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		for _, key := range []string{"", "k"} {
			results, _, err := w.AcceptBatch(atOnce(), []Submission{w.submission(`1`), w.submission(`2`)}, nil, key)
			if !errors.Is(err, ErrNotDurable) || results != nil {
				t.Errorf("%v, %v", results, err)
			}
		}
		if _, claimed := w.claims.get("k"); claimed || w.stream.count() != 0 {
			t.Error("claimed, or the stream was asked")
		}
		w.settle(t)
	})
}

func TestBatchKeepsPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(2, 1), ample)
		errCut := errors.New("line 3 is cut off")
		items := []Submission{w.submission(`1`), w.submission(`nope`), {}, w.submission(`4`)}
		results, replayed, err := w.AcceptBatch(within(t, time.Second), items, []error{nil, nil, errCut, nil}, "")
		if err != nil || replayed {
			t.Fatal(err, replayed)
		}
		var malformed *schemas.JSONError
		if results[0].Err != nil || !errors.As(results[1].Err, &malformed) || !errors.Is(results[2].Err, errCut) ||
			results[3].Err != nil || results[0].Ack.ID == results[3].Ack.ID {
			t.Errorf("%+v", results)
		}
		if len(w.stream.events()) != 2 {
			t.Errorf("%d events stored", len(w.stream.events()))
		}
		if empty, _, err := w.AcceptBatch(within(t, time.Second), nil, nil, ""); err != nil || len(empty) != 0 {
			t.Error("empty batch:", empty, err)
		}
		w.settle(t)
	})
}

func TestOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{delay: time.Second}), 4_000)
		items := make([]Submission, 20)
		for i := range items {
			items[i] = w.submission(`"body"`)
		}
		results, _, err := w.AcceptBatch(within(t, 2*time.Second), items, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		acked := 0
		for _, r := range results {
			switch {
			case r.Err == nil:
				acked++
			case !errors.Is(r.Err, ErrOverloaded):
				t.Error(r.Err)
			}
		}
		if acked < 4 || acked > 10 || acked != len(w.stream.events()) {
			t.Errorf("%d acked, %d stored", acked, len(w.stream.events()))
		}
		if _, _, err := w.Accept(within(t, 2*time.Second), w.submission(`"later"`), ""); err != nil {
			t.Errorf("after the landing: %v", err)
		}
		w.settle(t)
	})
}

func TestLargeBodyIsStoredBeforeItsEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		w.bodies.delay = 50 * time.Millisecond
		s := w.submission(large(schemas.MaxInlineBody + 1))
		if err := s.Hold.Grow(t.Context(), int64(len(s.Body))); err != nil {
			t.Fatal(err)
		}
		ack, _, err := w.Accept(within(t, time.Second), s, "")
		if err != nil {
			t.Fatal(err)
		}
		e := w.stream.events()[0]
		if e.ID != ack.ID || e.Data != nil || string(w.bodies.get(e.DataRef)) != string(s.Body) ||
			e.Size != int64(len(s.Body)) {
			t.Errorf("%+v", e)
		}
		s.Hold.Release()
		w.settle(t)
	})
}

// TestUploadGoesOnWithoutItsRequest: the store still reads the body, so its bytes stay in the budget.
func TestUploadGoesOnWithoutItsRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		w.bodies.delay = 5 * time.Second
		s := w.submission(large(2_000_000))
		if err := s.Hold.Grow(t.Context(), int64(len(s.Body))); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, _, err := w.Accept(within(t, time.Second), s, "")
		if took := time.Since(began); !errors.Is(err, ErrNotDurable) || took != time.Second {
			t.Errorf("%v after %v", err, took)
		}
		s.Hold.Release()
		if used := w.budget.Used(); used != 2_000_000 {
			t.Errorf("%d bytes in use while the upload goes on", used)
		}
		w.settle(t)
		if len(w.stream.events()) != 0 || len(w.bodies.kept) != 1 {
			t.Errorf("%d events, %d bodies", len(w.stream.events()), len(w.bodies.kept))
		}
	})
}

func TestBodyStoreRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		w.bodies.err = ErrStorageFull
		items := []Submission{w.submission(large(1_000_001)), w.submission(`1`)}
		results, _, err := w.AcceptBatch(within(t, time.Second), items, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		if !errors.Is(results[0].Err, ErrNotDurable) || !errors.Is(results[0].Err, ErrStorageFull) || results[1].Err != nil {
			t.Errorf("%+v", results)
		}
		w.settle(t)
	})
}

func TestRequestThatCameTooLateIsNotStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		if _, _, err := w.Accept(atOnce(), w.submission(`1`), ""); !errors.Is(err, ErrNotDurable) {
			t.Error(err)
		}
		w.settle(t)
		if w.stream.count() != 0 {
			t.Error("the stream was asked")
		}
	})
}

func TestDrainWaitsAndRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{delay: 300 * time.Millisecond, fates: []fate{fateThrottled}},
			call{delay: 300 * time.Millisecond}), ample)
		var posts background
		for range 3 {
			posts.accept(within(t, 2*time.Second), w, w.submission(`1`))
			synctest.Wait()
		}
		done := make(chan error)
		go func() { done <- w.Drain(within(t, 10*time.Second)) }()
		synctest.Wait()
		if _, _, err := w.Accept(within(t, time.Second), w.submission(`2`), ""); !errors.Is(err, ErrDraining) {
			t.Error(err)
		}
		if _, _, err := w.AcceptBatch(within(t, time.Second), []Submission{w.submission(`2`)}, nil, "k"); !errors.Is(err, ErrDraining) {
			t.Error(err)
		}
		select {
		case err := <-done:
			t.Error("drained with events in flight:", err)
		default:
		}
		posts.allDurable(t)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.Drain(atOnce()); err != nil {
			t.Error("again:", err)
		}
		w.settle(t)
	})
}

func TestDrainThatRunsOutOfTimeGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// The first event hangs, one is throttled and waits for its turn, the last was never sent.
		w := newWorld(t, newFakeStream(1, 1, call{fates: []fate{fateThrottled}}, call{hang: true}), ample)
		var posts background
		for range 3 {
			posts.accept(within(t, time.Hour), w, w.submission(`1`))
		}
		elapse(time.Second)
		began := time.Now()
		if err := w.Drain(within(t, time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		posts.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v", took)
		}
		for _, err := range posts.errs {
			if !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotDurable) {
				t.Error(err)
			}
		}
		synctest.Wait()
		w.settle(t)
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	stream := newFakeStream(1, 1)
	with := func(change func(*Config)) Config {
		c := stream.limits()
		change(&c)
		return c
	}
	for name, test := range map[string]struct {
		cfg    Config
		stream Stream
	}{
		"no slots":   {with(func(c *Config) { c.Slots = 0 }), stream},
		"no calls":   {with(func(c *Config) { c.Calls = 0 }), stream},
		"no time":    {with(func(c *Config) { c.Linger = -1 }), stream},
		"no bytes":   {with(func(c *Config) { c.LaneBytes = 0 }), stream},
		"many bytes": {with(func(c *Config) { c.LaneBytes = maxFlightBytes + 1 }), stream},
		"no large":   {with(func(c *Config) { c.Large = 0 }), stream},
		"no clock":   {with(func(c *Config) { c.Now = nil }), stream},
		"no shards":  {stream.limits(), newFakeStream(0, 1)},
		"no stream":  {stream.limits(), deadStream{}},
	} {
		if _, err := New(t.Context(), test.cfg, test.stream, nil, nil, nil, NewBudget(1)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

type deadStream struct{ Stream }

func (deadStream) Shards(context.Context) ([]Shard, error) { return nil, errRefused }

// In a rush of large bodies, of which each takes 0.5 s to store, those that come first are durable in time, two by two; the
// others are refused without their bodies having been touched. All at once, on a disk that they share, would all be late.
func TestLargeBodiesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1), ample)
		w.bodies.delay = 500 * time.Millisecond
		errs := make(chan error, 12)
		ctx := within(t, 1900*time.Millisecond) // one of all: those of the same moment would end one after the other
		for range cap(errs) {
			s := w.submission(large(1_000_001))
			go func() {
				_, _, err := w.Accept(ctx, s, "")
				errs <- err
			}()
		}
		acked := 0
		for range cap(errs) {
			switch err := <-errs; {
			case err == nil:
				acked++
			case !errors.Is(err, ErrNotDurable):
				t.Error(err)
			}
		}
		w.settle(t)
		if acked != 6 || len(w.bodies.kept) > 8 {
			t.Errorf("%d acked and %d bodies stored, want 3 rounds of 2, and one on its way", acked, len(w.bodies.kept))
		}
	})
}
