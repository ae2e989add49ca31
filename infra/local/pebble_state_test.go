package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

// All parts survive a restart.
func TestStateSurvivesRestart(t *testing.T) {
	t.Parallel()
	cfg := testConfig(vfs.NewMem())
	s := mustOpen(t, cfg)
	e, encoded := event(t, 40)
	to := consumer.Checkpoint{
		Position: schemas.Position{Sequence: "7", Sub: 2}, AsOf: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), End: true,
	}
	lease := consumer.Lease{Sink: "index", Shard: "s", Owner: "o", Renewal: 3}
	_, err := s.pointer.Swap(t.Context(), "", "here")
	err = errors.Join(err,
		s.index.Apply(t.Context(), "s", []consumer.Entry{{Event: e, Encoded: encoded}}, to),
		s.leases.Put(t.Context(), nil, lease),
	)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)

	s = openTest(t, cfg)
	if got, err := s.index.Get(t.Context(), e.ID); err != nil || !bytes.Equal(schemas.AppendEvent(nil, &got), encoded) {
		t.Errorf("event: %v", err)
	}
	if got, err := s.index.Checkpoint(t.Context(), "s"); err != nil || got != to {
		t.Errorf("checkpoint %+v, %v; want %+v", got, err, to)
	}
	if got, err := s.leases.List(t.Context(), "index"); err != nil || len(got) != 1 || !got[0].Same(lease) {
		t.Errorf("leases %+v, %v", got, err)
	}
	if got, err := s.pointer.Load(t.Context()); err != nil || got != "here" {
		t.Errorf("pointer %q, %v", got, err)
	}
}

