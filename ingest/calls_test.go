package ingest

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

// newScarce is a world of many shards and few calls, of which each takes 10 ms unless the script says otherwise.
func newScarce(t *testing.T, shards, calls int, script ...call) *world {
	t.Helper()
	stream := newFakeStream(shards, 8, append(script, call{delay: 10 * time.Millisecond})...)
	stream.atOnce, stream.laneBytes = calls, 1<<20
	return newWorld(t, stream, ample)
}

// However many shards there are, events that have to wait for a call share a record, so that a busy stream batches.
func TestEventsGatherWhileNoCallIsFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newScarce(t, 64, 2)
		began := time.Now()
		var posts background
		for i := range 102 {
			posts.accept(within(t, time.Second), w, w.submission(fmt.Sprint(i)))
			synctest.Wait()
		}
		posts.allDurable(t)
		if !slices.Equal(w.stream.sizes, []int{1, 1, 1}) {
			t.Errorf("records per call: %v, want two events alone and one record of 100", w.stream.sizes)
		}
		if took := time.Since(began); took != 20*time.Millisecond {
			t.Errorf("took %v, want two round trips", took)
		}
		if w.stream.most != 2 {
			t.Errorf("%d calls at a time", w.stream.most)
		}
		w.settle(t)
	})
}

// Events of many partition keys wait in as many lanes, and one call takes them all.
func TestLanesShareACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newScarce(t, 64, 1)
		began := time.Now()
		var posts background
		shards := map[*lane]bool{}
		for i := range 101 {
			s := w.submission(fmt.Sprint(i))
			s.Attributes.PartitionKey = fmt.Sprint(i)
			if i > 0 {
				shards[w.router.Load().lane(s.Attributes.PartitionKey)] = true
			}
			posts.accept(within(t, time.Second), w, s)
			synctest.Wait()
		}
		posts.allDurable(t)
		if !slices.Equal(w.stream.sizes, []int{1, len(shards)}) {
			t.Errorf("records per call: %v, want one and then one of each of %d shards", w.stream.sizes, len(shards))
		}
		if took := time.Since(began); took != 20*time.Millisecond {
			t.Errorf("took %v, want two round trips", took)
		}
		w.settle(t)
	})
}

// A shard takes 1 MiB a second: what is beyond goes with the next call, and so does what exceeds the call.
func TestCallsAreNoLargerThanTheStreamTakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newScarce(t, 32, 1)
		var posts background
		posts.accept(within(t, time.Second), w, w.submission(`0`))
		synctest.Wait()
		for _, l := range w.router.Load().lanes[:12] {
			for range 2 {
				s := w.submission(large(900_000))
				s.Attributes.PartitionKey = keyOf(w, l)
				posts.accept(within(t, time.Second), w, s)
			}
		}
		posts.allDurable(t)
		// Of 12 lanes with two each, a call has eleven records at most, of each lane one.
		if !slices.Equal(w.stream.sizes, []int{1, 11, 11, 2}) {
			t.Errorf("records per call: %v", w.stream.sizes)
		}
		w.settle(t)
	})
}

// Lanes that may have much in a call have no more than the call together.
func TestFullLanesShareACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newScarce(t, 4, 1)
		for _, l := range w.router.Load().lanes {
			l.most = maxFlightBytes
		}
		var posts background
		posts.accept(within(t, time.Second), w, w.submission(`0`))
		synctest.Wait()
		w.stream.laneBytes = maxFlightBytes
		for _, l := range w.router.Load().lanes[:2] {
			for range 8 {
				s := w.submission(large(900_000))
				s.Attributes.PartitionKey = keyOf(w, l)
				posts.accept(within(t, time.Second), w, s)
			}
		}
		posts.allDurable(t)
		if !slices.Equal(w.stream.sizes, []int{1, 11, 5}) {
			t.Errorf("records per call: %v", w.stream.sizes)
		}
		w.settle(t)
	})
}

// keyOf finds a partition key of a lane.
func keyOf(w *world, l *lane) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint(i); w.router.Load().lane(key) == l {
			return key
		}
	}
}

// Each lane of a call has its own fate: the one that is throttled rests and tries again, the others are acked.
func TestOneThrottledLaneOfACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := call{delay: 10 * time.Millisecond}
		second := call{delay: 10 * time.Millisecond, fates: []fate{fateStored, fateThrottled, fateStored}}
		w := newScarce(t, 4, 1, first, second)
		began := time.Now()
		var posts background
		took := map[int]time.Duration{}
		for i, l := range w.router.Load().lanes {
			s := w.submission(fmt.Sprint(i))
			s.Attributes.PartitionKey = keyOf(w, l)
			posts.Go(func() {
				if _, _, err := w.Accept(within(t, time.Second), s, ""); err != nil {
					t.Error(err)
				}
				posts.mu.Lock()
				defer posts.mu.Unlock()
				took[i] = time.Since(began)
			})
			synctest.Wait()
		}
		posts.Wait()
		if took[0] != 10*time.Millisecond || took[1] != 20*time.Millisecond || took[3] != 20*time.Millisecond {
			t.Errorf("acked after %v", took)
		}
		if took[2] < 20*time.Millisecond+firstPause/2+10*time.Millisecond {
			t.Errorf("the throttled lane did not rest: %v", took[2])
		}
		if !slices.Equal(w.stream.sizes, []int{1, 3, 1}) {
			t.Errorf("records per call: %v", w.stream.sizes)
		}
		w.settle(t)
	})
}

// Calls that hang don't keep others from being made for longer than slowPut; what bounds them then is each lane's slots.
func TestHangingCallsDoNotStopTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newScarce(t, 8, 2, call{hang: true}, call{hang: true})
		var hanging background
		for i := range 2 {
			hanging.accept(within(t, 2*putTimeout), w, w.submission(fmt.Sprint(i)))
			synctest.Wait()
		}
		began := time.Now()
		if _, _, err := w.Accept(within(t, time.Second), w.submission(`2`), ""); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != slowPut+10*time.Millisecond {
			t.Errorf("took %v", took)
		}
		w.stream.then(call{})
		hanging.allDurable(t)
		w.settle(t)
	})
}

// A lane whose shard is throttled gets no event that may go elsewhere.
func TestRestingLaneDoesNotGather(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newFakeStream(4, 1), ample)
	r := w.router.Load()
	resting := r.lane("")
	resting.place(100)
	if r.lane("") != resting {
		t.Error("the next event does not share the record")
	}
	resting.ready.Store(false)
	if r.lane("") == resting {
		t.Error("the next event waits with those of a lane that rests")
	}
	resting.ready.Store(true)
	resting.place(schemas.MaxAggregateBytes)
	r.last.Store(resting)
	if r.lane("") == resting {
		t.Error("the next event goes behind a full record")
	}
	resting.place(-100 - schemas.MaxAggregateBytes)
}
