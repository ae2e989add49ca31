package consumer

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// look has both sinks' rosters, with the state of each shard beside it.
func (w *world) look(t *testing.T) (rosters []SinkRoster, states []map[string]ShardState) {
	t.Helper()
	rosters, err := NewRoster(w.stream, w.leases, testLife).Look(t.Context(), IndexSinkName, LakeSinkName)
	if err != nil || len(rosters) != 2 || rosters[0].Sink != IndexSinkName || rosters[1].Sink != LakeSinkName {
		t.Fatalf("%+v, %v", rosters, err)
	}
	for _, r := range rosters {
		of := map[string]ShardState{}
		for _, s := range r.Shards {
			of[s.Shard.ID] = s.State
		}
		states = append(states, of)
	}
	return rosters, states
}

func TestRoster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "b", "a")
		all := func(want ShardState, workers ...string) {
			t.Helper()
			began := time.Now()
			rosters, states := w.look(t)
			for i, r := range rosters {
				for shard, state := range states[i] {
					if state != want {
						t.Errorf("%s: %s is %s, want %s", r.Sink, shard, state, want)
					}
				}
				if !slices.Equal(r.Workers, workers) || r.Shards[0].Shard.ID != "a" {
					t.Errorf("%s: workers %q, want %q: %+v", r.Sink, r.Workers, workers, r.Shards)
				}
				if n := len(r.Unowned()); (want == ShardUnowned) != (n == len(r.Shards)) {
					t.Errorf("%s: %d unowned of %s", r.Sink, n, want)
				}
			}
			wait := time.Duration(0)
			if want != ShardOwned {
				wait = testLife // to look again
			}
			if took := time.Since(began); took != wait {
				t.Errorf("it took %s to find all %s, want %s", took, want, wait)
			}
		}
		all(ShardUnowned) // nobody was ever there
		one, two := w.start("one"), w.start("two")
		elapse(2 * testLife)
		all(ShardOwned, "one", "two")
		one.shutdown()
		elapse(testLife)
		all(ShardOwned, "two")

		// The last one dies: it can't even give its leases back.
		w.faults.set(func(call string, _ bool) error {
			if call == "PutLease" {
				return errInjected
			}
			return nil
		})
		two.shutdown()
		w.faults.set(nil)
		elapse(time.Hour)
		all(ShardUnowned)
		rosters, _ := w.look(t)
		for _, r := range rosters {
			l := r.Shards[0].Lease
			if l.Owner != "two" || l.Age < time.Hour || !l.Report.LagKnown || l.Report.Lag < time.Hour || l.Report.Lag > time.Hour+4*testLife {
				t.Errorf("%s: %+v, whose owner is dead for an hour", r.Sink, l)
			}
		}
	})
}

// A shard that is read to its end needs nobody, and one that only changes hands is not unowned.
func TestRosterKnowsWhatNeedsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "parent", "other")
		p := w.start("one")
		w.send("parent", w.inline())
		w.stream.split("parent", "left", "right")
		eventually(t, time.Minute, "the event", w.complete)
		elapse(3 * testLife)
		p.shutdown()
		looked := make(chan struct{})
		go func() {
			defer close(looked)
			rosters, states := w.look(t)
			for i, of := range states {
				if of["parent"] != ShardDrained || of["left"] != ShardChanging || of["right"] != ShardChanging || of["other"] != ShardChanging {
					t.Errorf("%s: %v", rosters[i].Sink, of)
				}
			}
		}()
		synctest.Wait() // it has looked once
		// Somebody had them all, and has given them back just before the second look.
		elapse(testLife / 2)
		next := w.start("two")
		elapse(testLife/2 - time.Second)
		next.shutdown()
		<-looked
	})
}

// Who can't look says so, at the first look and at the second.
func TestRosterFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		for _, call := range []string{"Shards", "List"} {
			for _, good := range []int{0, 1} {
				n := 0
				w.faults.set(func(c string, _ bool) error {
					if c == call {
						if n++; n > good {
							return errInjected
						}
					}
					return nil
				})
				if r, err := NewRoster(w.stream, w.leases, testLife).Look(t.Context(), IndexSinkName); !errors.Is(err, errInjected) {
					t.Errorf("%s fails at look %d: %+v, %v", call, good+1, r, err)
				}
			}
		}
	})
}
