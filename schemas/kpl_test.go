package schemas_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"penstock/schemas"
)

func TestAggregateGolden(t *testing.T) {
	t.Parallel()
	key := schemas.HashKeyOf("abc")
	got := schemas.AppendAggregate([]byte("before"), "abc", key, [][]byte{[]byte(`{"n":1}`), []byte("two"), {}})
	before, aggregate := got[:6], got[6:]
	if string(before) != "before" {
		t.Errorf("what was there before became %q", before)
	}
	golden(t, "aggregate.hex", []byte(hex.EncodeToString(aggregate)+"\n"))

	// The same, written down from the format's description.
	message := "\x0a\x03abc" + // partition_key_table
		"\x12\x27" + key.String() + // explicit_hash_key_table
		"\x1a\x0d\x08\x00\x10\x00\x1a\x07{\"n\":1}" + // records: partition key 0, explicit hash key 0, data
		"\x1a\x09\x08\x00\x10\x00\x1a\x03two" +
		"\x1a\x06\x08\x00\x10\x00\x1a\x00"
	sum := md5.Sum([]byte(message))
	if want := "\xf3\x89\x9a\xc2" + message + string(sum[:]); string(aggregate) != want {
		t.Errorf("got %q, want %q", aggregate, want)
	}
}

func TestAggregateRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 1, 40).Draw(t, "events")
		partitionKey := rapid.StringN(0, 300, -1).Draw(t, "partition key")
		key := schemas.HashKeyOf(partitionKey)
		clear(key[:rapid.IntRange(0, 16).Draw(t, "zeros")])
		b := schemas.AppendAggregate(nil, partitionKey, key, events)
		if want := schemas.AggregatedSize(partitionKey, key, events); len(b) != want {
			t.Fatalf("%d bytes, AggregatedSize said %d", len(b), want)
		}
		got, err := schemas.Deaggregate(b)
		if err != nil || !slices.EqualFunc(got, events, bytes.Equal) {
			t.Fatalf("came back as %q, %v", got, err)
		}
		cut := rapid.IntRange(4, len(b)-1).Draw(t, "cut")
		if _, err := schemas.Deaggregate(b[:cut]); !errors.Is(err, schemas.ErrCorrupt) {
			t.Fatalf("cut to %d of %d bytes: %v", cut, len(b), err)
		}
		b[cut] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := schemas.Deaggregate(b); !errors.Is(err, schemas.ErrCorrupt) {
			t.Fatalf("one bit of byte %d is wrong: %v", cut, err)
		}
	})
}

func TestAggregateOfLargeEvents(t *testing.T) {
	t.Parallel()
	for _, size := range []int{121, 122, 127, 128, 16_377, 16_378, 16_384, schemas.MaxInlineBody + schemas.MaxAttributes} {
		events := [][]byte{bytes.Repeat([]byte{'x'}, size), []byte("y")}
		b := schemas.AppendAggregate(nil, "k", schemas.MaxHashKey, events)
		if want := schemas.AggregatedSize("k", schemas.MaxHashKey, events); len(b) != want {
			t.Errorf("%d bytes, AggregatedSize said %d", len(b), want)
		}
		got, err := schemas.Deaggregate(b)
		if err != nil || !slices.EqualFunc(got, events, bytes.Equal) {
			t.Errorf("event of %d bytes: %v", size, err)
		}
	}
	// An inline event of the largest kind fits a default Kinesis record of 1 MiB, with a partition key of the longest.
	largest := [][]byte{make([]byte, schemas.MaxInlineBody+schemas.MaxAttributes)}
	if size := schemas.AggregatedSize(strings.Repeat("k", 256), schemas.MaxHashKey, largest); size+256 > 1<<20 {
		t.Errorf("largest record has %d bytes", size)
	}
}

func TestDeaggregateOthers(t *testing.T) {
	t.Parallel()
	for _, b := range []string{"", "{}", "\xf3\x89\x9a", "\xf3\x89\x9a\xc3................"} {
		got, err := schemas.Deaggregate([]byte(b))
		if err != nil || len(got) != 1 || string(got[0]) != b {
			t.Errorf("%q, which is no aggregate, came back as %q, %v", b, got, err)
		}
	}
}

// sealed makes an aggregate of a protobuf message.
func sealed(message []byte) []byte {
	sum := md5.Sum(message)
	return slices.Concat([]byte("\xf3\x89\x9a\xc2"), message, sum[:])
}

