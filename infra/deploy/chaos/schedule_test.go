package main

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// A seed makes one schedule, in order and within the round, that leaves nobody out.
func TestSchedule(t *testing.T) {
	t.Parallel()
	names := slices.Sorted(maps.Keys(weathers(time.Minute)))
	one := newSchedule(7, time.Minute, processNames(), names)
	if again := newSchedule(7, time.Minute, processNames(), names); !slices.Equal(one, again) {
		t.Error("the same seed made another schedule")
	}
	if other := newSchedule(8, time.Minute, processNames(), names); slices.Equal(one, other) {
		t.Error("another seed made the same schedule")
	}
	if !slices.IsSortedFunc(one, func(a, b action) int { return int(a.At - b.At) }) {
		t.Error("not in order")
	}
	if one[0].Kind != weather || one[0].At != 0 {
		t.Errorf("begins with %v, not with faults", one[0])
	}
}

// In a minute, whatever the seed, everything goes wrong at least once for everyone, and who sleeps is left to wake.
func TestScheduleLeavesNobodyOut(t *testing.T) {
	t.Parallel()
	names := slices.Sorted(maps.Keys(weathers(time.Minute)))
	for seed := range uint64(200) {
		missing := map[string]bool{"split": true, "merge": true}
		for _, name := range processNames() {
			missing["end "+name] = true
			if !isFront(name) {
				missing["freeze "+name] = true
			}
		}
		for _, name := range names {
			missing["weather "+name] = true
		}
		awake := map[string]time.Duration{} // by kind
		for _, a := range newSchedule(seed, time.Minute, processNames(), names) {
			sort := string(a.Kind)
			switch a.Kind {
			case split, merge:
				delete(missing, sort)
			case freeze:
				awake[kindOf(a.Target)] = a.At + a.For
			case kill, stop:
				sort = "end"
				if a.At < awake[kindOf(a.Target)] {
					t.Errorf("seed %d: %v at %v, when one of its kind sleeps", seed, a, a.At)
				}
			}
			delete(missing, sort+" "+a.Target)
			if a.At >= time.Minute || a.Kind == freeze && a.At+a.For >= time.Minute {
				t.Errorf("seed %d: %v at %v goes on after the end", seed, a, a.At)
			}
		}
		if len(missing) > 0 {
			t.Errorf("seed %d does not have %v", seed, slices.Sorted(maps.Keys(missing)))
		}
	}
}

// Four minutes late is for rounds that last longer.
func TestLateOriginalsFitTheRound(t *testing.T) {
	t.Parallel()
	short, long := len(late(1, time.Minute)), len(late(1, 10*time.Minute))
	if long != short+1 {
		t.Errorf("a long round has %d rules, a short one %d", long, short)
	}
}
