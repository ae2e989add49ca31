package aws

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"penstock/consumer"
)

// visitedSince gives the numbers of the records that ReadSince visits, which were put as their numbers.
func visitedSince(t *testing.T, s *Source, since time.Time, upTo string) []int {
	t.Helper()
	var got []int
	err := s.ReadSince(t.Context(), shardName(0), since, upTo, func(r consumer.Record) error {
		got = append(got, int(r.Data[0]))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func upFrom(first, n int) []int {
	var numbers []int
	for i := range n {
		numbers = append(numbers, first+i)
	}
	return numbers
}

// A reading back visits what arrived since, up to the last one asked for, of a shard that is open, closed, or trimmed.
func TestReadSince(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		s := NewSource(st.client(), stubStream)
		start := time.Now()
		for i := range 100 {
			st.putAt(0, []byte{byte(i)}, start.Add(time.Duration(i)*time.Minute))
		}
		minute := func(i int) time.Time { return start.Add(time.Duration(i) * time.Minute) }
		check := func(name string, since time.Time, upTo string, want []int) {
			t.Helper()
			if got := visitedSince(t, s, since, upTo); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
		check("to the tip", minute(40), "", upFrom(40, 60))
		check("up to one", minute(40), sequenceOf(45), upFrom(40, 6))
		check("from the beginning", start.Add(-time.Hour), sequenceOf(2), upFrom(0, 3))
		check("without a beginning", time.Time{}, sequenceOf(2), upFrom(0, 3))
		check("up to one before", minute(40), sequenceOf(30), nil)
		check("after all", minute(200), "", nil)
		check("up to one that never was", minute(98), sequenceOf(500), upFrom(98, 2))
		st.shards[0].closed = true
		check("to the end", minute(40), "", upFrom(40, 60))
		st.shards[0].trimmed = 50
		check("trimmed", minute(40), sequenceOf(60), upFrom(50, 11))
		if st.shards[0].refused > 0 {
			t.Errorf("%d calls were refused", st.shards[0].refused)
		}
	})
}

// That an answer is said to reach the tip, in milliseconds, does not end a reading before it does.
func TestReadSinceInOneMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		st.most = 2
		for i := range 5 {
			st.put(0, []byte{byte(i)})
		}
		if got := visitedSince(t, NewSource(st.client(), stubStream), time.Time{}, ""); !slices.Equal(got, upFrom(0, 5)) {
			t.Errorf("%v", got)
		}
	})
}

// Times of arrival that don't ascend leave nothing out, and what is visited does not depend on where Kinesis begins.
func TestReadSinceOutOfOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		start := time.Now()
		for i, seconds := range []int{0, 65, 58, 62, 59, 61, 60, 70} {
			st.putAt(0, []byte{byte(i)}, start.Add(time.Duration(seconds)*time.Second))
		}
		if got, want := visitedSince(t, NewSource(st.client(), stubStream), start.Add(time.Minute), ""), []int{1, 3, 5, 6, 7}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// A visitor that takes longer than an iterator lives misses nothing, and its error ends the reading.
func TestReadSinceSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		st.fill(0, 50, 200_000)
		s := NewSource(st.client(), stubStream)
		visited := 0
		visit := func(consumer.Record) error {
			visited++
			return pause(t.Context(), 2*time.Minute)
		}
		if err := s.ReadSince(t.Context(), shardName(0), time.Time{}, "", visit); err != nil || visited != 50 {
			t.Errorf("%d visited, %v", visited, err)
		}
		enough := errors.New("enough")
		err := s.ReadSince(t.Context(), shardName(0), time.Time{}, "", func(consumer.Record) error { return enough })
		if !errors.Is(err, enough) {
			t.Error(err)
		}
	})
}
