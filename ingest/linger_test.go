package ingest

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// newLingering is a world whose only call takes 1 ms and lingers for 10.
func newLingering(t *testing.T) *world {
	t.Helper()
	stream := newFakeStream(4, 8, call{delay: time.Millisecond})
	stream.atOnce, stream.linger = 1, 10*time.Millisecond
	return newWorld(t, stream, ample)
}

// postEach posts n documents, each when the one before waits.
func postEach(t *testing.T, w *world, posts *background, n int) {
	t.Helper()
	for i := range n {
		posts.accept(within(t, time.Second), w, w.submission(fmt.Sprint(i)))
		synctest.Wait()
	}
}

// ackedAfter posts n documents, each when the one before waits, and says how long it takes until all are acked.
func ackedAfter(t *testing.T, w *world, n int) time.Duration {
	t.Helper()
	began := time.Now()
	var posts background
	postEach(t, w, &posts, n)
	posts.allDurable(t)
	return time.Since(began)
}

// crowded posts until a call has carried events.
func crowded(t *testing.T, w *world, events int) {
	t.Helper()
	ackedAfter(t, w, 1+events)
	if got := w.stream.sizes; !slices.Equal(got, []int{1, 1}) {
		t.Fatalf("records per call: %v, want one event and then one record of %d", got, events)
	}
}

// Under load what comes within the linger time of the last call shares the next one.
func TestCallsLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLingering(t)
		crowded(t, w, 6)
		took := time.Now() // the second call took off a millisecond ago
		var posts background
		for range 4 {
			postEach(t, w, &posts, 1)
			elapse(2 * time.Millisecond)
		}
		posts.allDurable(t)
		if len(w.stream.sizes) != 3 || len(w.stream.stored) != 11 {
			t.Errorf("%d calls for %d events, want one for the last four", len(w.stream.sizes), len(w.stream.stored))
		}
		if d := time.Since(took); d != 10*time.Millisecond {
			t.Errorf("acked after %v, want 9 ms of lingering and one of the call", d)
		}
		w.settle(t)
	})
}

// As many as the largest call of late has carried are not kept waiting: they may be all that there are.
func TestFullCallDoesNotLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLingering(t)
		crowded(t, w, 6)
		for range 3 {
			if d := ackedAfter(t, w, 6); d != time.Millisecond {
				t.Errorf("acked after %v, want one round trip", d)
			}
		}
		if len(w.stream.sizes) != 5 {
			t.Errorf("%d calls, want one for each six events", len(w.stream.sizes))
		}
		w.settle(t)
	})
}

// Where few come nobody waits for more, and neither does who comes after a pause.
func TestNoLingeringWithoutLoad(t *testing.T) {
	t.Parallel()
	for name, events := range map[string]int{"few": crowd - 1, "after a pause": crowd} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newLingering(t)
				crowded(t, w, events)
				if events >= crowd {
					elapse(10 * time.Millisecond)
				}
				if d := ackedAfter(t, w, 1); d != time.Millisecond {
					t.Errorf("acked after %v, want one round trip", d)
				}
				w.settle(t)
			})
		})
	}
}

// Calls that carry few bring the lingering to an end.
func TestLingeringEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLingering(t)
		crowded(t, w, crowd)
		var took []time.Duration
		for range lookBack + 1 {
			took = append(took, ackedAfter(t, w, 1))
		}
		if eighth, ninth := took[lookBack-1], took[lookBack]; eighth != 10*time.Millisecond || ninth != time.Millisecond {
			t.Errorf("acked after %v", took)
		}
		w.settle(t)
	})
}

// Who has no room in a call that lingered has the next one that is free, at once.
func TestWhoDoesNotFitHasAnotherCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stream := newFakeStream(4, 8, call{delay: 10 * time.Millisecond})
		stream.atOnce, stream.linger = 2, 20*time.Millisecond
		w := newWorld(t, stream, ample)
		lanes := w.router.Load().lanes
		post := func(posts *background, l *lane, n int, body string) {
			for range n {
				s := w.submission(body)
				s.Attributes.PartitionKey = keyOf(w, l)
				posts.accept(within(t, time.Second), w, s)
				synctest.Wait()
			}
		}
		var crowd background
		post(&crowd, lanes[0], 42, `0`) // two calls of one event, one of forty
		crowd.allDurable(t)
		before, began := len(stream.sizes), time.Now()
		var posts background
		post(&posts, lanes[0], 12, large(900_000))
		post(&posts, lanes[1], 3, large(900_000))
		posts.allDurable(t)
		if calls := len(stream.sizes) - before; calls != 2 || stream.most != 2 {
			t.Errorf("%d calls, %d at a time", calls, stream.most)
		}
		if took := time.Since(began); took > 20*time.Millisecond {
			t.Errorf("took %v, want both calls under way at once", took)
		}
		w.settle(t)
	})
}
