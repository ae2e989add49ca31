package consumertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"penstock/consumer"
)

// HistoryEnv is a fresh stream.
type HistoryEnv struct {
	History consumer.History
	Source  consumer.Source
	// Put and Split are those of SourceEnv.
	Put   func(t *testing.T, shard string, data []byte)
	Split func(t *testing.T, shard string)
}

// HistorySuite tests a consumer.History.
func HistorySuite(t *testing.T, backend string, open func(t *testing.T) HistoryEnv) {
	t.Helper()
	t.Logf("history on %s", backend)
	for name, test := range map[string]func(*testing.T, HistoryEnv, string){
		"since a time, up to a record":    testSince,
		"a closed shard to its end":       testSinceToTheEnd,
		"an error of visit ends it":       testVisitFails,
		"a shard that is not listed":      testSinceUnknownShard,
		"nothing of a shard without any":  testSinceEmpty,
		"before all there is is from all": testSinceBeforeAll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := open(t)
			shards, err := env.Source.Shards(t.Context())
			if err != nil || len(shards) == 0 {
				t.Fatalf("Shards() = %v, %v", shards, err)
			}
			test(t, env, shards[0].ID)
		})
	}
}

// putSome puts n records with their numbers and returns them as the Source gives them.
func putSome(t *testing.T, env HistoryEnv, shard string, n int) []consumer.Record {
	t.Helper()
	for i := range n {
		env.Put(t, shard, fmt.Append(nil, i))
	}
	return readN(t, SourceEnv{Source: env.Source}, shard, "", n, 1<<20)
}

func since(t *testing.T, env HistoryEnv, shard string, from time.Time, upTo string) []string {
	t.Helper()
	var got []string
	err := env.History.ReadSince(t.Context(), shard, from, upTo, func(r consumer.Record) error {
		got = append(got, r.Sequence)
		return nil
	})
	if err != nil {
		t.Fatalf("ReadSince(%s, %s, %q): %v", shard, from, upTo, err)
	}
	return got
}

func sequences(records []consumer.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, r.Sequence)
	}
	return all
}

// endsWith reports whether it visited these records, and before them none but those that come before in the shard.
func endsWith(got []string, all []consumer.Record, first, last int) bool {
	for ; first >= 0; first-- {
		if slices.Equal(got, sequences(all[first:last+1])) {
			return true
		}
	}
	return false
}

func testSince(t *testing.T, env HistoryEnv, shard string) {
	records := putSome(t, env, shard, 10)
	for _, span := range [][2]int{{0, 0}, {0, 9}, {3, 7}, {9, 9}} {
		got := since(t, env, shard, records[span[0]].Arrived, records[span[1]].Sequence)
		if !endsWith(got, records, span[0], span[1]) {
			t.Errorf("records %d to %d of %q: %q", span[0], span[1], sequences(records), got)
		}
	}
}

func testSinceToTheEnd(t *testing.T, env HistoryEnv, shard string) {
	records := putSome(t, env, shard, 10)
	env.Split(t, shard)
	if got := since(t, env, shard, records[4].Arrived, ""); !endsWith(got, records, 4, 9) {
		t.Errorf("from record 4 of %q: %q", sequences(records), got)
	}
}

func testVisitFails(t *testing.T, env HistoryEnv, shard string) {
	records := putSome(t, env, shard, 3)
	enough, visits := errors.New("enough"), 0
	err := env.History.ReadSince(t.Context(), shard, records[0].Arrived, records[2].Sequence, func(consumer.Record) error {
		visits++
		return enough
	})
	if !errors.Is(err, enough) || visits != 1 {
		t.Errorf("%v after %d visits", err, visits)
	}
}

func testSinceUnknownShard(t *testing.T, env HistoryEnv, _ string) {
	err := env.History.ReadSince(t.Context(), "shardId-000000999999", time.Now(), "", func(consumer.Record) error { return nil })
	if !errors.Is(err, consumer.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

func testSinceEmpty(t *testing.T, env HistoryEnv, shard string) {
	env.Split(t, shard)
	if got := since(t, env, shard, time.Now().Add(-time.Hour), ""); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func testSinceBeforeAll(t *testing.T, env HistoryEnv, shard string) {
	records := putSome(t, env, shard, 3)
	for _, from := range []time.Time{{}, records[0].Arrived.Add(-time.Hour)} {
		if got := since(t, env, shard, from, records[1].Sequence); !slices.Equal(got, sequences(records[:2])) {
			t.Errorf("since %s: %q", from, got)
		}
	}
}
