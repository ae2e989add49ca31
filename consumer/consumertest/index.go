package consumertest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// IndexSuite tests a consumer.Index.
func IndexSuite(t *testing.T, backend string, open func(t *testing.T) consumer.Index) {
	t.Helper()
	t.Logf("index on %s", backend)
	for name, test := range map[string]func(*testing.T, consumer.Index){
		"an event comes back":                testItem,
		"unknown id":                         testUnknownID,
		"the same again changes nothing":     testApplyTwice,
		"a checkpoint never goes back":       testCheckpoint,
		"shards have their own checkpoints":  testCheckpointPerShard,
		"a checkpoint may move without more": testEmptyApply,
		"bodies that don't compress":         testDenseItems,
		"every attribute comes back":         testAttributes,
		"a body that lies elsewhere":         testReferenceItem,
		"ids of others' making":              testForeignIDs,
		"more than one request can take":     testManyItems,
		"one id twice in a call":             testTwiceInOne,
		"what is known of a place stays":     testCheckpointMerge,
		"two workers on one shard":           testIndexRace,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// entry makes an entry at the position with the body.
func entry(t *testing.T, shard string, p schemas.Position, body []byte) consumer.Entry {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	e, err := schemas.NewEvent(schemas.NewID(now), now, &schemas.Attributes{Type: "t", Subject: "ä"}, body)
	if err != nil {
		t.Fatal(err)
	}
	encoded := schemas.AppendEvent(nil, &e)
	if e, err = schemas.DecodeEvent(encoded); err != nil {
		t.Fatal(err)
	}
	return consumer.Entry{Event: e, Encoded: encoded, Shard: shard, Position: p, Arrived: now}
}

func at(sequence string, sub int) consumer.Checkpoint {
	return consumer.Checkpoint{Position: schemas.Position{Sequence: sequence, Sub: sub}}
}

func apply(t *testing.T, ix consumer.Index, shard string, to consumer.Checkpoint, entries ...consumer.Entry) {
	t.Helper()
	if err := ix.Apply(t.Context(), shard, entries, to); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

func wantCheckpoint(t *testing.T, ix consumer.Index, shard string, want consumer.Checkpoint) {
	t.Helper()
	got, err := ix.Checkpoint(t.Context(), shard)
	if err != nil || got.Position != want.Position || got.End != want.End || !got.AsOf.Equal(want.AsOf) {
		t.Errorf("Checkpoint(%s) = %+v, %v; want %+v", shard, got, err, want)
	}
}

func wantEvent(t *testing.T, ix consumer.Index, e consumer.Entry) {
	t.Helper()
	got, err := ix.Get(t.Context(), e.Event.ID)
	if err != nil {
		t.Fatalf("Get(%s): %v", e.Event.ID, err)
	}
	if again := schemas.AppendEvent(nil, &got); !bytes.Equal(again, e.Encoded) {
		t.Errorf("Get(%s) = %.200s, want %.200s", e.Event.ID, again, e.Encoded)
	}
}

func testItem(t *testing.T, ix consumer.Index) {
	var entries []consumer.Entry
	for i, size := range []int{1, 100, 5_000, 200_000, schemas.MaxInlineBody} {
		body := fmt.Appendf(nil, " %*d", size, i)[:size]
		entries = append(entries, entry(t, "s", schemas.Position{Sequence: "7", Sub: i}, body))
	}
	apply(t, ix, "s", at("7", len(entries)-1), entries...)
	for _, e := range entries {
		wantEvent(t, ix, e)
	}
	wantCheckpoint(t, ix, "s", at("7", len(entries)-1))
}

// dense is a JSON string of about size bytes that hardly compresses.
func dense(size int) []byte {
	raw := make([]byte, size*3/4)
	rng := rand.NewChaCha8([32]byte{byte(size)})
	_, _ = rng.Read(raw) // never fails
	return fmt.Appendf(nil, `"%s"`, base64.StdEncoding.EncodeToString(raw))
}

func testDenseItems(t *testing.T, ix consumer.Index) {
	var entries []consumer.Entry
	for i, size := range []int{100, 4_000, 8_000, 10_000, 12_000, 100_000, 390_000, 410_000, schemas.MaxInlineBody - 16} {
		entries = append(entries, entry(t, "s", schemas.Position{Sequence: "7", Sub: i}, dense(size)))
	}
	apply(t, ix, "s", at("7", len(entries)-1), entries...)
	for range 2 {
		for _, e := range entries {
			wantEvent(t, ix, e)
		}
		apply(t, ix, "s", at("7", len(entries)-1), entries...)
	}
}

// encoded makes the entry of an event.
func encoded(t *testing.T, p schemas.Position, e *schemas.Event) consumer.Entry {
	t.Helper()
	b := schemas.AppendEvent(nil, e)
	decoded, err := schemas.DecodeEvent(b)
	if err != nil {
		t.Fatal(err)
	}
	return consumer.Entry{Event: decoded, Encoded: b, Shard: "s", Position: p, Arrived: e.ReceivedTime}
}

func testAttributes(t *testing.T, ix consumer.Index) {
	for i, size := range []int{10, 100_000} {
		e := entry(t, "s", schemas.Position{Sequence: "1", Sub: i}, dense(size)).Event
		e.Subject, e.DataSchema, e.PartitionKey, e.Tenant, e.OriginID = "ä\"", "https://x/y", "k", "t", "their id"
		e.Time = time.Date(2020, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
		e.Redelivered, e.Extensions = true, map[string]string{"traceparent": "00-1", "empty": ""}
		full := encoded(t, schemas.Position{Sequence: "1", Sub: i}, &e)
		apply(t, ix, "s", at("1", i), full)
		wantEvent(t, ix, full)
	}
}

func testReferenceItem(t *testing.T, ix consumer.Index) {
	e := entry(t, "s", schemas.Position{Sequence: "1"}, []byte("1")).Event
	e.Data, e.DataRef, e.Size = nil, "s3://bucket/bodies/dt=2026-01-02/"+e.ID, schemas.MaxBody
	e.Extensions = map[string]string{"large": string(dense(15_000))} // more than many a body
	ref := encoded(t, schemas.Position{Sequence: "1"}, &e)
	apply(t, ix, "s", at("1", 0), ref)
	wantEvent(t, ix, ref)
}

// testForeignIDs: whoever can write to the stream can write any id.
func testForeignIDs(t *testing.T, ix consumer.Index) {
	ids := []string{"x", " ", "ä", "../../x", "a/b", "a#b", "\x00", "5f0c7d2e-8a3b-4c1d-9e6f-0a1b2c3d4e5f", strings.Repeat("i", 1_000)}
	var entries []consumer.Entry
	for i, id := range ids {
		e := entry(t, "s", schemas.Position{Sequence: "1", Sub: i}, dense(10_000+i)).Event
		e.ID = id
		entries = append(entries, encoded(t, schemas.Position{Sequence: "1", Sub: i}, &e))
	}
	apply(t, ix, "s", at("1", len(ids)-1), entries...)
	for _, e := range entries {
		wantEvent(t, ix, e)
	}
}

func testManyItems(t *testing.T, ix consumer.Index) {
	var entries []consumer.Entry
	for i := range 321 {
		entries = append(entries, entry(t, "s", schemas.Position{Sequence: "1", Sub: i}, fmt.Appendf(nil, `{"n":%d}`, i)))
	}
	apply(t, ix, "s", at("1", 320), entries...)
	for _, e := range entries {
		wantEvent(t, ix, e)
	}
}

func testTwiceInOne(t *testing.T, ix consumer.Index) {
	var entries, last []consumer.Entry
	for i := range 40 {
		e := entry(t, "s", schemas.Position{Sequence: "1", Sub: 2 * i}, fmt.Append(nil, i))
		again := entry(t, "s", schemas.Position{Sequence: "1", Sub: 2*i + 1}, dense(i*500+2)).Event
		again.ID = e.Event.ID
		last = append(last, encoded(t, schemas.Position{Sequence: "1", Sub: 2*i + 1}, &again))
		entries = append(entries, e, last[i], e, last[i])
	}
	apply(t, ix, "s", at("1", 79), entries...)
	for _, e := range last {
		wantEvent(t, ix, e)
	}
}

func testCheckpointMerge(t *testing.T, ix consumer.Index) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	want := at("5", 1)
	want.AsOf = now
	apply(t, ix, "s", want)
	apply(t, ix, "s", at("5", 1)) // as of no time: nothing new
	wantCheckpoint(t, ix, "s", want)
	older := at("6", 0)
	older.AsOf = now.Add(-time.Hour)
	apply(t, ix, "s", older)
	want.Position = older.Position
	wantCheckpoint(t, ix, "s", want)
	want.End, want.AsOf = true, now.Add(time.Second)
	apply(t, ix, "s", want)
	again := at("6", 0) // by a worker that does not know of the end
	again.AsOf = now.Add(time.Minute)
	apply(t, ix, "s", again)
	want.AsOf = again.AsOf
	wantCheckpoint(t, ix, "s", want)
}

// testIndexRace: leases are for efficiency only, so several may read one shard, and some of them may know less of the time.
func testIndexRace(t *testing.T, ix consumer.Index) {
	const steps = 25
	base := time.Now().UTC().Truncate(time.Microsecond)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			var seen consumer.Checkpoint
			for i := w; i < steps; i++ {
				e := entry(t, "s", schemas.Position{Sequence: fmt.Sprint(i + 1)}, fmt.Append(nil, i))
				to := at(fmt.Sprint(i+1), 0)
				if w%2 == 0 {
					to.AsOf = base.Add(time.Duration(i) * time.Second)
				}
				if err := ix.Apply(t.Context(), "s", []consumer.Entry{e}, to); err != nil {
					t.Errorf("Apply: %v", err)
					return
				}
				c, err := ix.Checkpoint(t.Context(), "s")
				if err != nil || c.Position.Compare(to.Position) < 0 || c.Position.Compare(seen.Position) < 0 || c.AsOf.Before(seen.AsOf) {
					t.Errorf("Checkpoint() = %+v, %v after it was moved to %+v, and seen at %+v", c, err, to, seen)
				}
				seen = c
			}
		})
	}
	wg.Wait()
	if c, err := ix.Checkpoint(t.Context(), "s"); err != nil || c.Position != at(fmt.Sprint(steps), 0).Position {
		t.Errorf("Checkpoint() = %+v, %v, want it at %d", c, err, steps)
	}
}

