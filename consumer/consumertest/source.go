package consumertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// SourceEnv is a fresh stream.
type SourceEnv struct {
	Source consumer.Source
	// Put stores a record in the shard; it is durable and readable when Put returns.
	Put func(t *testing.T, shard string, data []byte)
	// Trim removes everything before the record of the sequence number. Nil where the backend can't be told to.
	Trim func(t *testing.T, shard, sequence string)
	// Now is the stream's clock.
	Now func() time.Time
	// AsOfMargin is how far before Now the AsOf of a page at the tip may lie, and a second. Zero where the stream knows exactly.
	AsOfMargin time.Duration
	// Split closes the shard and opens others in its place, and returns once that is done. Nil where the backend can't be told
	// to.
	Split func(t *testing.T, shard string)
}

// SourceSuite tests a consumer.Source.
func SourceSuite(t *testing.T, backend string, open func(t *testing.T) SourceEnv) {
	t.Helper()
	t.Logf("source on %s", backend)
	for name, test := range map[string]func(*testing.T, SourceEnv, string){
		"reads all in order, in pages":         testPages,
		"waits at the tip and wakes":           testWake,
		"an empty read comes back with a time": testEmptyRead,
		"AsOf only at the tip":                 testAsOf,
		"an ended context ends the wait":       testReadEnds,
		"the page is the caller's":             testPageOwnership,
		"trimmed":                              testTrimmed,
		"unknown shard":                        testUnknownShard,
		"a closed shard has an end":            testEnd,
		"Kept is no later than what it holds":  testKept,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := open(t)
			shards, err := env.Source.Shards(t.Context())
			if err != nil || len(shards) == 0 {
				t.Fatalf("Shards() = %v, %v", shards, err)
			}
			test(t, env, shards[len(shards)-1].ID)
		})
	}
}

func read(t *testing.T, env SourceEnv, shard, after string, maxBytes int) consumer.Page {
	t.Helper()
	p, err := env.Source.Read(t.Context(), shard, after, maxBytes)
	if err != nil {
		t.Fatalf("Read(%s, %q): %v", shard, after, err)
	}
	return p
}

// readN reads until it has n records.
func readN(t *testing.T, env SourceEnv, shard, after string, n, maxBytes int) []consumer.Record {
	t.Helper()
	var all []consumer.Record
	for len(all) < n {
		p := read(t, env, shard, after, maxBytes)
		all = append(all, p.Records...)
		if len(p.Records) > 0 {
			after = p.Records[len(p.Records)-1].Sequence
		}
	}
	return all
}

func testPages(t *testing.T, env SourceEnv, shard string) {
	const n = 50
	for i := range n {
		env.Put(t, shard, fmt.Appendf(nil, "record %03d %s", i, make([]byte, i)))
	}
	for _, maxBytes := range []int{1, 100, 1 << 20} {
		records := readN(t, env, shard, "", n, maxBytes)
		if len(records) != n {
			t.Fatalf("%d records in pages of %d bytes, want %d", len(records), maxBytes, n)
		}
		for i, r := range records {
			if want := fmt.Sprintf("record %03d %s", i, make([]byte, i)); string(r.Data) != want {
				t.Fatalf("record %d is %q", i, r.Data)
			}
			if i == 0 {
				continue
			}
			before := records[i-1]
			if (schemas.Position{Sequence: r.Sequence}).Compare(schemas.Position{Sequence: before.Sequence}) <= 0 {
				t.Errorf("sequence %s comes after %s", r.Sequence, before.Sequence)
			}
			if r.Arrived.Before(before.Arrived) {
				t.Errorf("arrival %s comes after %s", r.Arrived, before.Arrived)
			}
		}
		rest := readN(t, env, shard, records[29].Sequence, n-30, maxBytes)
		if string(rest[0].Data) != string(records[30].Data) {
			t.Errorf("after record 29 comes %q", rest[0].Data)
		}
	}
	if p := read(t, env, shard, "", 1); len(p.Records) != 1 {
		t.Errorf("a page of 1 byte has %d records", len(p.Records))
	}
}

func testWake(t *testing.T, env SourceEnv, shard string) {
	got := make(chan consumer.Record, 1)
	go func() {
		for {
			p, err := env.Source.Read(t.Context(), shard, "", 1<<20)
			if err != nil {
				t.Errorf("Read: %v", err)
				close(got)
				return
			}
			if len(p.Records) > 0 {
				got <- p.Records[0]
				return
			}
		}
	}()
	env.Put(t, shard, []byte("wake up"))
	if r := <-got; string(r.Data) != "wake up" {
		t.Errorf("read %q", r.Data)
	}
}

func testEmptyRead(t *testing.T, env SourceEnv, shard string) {
	env.Put(t, shard, []byte("x"))
	last := readN(t, env, shard, "", 1, 1)[0]
	before := env.Now()
	start := time.Now()
	p := read(t, env, shard, last.Sequence, 1<<20)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("an empty read took %s, want at most 1 s and some", took)
	}
	if len(p.Records) != 0 || p.End || p.AsOf.Before(before.Add(-time.Second-env.AsOfMargin)) || p.AsOf.After(env.Now()) {
		t.Errorf("page %+v at %s", p, before)
	}
}

