package schemas_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock/schemas"
)

const (
	someID   = "2gFWbDEZTXM1gCJv4rHRY2sXHzt"
	someBody = "\t{\"n\" : 1.50, \"n\":1e2,\n \"s\":\"\\u00e9\"} \r\n"
)

var received = time.Date(2026, 11, 22, 10, 15, 30, 120_000_999, time.FixedZone("CET", 3600))

// inline is an event of a client that sent a body and nothing else.
func inline(t testing.TB) schemas.Event {
	t.Helper()
	e, err := schemas.NewEvent(someID, received, &schemas.Attributes{}, []byte(someBody))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// complete is an event that has everything.
func complete(t testing.TB) schemas.Event {
	t.Helper()
	e, err := schemas.NewEvent(someID, received, &schemas.Attributes{
		ID: `order "7"\8`, Type: "com.example.order", Source: "https://shop.example.com/orders?x=%20#1", Subject: "Bücher 書",
		Time: "2026-11-22T11:15:29.5+05:30", ContentType: "application/vnd.order+json; charset=utf-8",
		DataSchema: "https://example.com/order.json", PartitionKey: "customer/48213",
		Extensions: map[string]string{"zeta": "", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a1": "\uFFFD"},
	}, []byte(someBody))
	if err != nil {
		t.Fatal(err)
	}
	e.Tenant = "acme"
	e.Redelivered = true
	return e
}

// referring is an event whose body lies in object storage.
func referring(t testing.TB) schemas.Event {
	t.Helper()
	e, err := schemas.NewEvent(someID, received, &schemas.Attributes{}, bytes.Repeat([]byte{'7'}, schemas.MaxInlineBody+1))
	if err != nil {
		t.Fatal(err)
	}
	if e.Data != nil {
		t.Fatal("a body that is too large is inline")
	}
	e.DataRef = "s3://bucket/bodies/dt=2026-11-22/" + someID
	return e
}

func TestNewEvent(t *testing.T) {
	t.Parallel()
	want := schemas.Event{
		ID: someID, Type: "event", Source: "penstock", ContentType: "application/json",
		Time:         time.Date(2026, 11, 22, 9, 15, 30, 120_000_000, time.UTC),
		ReceivedTime: time.Date(2026, 11, 22, 9, 15, 30, 120_000_000, time.UTC),
		Size:         int64(len(someBody)), SHA256: sha256.Sum256([]byte(someBody)), Data: []byte(someBody),
	}
	if got := inline(t); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	body := bytes.Repeat([]byte{'7'}, schemas.MaxInlineBody)
	e, err := schemas.NewEvent(someID, received, &schemas.Attributes{Time: "2026-11-22T11:15:29+02:00"}, body)
	if err != nil || len(e.Data) != schemas.MaxInlineBody || &e.Data[0] != &body[0] {
		t.Errorf("the largest inline body is not kept as it is: %v", err)
	}
	if _, offset := e.Time.Zone(); offset != 7200 {
		t.Errorf("time is %v", e.Time)
	}
	if _, err := schemas.NewEvent(someID, received, &schemas.Attributes{Time: "yesterday"}, body); !errors.Is(err, schemas.ErrAttribute) {
		t.Errorf("got %v, want ErrAttribute", err)
	}
}

func TestEventGolden(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]schemas.Event{
		"event_inline.json": inline(t), "event_complete.json": complete(t), "event_dataref.json": referring(t),
	} {
		encoded := schemas.AppendEvent([]byte("before"), &e)
		golden(t, name, encoded[len("before"):])
		if !json.Valid(encoded[len("before"):]) {
			t.Errorf("%s is not JSON", name)
		}
		back, err := schemas.DecodeEvent(encoded[len("before"):])
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Errorf("%s came back as %+v, %v\nwant %+v", name, back, err, e)
		}
	}
}