func testUnknownID(t *testing.T, ix consumer.Index) {
	for _, id := range []string{schemas.NewID(time.Now()), "", "x", "\x00"} {
		if _, err := ix.Get(t.Context(), id); !errors.Is(err, consumer.ErrNotFound) {
			t.Errorf("Get(%q): %v, want ErrNotFound", id, err)
		}
	}
	wantCheckpoint(t, ix, "never seen", consumer.Checkpoint{})
}

func testApplyTwice(t *testing.T, ix consumer.Index) {
	e := entry(t, "s", schemas.Position{Sequence: "1"}, []byte(`1`))
	apply(t, ix, "s", at("1", 0), e)
	apply(t, ix, "s", at("1", 0), e)
	wantEvent(t, ix, e)
	wantCheckpoint(t, ix, "s", at("1", 0))
}

func testCheckpoint(t *testing.T, ix consumer.Index) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	to := at("100", 3)
	to.AsOf = now
	apply(t, ix, "s", to)
	for _, behind := range []consumer.Checkpoint{at("99", 7), at("100", 2), {}} {
		e := entry(t, "s", behind.Position, []byte(`{}`))
		apply(t, ix, "s", behind, e)
		wantEvent(t, ix, e)
		wantCheckpoint(t, ix, "s", to)
	}
	to.End = true
	apply(t, ix, "s", to)
	wantCheckpoint(t, ix, "s", to)
}

func testCheckpointPerShard(t *testing.T, ix consumer.Index) {
	apply(t, ix, "a", at("2", 0))
	apply(t, ix, "b", at("1000000000000000000000000000000000000000000000000000000", 1))
	wantCheckpoint(t, ix, "a", at("2", 0))
	wantCheckpoint(t, ix, "b", at("1000000000000000000000000000000000000000000000000000000", 1))
}

func testEmptyApply(t *testing.T, ix consumer.Index) {
	to := consumer.Checkpoint{AsOf: time.Now().UTC().Truncate(time.Microsecond)}
	apply(t, ix, "s", to)
	wantCheckpoint(t, ix, "s", to)
	to.AsOf = to.AsOf.Add(time.Second)
	apply(t, ix, "s", to)
	wantCheckpoint(t, ix, "s", to)
	apply(t, ix, "s", to)
	wantCheckpoint(t, ix, "s", to)
}
