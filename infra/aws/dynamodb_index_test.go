package aws

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"penstock/consumer"
	"penstock/schemas"
)

// denseBody is a JSON string of about size bytes that hardly compresses.
func denseBody(size int) []byte {
	raw := make([]byte, size*3/4)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(raw) // never fails
	return fmt.Appendf(nil, `"%s"`, base64.StdEncoding.EncodeToString(raw))
}

// Where an event's data lies goes by its size after compression.
func TestWhereTheDataLies(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint, s3Endpoint)
	ix := newIndex(t, c)
	small, wordy, dense := testEntry(t, 0, denseBody(7_000)), testEntry(t, 1, bytes.Repeat([]byte("1 "), 100_000)[:199_999]), testEntry(t, 2, denseBody(20_000))
	if err := ix.Apply(t.Context(), "s", []consumer.Entry{small, wordy, dense}, consumer.Checkpoint{Position: dense.Position}); err != nil {
		t.Fatal(err)
	}
	keys, err := bucketKeys(t.Context(), c.S3, ix.objects.bucket)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("items/dt=2026-03-04/%s-%x", dense.Event.ID, dense.Event.SHA256[:8]); len(keys) != 1 || keys[0] != want {
		t.Errorf("objects %q, want %q alone", keys, want)
	}
	for _, e := range []consumer.Entry{small, wordy, dense} {
		got, err := ix.Get(t.Context(), e.Event.ID)
		if err != nil || !bytes.Equal(got.Data, e.Event.Data) || got.DataRef != "" {
			t.Errorf("Get: %d bytes, ref %q, %v", len(got.Data), got.DataRef, err)
		}
	}
	// An item without its object is no unknown event.
	if err := ix.objects.remove(t.Context(), keys[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := ix.Get(t.Context(), dense.Event.ID); !errors.Is(err, schemas.ErrCorrupt) || errors.Is(err, consumer.ErrNotFound) {
		t.Errorf("Get without the object: %v, want ErrCorrupt", err)
	}
	for name, body := range map[string][]byte{"no zstd": []byte("x"), "other data": ix.zip.EncodeAll(denseBody(20_004), nil)} {
		if err := ix.objects.put(t.Context(), keys[0], body); err != nil {
			t.Fatal(err)
		}
		if _, err := ix.Get(t.Context(), dense.Event.ID); !errors.Is(err, schemas.ErrCorrupt) {
			t.Errorf("Get with an object of %s: %v, want ErrCorrupt", name, err)
		}
	}
}

// Items that this package did not write are errors, not events, and no end of the process.
func TestCorruptItems(t *testing.T) {
	t.Parallel()
	e := testEntry(t, 0, []byte("1"))
	for name, it := range map[string]item{
		"no e":          {"id": stringValue("x")},
		"e is text":     {"id": stringValue("x"), "e": stringValue("x")},
		"e is no zstd":  {"id": stringValue("x"), "e": bytesValue([]byte("x"))},
		"e is no event": {"id": stringValue("x"), "e": bytesValue(zipped(t, []byte(`{}`)))},
		"o is a number": {"id": stringValue("x"), "e": bytesValue(zipped(t, e.Encoded)), "o": numberValue(1)},
	} {
		shown := jsonOf(it)
		if _, err := stubIndex(t, newDynamoStub(t, show(&shown))).Get(t.Context(), "x"); !errors.Is(err, schemas.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
	for name, it := range map[string]item{
		"no p":       {"a": numberValue(0), "e": numberValue(0)},
		"p is odd":   {"p": stringValue("035-0000000000"), "a": numberValue(0), "e": numberValue(0)},
		"a is text":  {"p": stringValue("015-0000000000"), "a": stringValue("0"), "e": numberValue(0)},
		"no e":       {"p": stringValue("015-0000000000"), "a": numberValue(0)},
		"large sub":  {"p": stringValue("015-9999999999"), "a": numberValue(0), "e": numberValue(0)},
		"with zeros": {"p": stringValue("0205-0000000000"), "a": numberValue(0), "e": numberValue(0)},
	} {
		shown := jsonOf(it)
		if c, err := stubIndex(t, newDynamoStub(t, show(&shown))).Checkpoint(t.Context(), "s"); !errors.Is(err, schemas.ErrCorrupt) || c != (consumer.Checkpoint{}) {
			t.Errorf("checkpoint, %s: %+v, %v, want ErrCorrupt", name, c, err)
		}
	}
}

// A frame that would grow beyond every event is not taken apart.
func TestZstdBomb(t *testing.T) {
	t.Parallel()
	shown := jsonOf(item{"id": stringValue("x"), "e": bytesValue(zipped(t, make([]byte, maxEncoded+1)))})
	if _, err := stubIndex(t, newDynamoStub(t, show(&shown))).Get(t.Context(), "x"); !errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		t.Errorf("Get: %v, want ErrDecoderSizeExceeded", err)
	}
}

func zipped(t *testing.T, b []byte) []byte {
	t.Helper()
	return stubIndex(t, &dynamoStub{}).zip.EncodeAll(b, nil)
}

// BenchmarkApply applies 1,000 events of 1 KB at a time and tells the requests that they take.
func BenchmarkApply(b *testing.B) {
	body := append(append([]byte(`"`), []byte(strings.Repeat("penstock ", 110))...), '"')
	var entries []consumer.Entry
	for i := range 1000 {
		entries = append(entries, testEntry(b, i, body))
	}
	over := &countingTransport{}
	ix, err := NewIndex(clientsOf("http://in-memory", over), testTables, "bucket")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := ix.Apply(b.Context(), "s", entries, consumer.Checkpoint{Position: entries[999].Position}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(over.calls.Load())/float64(b.N), "requests/op")
	b.ReportMetric(float64(over.bytes.Load())/float64(b.N), "sent-B/op")
}

// What was written is read: an eventually consistent read could say that an acked event is unknown, that a lease or a claim
// is not there, or that a checkpoint is behind. No peer here is eventually consistent, so the requests are looked at.
func TestReadsAreConsistent(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, func(c call) reply {
		if strings.HasSuffix(c.op, "Item") && c.op != "GetItem" {
			return conflict
		}
		return ok
	})
	leases, letters, ix := newTestLeases(s.Clients), NewDeadLetters(s.Clients, testTables, "bucket"), stubIndex(t, s)
	p := schemas.Position{Sequence: "1"}
	// Nothing is there, so most of them fail; what matters is how they asked.
	_, _ = ix.Get(t.Context(), "x")
	_, _ = ix.Checkpoint(t.Context(), "s")
	_ = leases.Put(t.Context(), nil, testLease)
	_, _ = leases.List(t.Context(), "index")
	_, _ = letters.Get(t.Context(), "index", "s", p)
	_, _ = letters.List(t.Context(), "index", "", p, 1)
	_ = letters.Delete(t.Context(), "index", "s", p)
	_ = letters.Put(t.Context(), consumer.DeadLetter{Sink: "index", Shard: "s", Position: p})
	reads := 0
	for _, c := range s.calls {
		if c.op == "GetItem" || c.op == "Query" {
			reads++
			if c.in["ConsistentRead"] != true {
				t.Errorf("%s of %v is eventually consistent", c.op, c.in["Key"])
			}
		}
	}
	if reads != 8 {
		t.Errorf("%d reads, want 8: %q", reads, s.ops())
	}
}