// An event whose body is both kept and referred to is written as a reference.
func TestEventWithReferenceAndData(t *testing.T) {
	t.Parallel()
	want := referring(t)
	e := want
	e.Data = []byte("1")
	back, err := schemas.DecodeEvent(schemas.AppendEvent(nil, &e))
	if err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("came back as %+v, %v", back, err)
	}
}

// The envelope means to encoding/json what the event holds.
func TestEventMembers(t *testing.T) {
	t.Parallel()
	e := complete(t)
	var got map[string]any
	if err := json.Unmarshal(schemas.AppendEvent(nil, &e), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"specversion": "1.0", "id": e.ID, "source": e.Source, "type": e.Type, "subject": e.Subject,
		"time": "2026-11-22T11:15:29.5+05:30", "datacontenttype": e.ContentType, "dataschema": e.DataSchema,
		"partitionkey": e.PartitionKey, "receivedtime": "2026-11-22T09:15:30.120000Z", "size": float64(len(someBody)),
		"sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(someBody))), "originid": e.OriginID, "tenant": "acme",
		"redelivered": true, "data": map[string]any{"n": 1e2, "s": "é"},
	}
	for name, value := range e.Extensions {
		want[name] = value
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestEventRoundTripOfCorpus(t *testing.T) {
	t.Parallel()
	for name, document := range corpus(t) {
		e, err := schemas.NewEvent(someID, received, &schemas.Attributes{Subject: name}, document)
		if err != nil {
			t.Fatal(err)
		}
		if len(document) > schemas.MaxInlineBody {
			e.DataRef = "s3://bucket/" + name
		}
		encoded := schemas.AppendEvent(nil, &e)
		back, err := schemas.DecodeEvent(encoded)
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Errorf("%s did not come back: %v", name, err)
		}
	}
}

func TestEventRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string { return attributeText().Draw(t, name) }
		a := schemas.Attributes{
			ID: text("id"), Type: text("type"), Subject: text("subject"), PartitionKey: text("partition key"),
			Extensions: maps.Clone(rapid.MapOfN(rapid.StringMatching(`x[a-z0-9]{0,20}`), attributeText(), 0, 5).Draw(t, "extensions")),
		}
		if len(a.Extensions) == 0 {
			a.Extensions = nil
		}
		// Any bytes: the codec must not depend on what the body is.
		body := rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "body")
		at := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		e, err := schemas.NewEvent(schemas.NewID(at), at, &a, body)
		if err != nil {
			t.Fatal(err)
		}
		e.Tenant, e.Redelivered = text("tenant"), rapid.Bool().Draw(t, "redelivered")
		encoded := schemas.AppendEvent(nil, &e)
		back, err := schemas.DecodeEvent(encoded)
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("%s came back as %+v, %v\nwant %+v", encoded, back, err, e)
		}
		if again := schemas.AppendEvent(nil, &back); !bytes.Equal(again, encoded) {
			t.Fatalf("%s was encoded again as %s", encoded, again)
		}
	})
}

// attributeText draws what Attributes.Validate lets in.
func attributeText() *rapid.Generator[string] {
	return rapid.String().Filter(func(s string) bool {
		return (&schemas.Attributes{Subject: s}).Validate() == nil
	})
}

