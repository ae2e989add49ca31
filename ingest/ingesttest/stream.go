package ingesttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"penstock/ingest"
	"penstock/schemas"
)

// StreamEnv is a fresh stream.
type StreamEnv struct {
	Stream ingest.Stream
	// ReadAll returns the data of all records of a shard, in the order of the shard.
	ReadAll func(t *testing.T, shard string) [][]byte
	// Ordered says that the backend keeps the order of one call's records.
	Ordered bool
}

// StreamSuite tests an ingest.Stream.
func StreamSuite(t *testing.T, backend string, open func(t *testing.T) StreamEnv) {
	t.Helper()
	t.Logf("stream on %s", backend)
	for name, test := range map[string]func(*testing.T, StreamEnv){
		"ranges cover the hash keys":         testRanges,
		"records go to their shard in order": testPut,
		"a record too large fails alone":     testTooLarge,
		"no reference is kept":               testOwnership,
		"an ended context is not success":    testEndedContext,
		"concurrent calls":                   testConcurrentPuts,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func shardsOf(t *testing.T, s ingest.Stream) []ingest.Shard {
	t.Helper()
	shards, err := s.Shards(t.Context())
	if err != nil || len(shards) == 0 {
		t.Fatalf("Shards() = %v, %v", shards, err)
	}
	slices.SortFunc(shards, func(a, b ingest.Shard) int { return a.First.Compare(b.First) })
	return shards
}

func testRanges(t *testing.T, env StreamEnv) {
	shards := shardsOf(t, env.Stream)
	if shards[0].First != (schemas.HashKey{}) || shards[len(shards)-1].Last != schemas.MaxHashKey {
		t.Errorf("the ranges start at %s and end at %s", shards[0].First, shards[len(shards)-1].Last)
	}
	for i, sh := range shards {
		if sh.ID == "" || sh.First.Compare(sh.Last) > 0 {
			t.Errorf("shard %+v", sh)
		}
		if i > 0 && next(shards[i-1].Last) != sh.First {
			t.Errorf("%s ends at %s, %s starts at %s", shards[i-1].ID, shards[i-1].Last, sh.ID, sh.First)
		}
	}
}

func next(k schemas.HashKey) schemas.HashKey {
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]++; k[i] != 0 {
			break
		}
	}
	return k
}

func testPut(t *testing.T, env StreamEnv) {
	shards := shardsOf(t, env.Stream)
	want := make(map[string][][]byte)
	var records []ingest.Record
	for i := range 5 {
		for _, sh := range shards {
			for _, k := range []schemas.HashKey{sh.First, sh.Last} {
				data := fmt.Appendf(nil, "%s %d %s\n\x00", sh.ID, i, k)
				records = append(records, ingest.Record{PartitionKey: "p", HashKey: k, Data: data})
				want[sh.ID] = append(want[sh.ID], data)
			}
		}
	}
	for i, err := range env.Stream.Put(t.Context(), records) {
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	for _, sh := range shards {
		got := env.ReadAll(t, sh.ID)
		if !env.Ordered {
			slices.SortFunc(got, bytes.Compare)
			slices.SortFunc(want[sh.ID], bytes.Compare)
		}
		if !slices.EqualFunc(got, want[sh.ID], bytes.Equal) {
			t.Errorf("%s holds %q, want %q", sh.ID, got, want[sh.ID])
		}
	}
}

func testTooLarge(t *testing.T, env StreamEnv) {
	const limit = 1 << 20
	records := []ingest.Record{
		{PartitionKey: "p", Data: []byte("before")},
		{PartitionKey: "p", Data: make([]byte, limit)},
		{PartitionKey: "p", Data: bytes.Repeat([]byte("x"), limit-1)},
	}
	errs := env.Stream.Put(t.Context(), records)
	if len(errs) != 3 || errs[0] != nil || errs[2] != nil {
		t.Fatalf("errors %v, want the middle one alone", errs)
	}
	if err := errs[1]; err == nil || errors.Is(err, ingest.ErrThrottled) || isDoubt(err) {
		t.Errorf("too large record: %v, want a final error", err)
	}
	if got := env.ReadAll(t, shardsOf(t, env.Stream)[0].ID); len(got) != 2 {
		t.Errorf("%d records stored, want 2", len(got))
	}
	if errs := env.Stream.Put(t.Context(), nil); len(errs) != 0 {
		t.Errorf("Put of nothing: %v", errs)
	}
}

func testOwnership(t *testing.T, env StreamEnv) {
	data := []byte("as it was")
	if errs := env.Stream.Put(t.Context(), []ingest.Record{{PartitionKey: "p", Data: data}}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	copy(data, "clobbered")
	if got := env.ReadAll(t, shardsOf(t, env.Stream)[0].ID); len(got) != 1 || string(got[0]) != "as it was" {
		t.Errorf("stored %q", got)
	}
}

func testEndedContext(t *testing.T, env StreamEnv) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := env.Stream.Put(ctx, []ingest.Record{{PartitionKey: "p", Data: []byte("x")}})
	if !isDoubt(errs[0]) && !errors.Is(errs[0], ingest.ErrThrottled) {
		t.Errorf("Put with an ended context: %v, want throttled, ambiguous or open", errs[0])
	}
}

func isDoubt(err error) bool {
	return errors.Is(err, ingest.ErrAmbiguous) || errors.Is(err, ingest.ErrOpen)
}

func testConcurrentPuts(t *testing.T, env StreamEnv) {
	const writers, each = 16, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				data := fmt.Sprintf("%02d/%03d", w, i)
				key := schemas.HashKeyOf(fmt.Sprint(w))
				errs := env.Stream.Put(t.Context(), []ingest.Record{{PartitionKey: "p", HashKey: key, Data: []byte(data)}})
				if errs[0] != nil {
					t.Errorf("%s: %v", data, errs[0])
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[string]int) // next number of each writer
	total := 0
	for _, sh := range shardsOf(t, env.Stream) {
		for _, data := range env.ReadAll(t, sh.ID) {
			writer, number, _ := strings.Cut(string(data), "/")
			// A writer waits for each answer, so its records are in order whatever the backend.
			if want := fmt.Sprintf("%03d", seen[writer]); number != want {
				t.Fatalf("%s: writer %s has %s, want %s", sh.ID, writer, number, want)
			}
			seen[writer]++
			total++
		}
	}
	if total != writers*each {
		t.Errorf("%d records, want %d", total, writers*each)
	}
}
