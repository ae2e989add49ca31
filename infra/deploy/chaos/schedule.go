package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// kind of an action.
type kind string

const (
	kill    kind = "kill"    // SIGKILL, and started again after For
	stop    kind = "stop"    // SIGTERM, and started again after For
	freeze  kind = "freeze"  // SIGSTOP, and SIGCONT after For: a worker that was given up wakes, and goes on
	split   kind = "split"   // one of the open shards, by Pick
	merge   kind = "merge"   // two neighbouring shards, by Pick
	weather kind = "weather" // the faults of the name Target from now on
)

// action of the schedule.
type action struct {
	At     time.Duration // after the beginning of the round
	Kind   kind
	Target string        `json:",omitempty"` // a process, or a weather
	Pick   uint32        `json:",omitempty"` // which of the shards there are then, modulo their number
	For    time.Duration `json:",omitempty"`
}

func (a action) String() string {
	switch a.Kind {
	case kill, stop, freeze:
		return fmt.Sprintf("%s %s for %v", a.Kind, a.Target, a.For)
	case weather:
		return "weather: " + a.Target
	default:
		return string(a.Kind)
	}
}

// Pauses between actions of a sort, from and to, and how long they last.
var (
	killEvery    = [2]time.Duration{3 * time.Second, 6 * time.Second}
	killFor      = [2]time.Duration{0, 3 * time.Second}
	freezeEvery  = [2]time.Duration{12 * time.Second, 14 * time.Second}
	freezeFor    = [2]time.Duration{11 * time.Second, 13 * time.Second} // longer than a lease lives, so that shards are taken over
	reshardEvery = [2]time.Duration{7 * time.Second, 12 * time.Second}
	reshardSlow  = [2]time.Duration{25 * time.Second, 40 * time.Second} // as AWS would; in long rounds, since every ancestor is read again
	weatherEvery = [2]time.Duration{5 * time.Second, 9 * time.Second}
)

// newSchedule makes the actions of a round, in order. It follows from the seed and the arguments alone. All processes are ended in
// turn, and mostly killed. All consumers are frozen in turn, one at a time, an index and a lake one by turns; neither it nor the other
// of its sink is ended meanwhile, but has its turn later: that one is to take its shards over, and it is to wake and find them taken.
func newSchedule(seed uint64, length time.Duration, processes, weathers []string) []action {
	var all []action
	frozen := rand.New(rand.NewPCG(seed, 0))
	sleepers := turns{random: frozen, names: slices.DeleteFunc(slices.Clone(processes), isFront)}
	slept := ""
	for at := between(frozen, killEvery); ; at += between(frozen, freezeEvery) {
		a := action{At: at, Kind: freeze, For: between(frozen, freezeFor)}
		a.Target = sleepers.next(func(name string) bool { return kindOf(name) != slept })
		if slept = kindOf(a.Target); a.At+a.For >= length {
			break
		}
		all = append(all, a)
	}
	awake := func(at time.Duration) func(name string) bool {
		return func(name string) bool {
			return !slices.ContainsFunc(all, func(a action) bool {
				return a.Kind == freeze && kindOf(a.Target) == kindOf(name) && a.At-killFor[1] <= at && at <= a.At+a.For
			})
		}
	}
	ends := rand.New(rand.NewPCG(seed, 1))
	victims := turns{random: ends, names: processes}
	for at := time.Duration(0); ; {
		if at += between(ends, killEvery); at >= length {
			break
		}
		a := action{At: at, Kind: kill, Target: victims.next(awake(at)), For: between(ends, killFor)}
		if ends.IntN(5) == 0 {
			a.Kind = stop
		}
		all = append(all, a)
	}
	shards := rand.New(rand.NewPCG(seed, 2))
	pauses := reshardEvery
	if length >= longRound {
		pauses = reshardSlow
	}
	for at, n := time.Duration(0), 0; ; n++ {
		if at += between(shards, pauses); at >= length {
			break
		}
		a := action{At: at, Kind: split, Pick: shards.Uint32()}
		if n%3 == 1 || n%6 == 5 {
			a.Kind = merge
		}
		all = append(all, a)
	}
	skies := rand.New(rand.NewPCG(seed, 3))
	names := turns{random: skies, names: weathers}
	for at := time.Duration(0); at < length; at += between(skies, weatherEvery) {
		all = append(all, action{At: at, Kind: weather, Target: names.next(func(string) bool { return true })})
	}
	slices.SortStableFunc(all, func(a, b action) int { return cmp.Compare(a.At, b.At) })
	return all
}

// turns gives all names in an order left to chance, then all in another. Who can't have its turn has it as soon as it can.
type turns struct {
	random *rand.Rand
	names  []string
	left   []string
}

// next gives the next of those that can; there must be one.
func (t *turns) next(can func(name string) bool) string {
	for {
		if i := slices.IndexFunc(t.left, can); i >= 0 {
			next := t.left[i]
			t.left = slices.Delete(t.left, i, i+1)
			return next
		}
		again := slices.Clone(t.names)
		t.random.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		t.left = append(t.left, again...)
	}
}

// between gives a duration of the range, in whole milliseconds.
func between(random *rand.Rand, r [2]time.Duration) time.Duration {
	return r[0] + time.Duration(random.Int64N(int64((r[1]-r[0])/time.Millisecond)))*time.Millisecond
}
