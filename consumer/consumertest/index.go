package consumertest

import (
	"bytes"
	"errors"
	"fmt"
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