func TestDeaggregateForeign(t *testing.T) {
	t.Parallel()
	const record = "\x08\x00\x1a\x01x"
	for name, c := range map[string]struct {
		message string
		want    []string // nil: ErrCorrupt
	}{
		"no explicit hash key":         {"\x0a\x01k\x1a\x05" + record, []string{"x"}},
		"tables behind records":        {"\x1a\x05" + record + "\x0a\x01k", []string{"x"}},
		"second keys":                  {"\x0a\x01k\x0a\x01l\x12\x011\x12\x012\x1a\x07\x08\x01\x10\x01\x1a\x01x", []string{"x"}},
		"tags":                         {"\x0a\x01k\x1a\x0b" + record + "\x22\x04\x0a\x02ab", []string{"x"}},
		"unknown fields of every kind": {"\x20\x05\x29........\x35....\x3a\x01z\x43\x08\x01\x44\x0a\x01k\x1a\x05" + record, []string{"x"}},
		"fields in another order":      {"\x0a\x01k\x1a\x05\x1a\x01x\x08\x00", []string{"x"}},
		"long varints":                 {"\x0a\x01k\x1a\x07\x08\x80\x80\x00\x1a\x01x", []string{"x"}},
		"two records":                  {"\x0a\x01k\x1a\x05" + record + "\x1a\x04\x08\x00\x1a\x00", []string{"x", ""}},

		"empty":                        {"", nil},
		"no records":                   {"\x0a\x01k", nil},
		"no partition keys":            {"\x1a\x05" + record, nil},
		"partition key out of range":   {"\x0a\x01k\x1a\x05\x08\x01\x1a\x01x", nil},
		"hash key out of range":        {"\x0a\x01k\x1a\x07\x08\x00\x10\x00\x1a\x01x", nil},
		"no index":                     {"\x0a\x01k\x1a\x03\x1a\x01x", nil},
		"no data":                      {"\x0a\x01k\x1a\x02\x08\x00", nil},
		"index of 2^64-1":              {"\x0a\x01k\x1a\x0e\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x1a\x01x", nil},
		"hash key index of 2^64-1":     {"\x0a\x01k\x1a\x10\x08\x00\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x1a\x01x", nil},
		"varint overflow":              {"\x0a\x01k\x1a\x0e\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x1a\x01x", nil},
		"record longer than the rest":  {"\x0a\x01k\x1a\x06" + record, nil},
		"data longer than its record":  {"\x0a\x01k\x1a\x05\x08\x00\x1a\x02x\x1a\x05" + record, nil},
		"length of 2^64-1":             {"\x0a\x01k\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", nil},
		"field number 0":               {"\x02\x00\x0a\x01k\x1a\x05" + record, nil},
		"wire type 7":                  {"\x0a\x01k\x1a\x05" + record + "\x27", nil},
		"data of another wire type":    {"\x0a\x01k\x1a\x04\x08\x00\x18\x01", nil},
		"records of another wire type": {"\x0a\x01k\x18\x05", nil},
		"end of a group alone":         {"\x0a\x01k\x1a\x05" + record + "\x44", nil},
	} {
		got, err := schemas.Deaggregate(sealed([]byte(c.message)))
		if c.want == nil {
			if !errors.Is(err, schemas.ErrCorrupt) {
				t.Errorf("%s: got %q, %v, want ErrCorrupt", name, got, err)
			}
			continue
		}
		if err != nil || !slices.EqualFunc(got, c.want, func(b []byte, s string) bool { return string(b) == s }) {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
	}
}

// Appending to one event must not run into the next.
func TestDeaggregateClips(t *testing.T) {
	t.Parallel()
	b := schemas.AppendAggregate(nil, "k", schemas.MaxHashKey, [][]byte{[]byte("one"), []byte("two")})
	got, err := schemas.Deaggregate(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(got[0], "longer than what is between them"...)
	if string(got[1]) != "two" {
		t.Errorf("the second event became %q", got[1])
	}
}

func FuzzDeaggregate(f *testing.F) {
	whole := schemas.AppendAggregate(nil, "k", schemas.HashKeyOf("k"), [][]byte{[]byte("one"), []byte("two")})
	f.Add(whole[4 : len(whole)-16])
	f.Add([]byte("\x0a\x01k\x1a\x0b\x08\x00\x1a\x01x\x22\x04\x0a\x02ab"))
	f.Add([]byte("\x20\x05\x29........\x35....\x3a\x01z\x43\x08\x01\x44"))
	f.Fuzz(func(t *testing.T, message []byte) {
		if _, err := schemas.Deaggregate(message); err != nil && !errors.Is(err, schemas.ErrCorrupt) {
			t.Fatal(err)
		}
		// With the right checksum, so that the fuzzer reaches the protobuf.
		got, err := schemas.Deaggregate(sealed(message))
		if err != nil {
			if !errors.Is(err, schemas.ErrCorrupt) || got != nil {
				t.Fatalf("got %q, %v", got, err)
			}
			return
		}
		if want := recordsOf(message); len(got) != want {
			t.Fatalf("%d events of %d records", len(got), want)
		}
		again, err := schemas.Deaggregate(schemas.AppendAggregate(nil, "k", schemas.HashKey{}, got))
		if err != nil || !slices.EqualFunc(got, again, bytes.Equal) {
			t.Fatalf("%q came back as %q, %v", got, again, err)
		}
	})
}

// recordsOf counts field 3 of a well-formed message.
func recordsOf(message []byte) (records int) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeField(message)
		if number == 3 && kind == protowire.BytesType {
			records++
		}
		message = message[n:]
	}
	return records
}
