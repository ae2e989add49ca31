package ingest

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

// TestWhatIsOnItsWayIsNotClaimed asks again and again while requests come, wait, fly, are throttled and give up: whatever
// comes to the stream later was not claimed to be there.
func TestWhatIsOnItsWayIsNotClaimed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(2, 1, call{delay: 300 * time.Millisecond}, call{fates: []fate{fateThrottled}},
			call{delay: 2 * time.Second}), ample)
		w.bodies.delay = 700 * time.Millisecond
		var clients sync.WaitGroup
		for i := range 40 {
			body, key := `1`, ""
			switch i % 4 {
			case 1:
				body = large(schemas.MaxInlineBody + 1)
			case 2:
				key = strconv.Itoa(i)
			}
			clients.Go(func() {
				elapse(time.Duration(i) * 100 * time.Millisecond)
				s := w.submission(body)
				if err := s.Hold.Grow(t.Context(), int64(len(body))); err != nil {
					t.Error(err)
				}
				_, _, _ = w.Accept(within(t, time.Second), s, key)
				s.Hold.Release()
			})
		}
		type claim struct {
			through time.Time
			there   map[string]bool
		}
		var claims []claim
		waited := 0
		for range 200 {
			c := claim{w.CompleteThrough(), map[string]bool{}}
			if c.through.Before(now().Truncate(time.Microsecond)) {
				waited++
			}
			for _, e := range w.stream.events() {
				c.there[e.ID] = true
			}
			claims = append(claims, c)
			elapse(50 * time.Millisecond)
		}
		clients.Wait()
		w.settle(t)
		stored := w.stream.events()
		if len(stored) < 10 || waited < 10 {
			t.Fatalf("%d events stored, %d claims of an earlier time", len(stored), waited)
		}
		for _, c := range claims {
			for _, e := range stored {
				if e.ReceivedTime.Before(c.through) && !c.there[e.ID] {
					t.Fatalf("all before %v was claimed to be there; %s of %v was not", c.through, e.ID, e.ReceivedTime)
				}
			}
		}
		if through := w.CompleteThrough(); !through.Equal(now().Truncate(time.Microsecond)) {
			t.Errorf("at rest all before %v", through)
		}
	})
}

// TestFlightOutlivesItsRequest: what is still in the air when its client has gone is not claimed either.
func TestFlightOutlivesItsRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(1, 1, call{delay: time.Second}), ample)
		received := now().UTC().Truncate(time.Microsecond)
		if _, _, err := w.Accept(within(t, 100*time.Millisecond), w.submission(`1`), ""); !errors.Is(err, ErrUnknownOutcome) {
			t.Fatal(err)
		}
		if through := w.CompleteThrough(); !through.Equal(received) {
			t.Errorf("all before %v, want %v", through, received)
		}
		elapse(time.Second)
		if through := w.CompleteThrough(); !through.After(received) || w.stream.count() != 1 {
			t.Errorf("all before %v, %d stored", through, w.stream.count())
		}
		w.settle(t)
	})
}