func testAsOf(t *testing.T, env SourceEnv, shard string) {
	for range 3 {
		env.Put(t, shard, make([]byte, 1000))
	}
	if p := read(t, env, shard, "", 1000); len(p.Records) >= 3 || !p.AsOf.IsZero() {
		t.Errorf("first page has %d records as of %s, want fewer than 3 and no time", len(p.Records), p.AsOf)
	}
	p := read(t, env, shard, "", 1<<20)
	if len(p.Records) != 3 || p.AsOf.IsZero() {
		t.Fatalf("page of everything has %d records as of %s", len(p.Records), p.AsOf)
	}
	env.Put(t, shard, []byte("later"))
	if r := readN(t, env, shard, p.Records[2].Sequence, 1, 1)[0]; r.Arrived.Before(p.AsOf) {
		t.Errorf("a record arrived at %s, which was said to be complete as of %s", r.Arrived, p.AsOf)
	}
}

func testReadEnds(t *testing.T, env SourceEnv, shard string) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		p, err := env.Source.Read(ctx, shard, "", 1)
		if len(p.Records) != 0 {
			err = fmt.Errorf("read %v", p.Records)
		}
		ended <- err
	}()
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
}

func testPageOwnership(t *testing.T, env SourceEnv, shard string) {
	env.Put(t, shard, []byte("first"))
	env.Put(t, shard, []byte("second"))
	for _, r := range readN(t, env, shard, "", 2, 1<<20) {
		clear(r.Data[:cap(r.Data)])
	}
	if records := readN(t, env, shard, "", 2, 1<<20); string(records[0].Data) != "first" {
		t.Errorf("read %q", records[0].Data)
	}
}

func testTrimmed(t *testing.T, env SourceEnv, shard string) {
	if env.Trim == nil {
		return
	}
	for i := range 10 {
		env.Put(t, shard, fmt.Append(nil, i))
	}
	records := readN(t, env, shard, "", 10, 1<<20)
	env.Trim(t, shard, records[5].Sequence)
	if _, err := env.Source.Read(t.Context(), shard, records[1].Sequence, 1<<20); !errors.Is(err, consumer.ErrTrimmed) {
		t.Errorf("Read of trimmed records: %v, want ErrTrimmed", err)
	}
	for _, after := range []string{"", records[4].Sequence} {
		if rest := readN(t, env, shard, after, 5, 1<<20); rest[0].Sequence != records[5].Sequence {
			t.Errorf("after %q comes %s, want %s", after, rest[0].Sequence, records[5].Sequence)
		}
	}
}

func testEnd(t *testing.T, env SourceEnv, shard string) {
	if env.Split == nil {
		return
	}
	const n = 5
	for i := range n {
		env.Put(t, shard, fmt.Append(nil, i))
	}
	env.Split(t, shard)
	shards, err := env.Source.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	children := 0
	for _, sh := range shards {
		if sh.ID == shard && !sh.Closed {
			t.Errorf("%+v is split and not closed", sh)
		}
		if slices.Contains(sh.Parents, shard) {
			children++
			if sh.Closed {
				t.Errorf("%+v is new and closed", sh)
			}
		}
	}
	if children < 2 {
		t.Errorf("%d children of %s in %+v", children, shard, shards)
	}
	for _, maxBytes := range []int{1, 1 << 20} {
		after, seen := "", 0
		for end := false; !end; {
			p := read(t, env, shard, after, maxBytes)
			for _, r := range p.Records {
				if want := fmt.Sprint(seen); string(r.Data) != want {
					t.Errorf("record %d is %q", seen, r.Data)
				}
				after, seen = r.Sequence, seen+1
			}
			end = p.End
		}
		if seen != n {
			t.Errorf("%d records before the end, want %d", seen, n)
		}
		if p := read(t, env, shard, after, maxBytes); !p.End || len(p.Records) > 0 {
			t.Errorf("behind the last record: %+v", p)
		}
	}
}

// testKept: what is kept is no claim about what may be gone.
func testKept(t *testing.T, env SourceEnv, shard string) {
	env.Put(t, shard, []byte("oldest"))
	for _, after := range []string{"", readN(t, env, shard, "", 1, 1)[0].Sequence} {
		p := read(t, env, shard, after, 1<<20)
		if p.Kept.After(env.Now().Add(-time.Minute)) {
			t.Errorf("after %q: all is there since %s only, and a record has just been put", after, p.Kept)
		}
	}
}

func testUnknownShard(t *testing.T, env SourceEnv, _ string) {
	if _, err := env.Source.Read(t.Context(), "shardId-999999999999", "", 1); err == nil {
		t.Error("Read of an unknown shard succeeded")
	}
}