func TestDecodeEventAliases(t *testing.T) {
	t.Parallel()
	e := inline(t)
	encoded := schemas.AppendEvent(nil, &e)
	back, err := schemas.DecodeEvent(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if start := len(encoded) - 1 - len(someBody); &back.Data[0] != &encoded[start] || cap(back.Data) != len(back.Data) {
		t.Error("the data is not the clipped bytes of the record")
	}
	clear(encoded)
	if back.ID != someID || back.Type != "event" {
		t.Error("attributes alias the record")
	}
}

func TestDecodeEventRefuses(t *testing.T) {
	t.Parallel()
	e := complete(t)
	encoded := string(schemas.AppendEvent(nil, &e))
	for n := range len(encoded) {
		if _, err := schemas.DecodeEvent([]byte(encoded[:n])); !errors.Is(err, schemas.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	ref := referring(t)
	refEncoded := string(schemas.AppendEvent(nil, &ref))
	without := func(member string) string {
		before, rest, found := strings.Cut(encoded, `"`+member+`":`)
		_, after, comma := strings.Cut(rest, ",")
		if !found || !comma {
			t.Fatalf("no member %s", member)
		}
		return before + after
	}
	replaced := func(old, replacement string) string {
		if strings.Count(encoded, old) != 1 {
			t.Fatalf("%s is not there once", old)
		}
		return strings.Replace(encoded, old, replacement, 1)
	}
	for _, name := range []string{"specversion", "id", "source", "type", "time", "datacontenttype", "receivedtime", "size", "sha256"} {
		_, err := schemas.DecodeEvent([]byte(without(name)))
		if !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), `"`+name+`" is missing`) {
			t.Errorf("without %s: got %v", name, err)
		}
	}
	for name, b := range map[string]string{
		"empty": "", "no object": "[]", "empty object": "{}", "other JSON": `{"id":"x","data":1}`, "text": "hello",
		"other byte at the end":      encoded[:len(encoded)-1] + "]",
		"byte behind":                encoded + " ",
		"byte behind a reference":    refEncoded + " ",
		"byte in the data":           replaced("1.50", "1.51"),
		"shorter data":               replaced("1.50", "1.5"),
		"longer data":                replaced("1.50", "1.500"),
		"other size":                 replaced(`"size":40`, `"size":41`),
		"size as text":               replaced(`"size":40`, `"size":"40"`),
		"size as a fraction":         replaced(`"size":40`, `"size":40.0`),
		"size zero":                  replaced(`"size":40`, `"size":0`),
		"size beyond 64 bits":        replaced(`"size":40`, `"size":18446744073709551656`),
		"negative size":              replaced(`"size":40`, `"size":-40`),
		"other hash":                 replaced(`"sha256":"`, `"sha256":"00`),
		"hash that is no hex":        replaced(fmt.Sprintf("%x", e.SHA256), strings.Repeat("g", 64)),
		"other specversion":          replaced(`"specversion":"1.0"`, `"specversion":"0.3"`),
		"empty id":                   replaced(someID, ""),
		"wrong time":                 replaced("T11:15:29", "T25:15:29"),
		"receivedtime in a zone":     replaced("30.120000Z", "30.120000+01:00"),
		"receivedtime with ns":       replaced("30.120000Z", "30.1200001Z"),
		"redelivered false":          replaced(`"redelivered":true`, `"redelivered":false`),
		"tenant as a number":         replaced(`"tenant":"acme"`, `"tenant":7`),
		"extension as a number":      replaced(`"zeta":""`, `"zeta":7`),
		"extension with a bad name":  replaced(`"zeta":""`, `"Zeta":""`),
		"extension with no name":     replaced(`"zeta":""`, `"":""`),
		"extension twice":            replaced(`"zeta":""`, `"a1":""`),
		"lone surrogate":             replaced(`"zeta":""`, `"zeta":"\ud800"`),
		"id twice":                   replaced(`"zeta":""`, `"id":"x"`),
		"size twice":                 replaced(`"zeta":""`, `"size":40`),
		"time twice":                 replaced(`"zeta":""`, `"time":"2026-11-22T10:15:30Z"`),
		"specversion twice":          replaced(`"zeta":""`, `"specversion":"1.0"`),
		"redelivered twice":          replaced(`"zeta":""`, `"redelivered":true`),
		"sha256 twice":               replaced(`"zeta":""`, fmt.Sprintf(`"sha256":"%x"`, e.SHA256)),
		"data and dataref":           replaced(`"zeta":""`, `"dataref":"s3://bucket/key"`),
		"neither data nor dataref":   strings.Replace(refEncoded, `"dataref"`, `"otherref"`, 1),
		"empty dataref":              strings.Replace(refEncoded, ref.DataRef, "", 1),
		"data before its attributes": `{"data":1,` + encoded[1:],
		"wrong JSON":                 replaced(`"zeta":""`, `"zeta"`),
	} {
		got, err := schemas.DecodeEvent([]byte(b))
		if !errors.Is(err, schemas.ErrCorrupt) || !reflect.DeepEqual(got, schemas.Event{}) {
			t.Errorf("%s: got %+v, %v, want ErrCorrupt", name, got, err)
		}
		// A client's body is not to blame for what lies on the stream.
		if fault := new(schemas.JSONError); errors.As(err, &fault) {
			t.Errorf("%s: got a JSONError", name)
		}
	}
}

// No wrong bit in the data, the size or the hash goes unnoticed.
func TestDecodeEventNoticesWrongBits(t *testing.T) {
	t.Parallel()
	e := complete(t)
	encoded := schemas.AppendEvent(nil, &e)
	for i := range encoded {
		for bit := range 8 {
			encoded[i] ^= 1 << bit
			if back, err := schemas.DecodeEvent(encoded); err == nil && string(back.Data) != someBody {
				t.Fatalf("bit %d of byte %d: decoded as %q", bit, i, encoded)
			}
			encoded[i] ^= 1 << bit
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for _, e := range []schemas.Event{inline(f), complete(f), referring(f)} {
		f.Add(schemas.AppendEvent(nil, &e))
	}
	f.Add([]byte(`{"specversion":"1.0","id":"i","source":"s","type":"t","time":"2026-11-22T10:15:30Z","datacontenttype":"c",` +
		`"receivedtime":"2026-11-22T10:15:30Z","size":1,"sha256":` +
		`"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b" , "\u0061" : "\ud83d\ude00", "data":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := schemas.DecodeEvent(b)
		if err != nil {
			if !errors.Is(err, schemas.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if (e.DataRef == "") != (e.Data != nil) || (e.Data != nil && sha256.Sum256(e.Data) != e.SHA256) {
			t.Fatalf("%q was read as %+v", b, e)
		}
		encoded := schemas.AppendEvent(nil, &e)
		back, err := schemas.DecodeEvent(encoded)
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("%q was read as %+v, written as %q and read as %+v, %v", b, e, encoded, back, err)
		}
	})
}

// AppendEvent writes JSON whatever is in the strings.
func TestAppendEventEscapes(t *testing.T) {
	t.Parallel()
	e := inline(t)
	e.Subject = "\x00\x1f\n\x7f\"\\/\xff\u2028😀\xe2\x82"
	var got struct{ Subject string }
	if err := json.Unmarshal(schemas.AppendEvent(nil, &e), &got); err != nil {
		t.Fatal(err)
	}
	if want := "\x00\x1f\n\x7f\"\\/\uFFFD\u2028😀\uFFFD\uFFFD"; got.Subject != want {
		t.Errorf("got %q, want %q", got.Subject, want)
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	e := inline(b)
	e.Data = order(1 << 10)
	var dst []byte
	for b.Loop() {
		dst = schemas.AppendEvent(dst[:0], &e)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkNewEvent(b *testing.B) {
	body := order(1 << 10)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := schemas.NewEvent(someID, received, &schemas.Attributes{}, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	e, err := schemas.NewEvent(someID, received, &schemas.Attributes{}, order(1<<10))
	if err != nil {
		b.Fatal(err)
	}
	encoded := schemas.AppendEvent(nil, &e)
	b.SetBytes(int64(len(encoded)))
	b.Run("penstock", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := schemas.DecodeEvent(encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sha256 alone", func(b *testing.B) {
		for b.Loop() {
			if sha256.Sum256(e.Data) != e.SHA256 {
				b.Fatal("wrong")
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var members map[string]json.RawMessage
			if err := json.Unmarshal(encoded, &members); err != nil {
				b.Fatal(err)
			}
		}
	})
}