// A lease that an older program put is a lease, of which nobody knows when that was.
func TestLeaseOfAnOlderProgram(t *testing.T) {
	t.Parallel()
	got, err := decodeLease("index", "s", appendUint(appendString(nil, "o"), 3))
	if want := (consumer.Lease{Sink: "index", Shard: "s", Owner: "o", Renewal: 3}); err != nil || !got.Same(want) || got.Age < 365*24*time.Hour {
		t.Errorf("%+v, %v", got, err)
	}
	full := encodeLease(consumer.Lease{Owner: "o", Report: consumer.Report{Error: "e"}}, time.Now())
	for n := 1; n < len(full); n++ {
		if _, err := decodeLease("index", "s", full[:n]); !errors.Is(err, errCorrupt) && n != 3 { // where the older one ends
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

func TestPointerSwap(t *testing.T) {
	t.Parallel()
	s := memStore(t)
	for i, step := range []struct {
		old, next string
		swapped   bool
	}{{"x", "a", false}, {"", "a", true}, {"", "b", false}, {"b", "c", false}, {"a", "b", true}, {"b", "b", true}} {
		before, _ := s.pointer.Load(t.Context())
		swapped, err := s.pointer.Swap(t.Context(), step.old, step.next)
		if err != nil || swapped != step.swapped {
			t.Errorf("step %d: %v, %v", i, swapped, err)
		}
		want := before
		if step.swapped {
			want = step.next
		}
		if got, err := s.pointer.Load(t.Context()); err != nil || got != want {
			t.Errorf("step %d: pointer %q, %v; want %q", i, got, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.pointer.Swap(ctx, "b", "never"); !errors.Is(err, context.Canceled) {
		t.Errorf("Swap with an ended context: %v", err)
	}
}

// A damaged value is an error that says so, and nothing else goes wrong.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	cfg := testConfig(vfs.NewMem())
	s := mustOpen(t, cfg)
	damageIn := func(db *pebble.DB, key []byte) {
		t.Helper()
		if err := errors.Join(db.Set(key, []byte{0xff}, pebble.NoSync), db.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	damage := func(key []byte) { t.Helper(); damageIn(s.db, key) }
	mustPut(t, s, recordIn(s, 0, "x"), recordIn(s, 1, "x"))
	damage(keyRecord(0, 1))
	damageIn(s.items, keyItem("i"))
	damage(keyClaim("k"))
	lease, _ := prefixNames(kindLease, "index", "s")
	damage(lease)
	letter, _ := keyDeadLetter("index", "s", schemas.Position{Sequence: "1"})
	damage(letter)

	_, errRead := s.stream.Source().Read(t.Context(), s.stream.shards[0].id, "", 1)
	_, errGet := s.index.Get(t.Context(), "i")
	_, _, errClaim := s.claims.Claim(t.Context(), "k", ingest.Claim{})
	_, errLeases := s.leases.List(t.Context(), "index")
	_, errLetters := s.deadLetters.List(t.Context(), "index", "", schemas.Position{}, 10)
	for name, err := range map[string]error{
		"record": errRead, "item": errGet, "claim": errClaim, "lease": errLeases, "dead letter": errLetters,
	} {
		if !errors.Is(err, schemas.ErrCorrupt) {
			t.Errorf("damaged %s: %v, want ErrCorrupt", name, err)
		}
	}
	if got := readAll(t, s, 1); len(got) != 1 {
		t.Errorf("the other shard has %d records", len(got))
	}
	mustClose(t, s)
	if _, err := Open(t.Context(), cfg); !errors.Is(err, schemas.ErrCorrupt) {
		t.Errorf("Open with a damaged tip: %v, want ErrCorrupt", err)
	}
}

func TestNamesInKeys(t *testing.T) {
	t.Parallel()
	s := memStore(t)
	if err := s.leases.Put(t.Context(), nil, consumer.Lease{Sink: "a\x00b", Shard: "s"}); !errors.Is(err, errKey) {
		t.Errorf("lease of a sink with NUL: %v", err)
	}
	if _, err := s.deadLetters.List(t.Context(), "a\x00", "", schemas.Position{}, 1); !errors.Is(err, errKey) {
		t.Errorf("dead letters of a sink with NUL: %v", err)
	}
	long := schemas.Position{Sequence: strings.Repeat("9", 300)}
	if err := s.deadLetters.Put(t.Context(), consumer.DeadLetter{Position: long}); !errors.Is(err, errKey) {
		t.Errorf("dead letter with a sequence of 300 digits: %v", err)
	}
}

func TestExpireClaims(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	cfg := testConfig(vfs.NewMem())
	cfg.Now = clock.Now
	s := openTest(t, cfg)
	claim := func(key string) bool {
		t.Helper()
		_, fresh, err := s.claims.Claim(t.Context(), key, ingest.Claim{ID: key, ReceivedTime: clock.Now()})
		if err != nil {
			t.Fatal(err)
		}
		return fresh
	}
	keys := func() (n int) {
		t.Helper()
		for _, kind := range []byte{kindClaim, kindClaimAge} {
			err := s.scan(t.Context(), []byte{kind}, nil, func(_, _ []byte) (bool, error) { n++; return true, nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	for i := range expireBatch + 10 {
		claim(fmt.Sprint("old", i))
	}
	clock.Advance(20 * time.Hour)
	claim("young")
	clock.Advance(5 * time.Hour)
	claim("old5") // claimed again after its day
	if n, err := s.ExpireClaims(t.Context()); err != nil || n != expireBatch+9 {
		t.Errorf("ExpireClaims() = %d, %v", n, err)
	}
	if n := keys(); n != 4 {
		t.Errorf("%d keys are left, want those of two claims", n)
	}
	if claim("young") || claim("old5") {
		t.Error("a living claim was removed")
	}
	if n, err := s.ExpireClaims(t.Context()); err != nil || n != 0 {
		t.Errorf("second ExpireClaims() = %d, %v", n, err)
	}
}

// Nobody is told of a claim that a power cut could take back.
func TestClaimIsDurableBeforeItIsSeen(t *testing.T) {
	t.Parallel()
	f := faults{hung: make(chan struct{}, 1)}
	s := openTest(t, testConfig(f.wrap(vfs.NewMem())))
	release := make(chan struct{})
	f.set(isLogSync, nil, release)
	first := make(chan bool, 1)
	go func() {
		_, fresh, err := s.claims.Claim(context.Background(), "k", ingest.Claim{ID: "first", ReceivedTime: time.Now()})
		first <- fresh && err == nil
	}()
	<-f.hung
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if c, _, err := s.claims.Claim(ctx, "k", ingest.Claim{ID: "second"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second claim was told of %+v, %v before the first was durable", c, err)
	}
	f.set(nil, nil, nil)
	close(release)
	if !<-first {
		t.Error("the first claim failed")
	}
}

// The ledger waits for the last event of the last record, not only for its number.
func TestLedgerWaitsForWholeRecord(t *testing.T) {
	t.Parallel()
	s := memStore(t)
	sh := s.stream.shards[0]
	var encoded [][]byte
	var entries []consumer.Entry
	for i := range 3 {
		e, b := event(t, i)
		encoded = append(encoded, b)
		entries = append(entries, consumer.Entry{Event: e, Encoded: b})
	}
	k := keyIn(s, 0)
	mustPut(t, s, ingest.Record{PartitionKey: "p", HashKey: k, Data: schemas.AppendAggregate(nil, "p", k, encoded)})
	apply := func(n int) {
		t.Helper()
		to := consumer.Checkpoint{Position: schemas.Position{Sequence: "1", Sub: n - 1}}
		if err := s.index.Apply(t.Context(), sh.id, entries[:n], to); err != nil {
			t.Fatal(err)
		}
	}
	apply(2)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	ids := []string{entries[0].Event.ID, entries[2].Event.ID}
	if got, err := s.ledger.Stored(ctx, ids); !errors.Is(err, ingest.ErrUnsettled) {
		t.Errorf("Stored() in the middle of the record = %v, %v; want ErrUnsettled", got, err)
	}
	apply(3)
	if got, err := s.ledger.Stored(t.Context(), ids); err != nil || !got[0] || !got[1] {
		t.Errorf("Stored() = %v, %v", got, err)
	}
}
