package consumertest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// DeadLettersSuite tests a consumer.DeadLetters.
func DeadLettersSuite(t *testing.T, backend string, open func(t *testing.T) consumer.DeadLetters) {
	t.Helper()
	t.Logf("dead letters on %s", backend)
	for name, test := range map[string]func(*testing.T, consumer.DeadLetters){
		"put, get, delete":         testLetter,
		"the same place again":     testLetterTwice,
		"listed by place, in part": testLetterList,
		"as large as a record":     testLargeLetter,
		"a place that was freed":   testLetterAgain,
		"many for one place":       testLetterRace,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func letter(sink, shard, sequence string, sub int) consumer.DeadLetter {
	return consumer.DeadLetter{
		Sink: sink, Shard: shard, Position: schemas.Position{Sequence: sequence, Sub: sub},
		Arrived: time.Date(2026, 5, 6, 7, 8, 9, 123_456_000, time.UTC),
		Reason:  "does not decode: ä",
		Raw:     fmt.Appendf(nil, "raw\x00\xff %s %s %s %d", sink, shard, sequence, sub),
	}
}

func sameLetter(a, b consumer.DeadLetter) bool {
	return a.Sink == b.Sink && a.Shard == b.Shard && a.Position == b.Position && a.Arrived.Equal(b.Arrived) &&
		a.Reason == b.Reason && bytes.Equal(a.Raw, b.Raw)
}

func putLetter(t *testing.T, d consumer.DeadLetters, l consumer.DeadLetter) {
	t.Helper()
	if err := d.Put(t.Context(), l); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

func testLetter(t *testing.T, d consumer.DeadLetters) {
	l := letter("index", "s", "12", 3)
	putLetter(t, d, l)
	got, err := d.Get(t.Context(), l.Sink, l.Shard, l.Position)
	if err != nil || !sameLetter(got, l) || got.Size != len(l.Raw) {
		t.Errorf("Get() = %+v, %v; want %+v", got, err, l)
	}
	if _, err := d.Get(t.Context(), "lake", l.Shard, l.Position); !errors.Is(err, consumer.ErrNotFound) {
		t.Errorf("Get() from another sink: %v, want ErrNotFound", err)
	}
	for range 2 { // deleting what is not there is no error
		if err := d.Delete(t.Context(), l.Sink, l.Shard, l.Position); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Get(t.Context(), l.Sink, l.Shard, l.Position); !errors.Is(err, consumer.ErrNotFound) {
		t.Errorf("Get() after Delete: %v, want ErrNotFound", err)
	}
}

func testLargeLetter(t *testing.T, d consumer.DeadLetters) {
	for i, size := range []int{0, 1, 500_000, 1 << 20} {
		l := letter("index", "shardId-000000000000", "49590338271490256608559692538361571095921575989136588898", i)
		l.Raw = bytes.Repeat([]byte("\x00\xff\n{"), size/4+1)[:size]
		putLetter(t, d, l)
		if got, err := d.Get(t.Context(), l.Sink, l.Shard, l.Position); err != nil || !sameLetter(got, l) || got.Size != size {
			t.Errorf("Get() of %d raw bytes: %d, size %d, %v", size, len(got.Raw), got.Size, err)
		}
	}
}

func testLetterAgain(t *testing.T, d consumer.DeadLetters) {
	l := letter("index", "s", "1", 0)
	putLetter(t, d, l)
	if err := d.Delete(t.Context(), l.Sink, l.Shard, l.Position); err != nil {
		t.Fatal(err)
	}
	l.Reason, l.Raw = "another", []byte("other bytes")
	putLetter(t, d, l)
	if got, err := d.Get(t.Context(), l.Sink, l.Shard, l.Position); err != nil || !sameLetter(got, l) {
		t.Errorf("Get() = %+v, %v; want %+v", got, err, l)
	}
}

// testLetterRace: the letter that somebody found once he had put his own is the one that stays.
func testLetterRace(t *testing.T, d consumer.DeadLetters) {
	first := letter("index", "s", "1", 0)
	found := make([]consumer.DeadLetter, 12)
	var wg sync.WaitGroup
	for i := range found {
		wg.Go(func() {
			l := first
			l.Reason, l.Raw = fmt.Sprint(i), fmt.Append(nil, i)
			err := d.Put(t.Context(), l)
			if err == nil {
				found[i], err = d.Get(t.Context(), l.Sink, l.Shard, l.Position)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, l := range found {
		if !sameLetter(l, found[0]) || l.Reason != string(l.Raw) {
			t.Errorf("found %s with %q, and %s with %q", found[0].Reason, found[0].Raw, l.Reason, l.Raw)
		}
	}
}

func testLetterTwice(t *testing.T, d consumer.DeadLetters) {
	l := letter("index", "s", "1", 0)
	putLetter(t, d, l)
	again := l
	again.Reason = "another"
	putLetter(t, d, again)
	if got, err := d.Get(t.Context(), l.Sink, l.Shard, l.Position); err != nil || !sameLetter(got, l) {
		t.Errorf("Get() = %+v, %v; want the first, %+v", got, err, l)
	}
}

func testLetterList(t *testing.T, d consumer.DeadLetters) {
	want := []consumer.DeadLetter{
		letter("lake", "a", "9", 0), letter("lake", "a", "10", 0), letter("lake", "a", "10", 300),
		letter("lake", "a", "1000000000000000000000000000000", 1), letter("lake", "b", "1", 0),
	}
	for i := range want {
		putLetter(t, d, want[len(want)-1-i])
	}
	putLetter(t, d, letter("index", "a", "5", 0))
	putLetter(t, d, letter("lakes", "a", "5", 0))
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []consumer.DeadLetter
		shard, p := "", schemas.Position{}
		for {
			page, err := d.List(t.Context(), "lake", shard, p, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("List(limit %d) = %d letters, %v", limit, len(page), err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			shard, p = page[len(page)-1].Shard, page[len(page)-1].Position
		}
		if len(got) != len(want) {
			t.Fatalf("%d letters with limit %d, want %d", len(got), limit, len(want))
		}
		for i := range want {
			shown := want[i]
			shown.Raw = nil
			if !sameLetter(got[i], shown) || got[i].Size != len(want[i].Raw) {
				t.Errorf("limit %d: letter %d is %+v, want %+v without its %d raw bytes", limit, i, got[i], shown, len(want[i].Raw))
			}
		}
	}
}
