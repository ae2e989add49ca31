package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"penstock/schemas"
)

// TestReshard: whatever the shards are split and merged into, every event is acked and stored once, all attempts of one bear
// one hash key, and a client that waits for each ack has its keyed events in order.
func TestReshard(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, 8), 2, 6).Draw(rt, "shards")
		script := rapid.SliceOfN(rapid.SampledFrom([]fate{fateStored, fateStored, fateThrottled}), 1, 5).Draw(rt, "fates")
		synctest.Test(t, func(t *testing.T) {
			calls := make([]call, len(script))
			for i, f := range script {
				calls[i] = call{delay: time.Duration(i+1) * time.Millisecond, fates: []fate{f}}
			}
			calls = append(calls, call{delay: time.Millisecond})
			w := newWorld(t, newFakeStream(sizes[0], 1, calls...), ample)
			ids := acceptWhile(t, w, 4, 20, func() {
				for _, n := range sizes[1:] {
					elapse(5 * time.Millisecond)
					w.stream.reshard(evenShards(n))
					if err := w.Refresh(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
			place := map[string]int{}
			for i, e := range w.stream.inOrder() {
				place[e.ID] = i
			}
			for client, sent := range ids {
				for i, id := range sent {
					if n := w.stream.copies(id); n != 1 {
						t.Errorf("event %d of client %d is stored %d times", i, client, n)
					}
					if i > 0 && place[id] < place[sent[i-1]] {
						t.Errorf("client %d: event %d stands before the one before it", client, i)
					}
				}
			}
			w.stream.oneKeyEach(t)
			w.settle(t)
		})
	})
}

// acceptWhile has clients post keyed events, each waiting for its ack, while something else goes on, and returns the ids.
func acceptWhile(t *testing.T, w *world, clients, each int, goesOn func()) [][]string {
	t.Helper()
	ids := make([][]string, clients)
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			for i := range each {
				s := w.submission(fmt.Sprintf("[%d,%d]", c, i))
				s.Attributes.PartitionKey = fmt.Sprintf("client %d", c)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				ack, _, err := w.Accept(ctx, s, "")
				cancel()
				if err != nil {
					t.Errorf("client %d, event %d: %v", c, i, err)
				}
				ids[c] = append(ids[c], ack.ID)
			}
		})
	}
	goesOn()
	group.Wait()
	return ids
}

// A listing that fails, or that leaves a gap as one in the middle of a split may, changes nothing.
func TestRefreshKeepsWhatItHad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newFakeStream(2, 1), ample)
	before := w.router.Load()
	w.stream.reshard(evenShards(3)[:2])
	if err := w.Refresh(t.Context()); err == nil {
		t.Error("no error about a gap")
	}
	failing := &failingShards{w.stream}
	w.Ingest.stream = failing
	if err := w.Refresh(t.Context()); !errors.Is(err, errListing) {
		t.Errorf("%v, want the listing's error", err)
	}
	if w.router.Load() != before {
		t.Error("the lanes have changed")
	}
}

// A split keeps the lane of the lower half, a merge that of the lower shard.
func TestRefreshKeepsLanes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, newFakeStream(2, 1), ample)
	two := w.router.Load().lanes
	w.stream.reshard(evenShards(4))
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	four := w.router.Load().lanes
	w.stream.reshard(evenShards(1))
	if err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if one := w.router.Load().lanes; four[0] != two[0] || four[2] != two[1] || one[0] != two[0] || len(one) != 1 {
		t.Error("a lane was not kept")
	}
}

var errListing = errors.New("listing failed")

type failingShards struct{ Stream }

func (*failingShards) Shards(context.Context) ([]Shard, error) { return nil, errListing }

// inOrder are all stored events, in the order in which they were stored.
func (s *fakeStream) inOrder() []schemas.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored
}

// oneKeyEach fails the test if two attempts of an event bore different hash keys.
func (s *fakeStream) oneKeyEach(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, attempts := range s.attempts {
		for _, a := range attempts {
			if a.hashKey != attempts[0].hashKey {
				t.Errorf("event %s was tried with hash keys %v and %v", id, attempts[0].hashKey, a.hashKey)
			}
		}
	}
}

// A lane that is retired comes back with its hash key while it has events, so that never two serve one key; without any it is
// forgotten.
func TestRetiredLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newFakeStream(2, 1, call{delay: time.Second}), ample)
		there := func() *lane {
			for _, n := range []int{1, 2} {
				w.stream.reshard(evenShards(n))
				if err := w.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			return w.router.Load().lanes[1]
		}
		idle := w.router.Load().lanes[1]
		upper := there()
		if upper == idle {
			t.Error("a retired lane without events was kept")
		}
		var key string
		for i := 0; key == "" || w.router.Load().lane(key) != upper; i++ {
			key = fmt.Sprint(i)
		}
		s := w.submission("1")
		s.Attributes.PartitionKey = key
		acked := make(chan error, 1)
		go func() {
			_, _, err := w.Accept(t.Context(), s, "")
			acked <- err
		}()
		synctest.Wait()
		if there() != upper {
			t.Error("a hash key has two lanes")
		}
		if err := <-acked; err != nil {
			t.Error(err)
		}
		w.settle(t)
	})
}
