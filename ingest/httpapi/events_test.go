package httpapi

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock/schemas"
)

// Any JSON value comes back byte for byte (invariant 3).
func TestEventByteForByte(t *testing.T) {
	t.Parallel()
	f := start(t)
	for name, body := range map[string]string{
		"object":     `{"a":1}`,
		"odd":        " \t{\"b\": 1.0e+2,\r\n \"a\": \"\\u00e9é\", \"a\": null}\n ",
		"array":      `[1,2,{"a":[]}]`,
		"number":     `-0.00`,
		"string":     `"x"`,
		"null":       `null`,
		"inline max": `"` + strings.Repeat("x", 999_998) + `"`,
		"large":      `"` + strings.Repeat("y", 999_999) + `"`,
		"largest":    `"` + strings.Repeat("z", 10_485_758) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			id := f.store(of(body))
			got := f.do("GET", "/v1/events/"+id, nil).must(t, 200)
			if string(got.body) != body {
				t.Fatalf("came back as %d bytes, sent %d", len(got.body), len(body))
			}
			for header, want := range map[string]string{
				"Content-Type": "application/json", "Ce-Id": id, "Ce-Type": "event", "Ce-Source": "penstock",
				"Ce-Specversion": "1.0", "Ce-Sha256": digest([]byte(body)), "X-Content-Type-Options": "nosniff",
			} {
				if got.header.Get(header) != want {
					t.Errorf("%s: %q, want %q", header, got.header.Get(header), want)
				}
			}
			envelope := f.do("GET", "/v1/events/"+id, nil, "Accept: text/html, application/cloudevents+json;q=0.9").must(t, 200)
			if envelope.header.Get("Content-Type") != mediaEvent || !bytes.HasSuffix(envelope.body, []byte(`,"data":`+body+`}`)) {
				t.Errorf("the envelope does not end with the data: %.200s", envelope.body)
			}
			head := f.do("HEAD", "/v1/events/"+id, nil).must(t, 200)
			if len(head.body) != 0 || head.header.Get("Ce-Id") != id || head.header.Get("Content-Length") != got.header.Get("Content-Length") {
				t.Errorf("HEAD differs: %v", head.header)
			}
		})
	}
	if f.bodies.closed != 4 {
		t.Errorf("%d bodies were closed, 4 were opened", f.bodies.closed)
	}
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	f := start(t)
	posted := f.do("POST", "/v1/events?type=order&subject=a%20%C3%A9", `{}`, "Content-Type: application/vnd.shop+json; charset=utf-8",
		"ce-specversion: 1.0", "ce-type: order", "ce-source: /shop?x=%2525", "CE-Region: %22eu%22", `ce-quoted: "a \"b"`,
		"ce-id: mine", "ce-time: 2026-01-02T03:04:05.6+02:00", "ce-partitionkey: k", "ce-dataschema: https://x/y").must(t, 202)
	got := f.do("GET", "/v1/events/"+posted.id(t), nil).must(t, 200)
	for header, want := range map[string]string{
		"Content-Type": "application/vnd.shop+json; charset=utf-8", "Ce-Type": "order", "Ce-Source": "/shop?x=%2525",
		"Ce-Subject": "a%20%C3%A9", "Ce-Region": "%22eu%22", "Ce-Quoted": "a%20%22b", "Ce-Originid": "mine",
		"Ce-Time": "2026-01-02T03:04:05.6+02:00", "Ce-Partitionkey": "k", "Ce-Dataschema": "https://x/y",
	} {
		if got.header.Get(header) != want {
			t.Errorf("%s: %q, want %q", header, got.header.Get(header), want)
		}
	}
}

func TestStructuredEvent(t *testing.T) {
	t.Parallel()
	f := start(t)
	body := `{"specversion":"1.0","id":"o-1","source":"/shop","type":"order","region":"eu","data": {"a": 1 } }`
	id := f.do("POST", "/v1/events?partitionkey=p", body, "Content-Type: application/cloudevents+json", "ce-type: order").id(t)
	got := f.do("GET", "/v1/events/"+id, nil).must(t, 200)
	if string(got.body) != `{"a": 1 }` || got.header.Get("Ce-Region") != "eu" || got.header.Get("Ce-Originid") != "o-1" || got.header.Get("Ce-Partitionkey") != "p" {
		t.Errorf("came back as %v %s", got.header, got.body)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	f := start(t)
	first := f.post(`{"n":1}`, "Idempotency-Key: k-1")
	again := f.post(`{"n":1}`, "Idempotency-Key: k-1")
	if first.id(t) != again.id(t) || first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the retry answers %v %s, first was %s", again.header, again.body, first.body)
	}
	f.post(`{"n":2}`, "Idempotency-Key: k-1").problem(t, http.StatusUnprocessableEntity, "key-reused")
	if f.post(`{"n":1}`, "Idempotency-Key: k-2").id(t) == first.id(t) {
		t.Error("two keys have one id")
	}

	lines := "{\"n\":1}\n{\"n\":2}\n"
	batch := f.do("POST", "/v1/events", lines, "Content-Type: application/x-ndjson", "Idempotency-Key: b").must(t, 202)
	replay := f.do("POST", "/v1/events", lines, "Content-Type: application/x-ndjson", "Idempotency-Key: b").must(t, 202)
	if !bytes.Equal(batch.body, replay.body) || replay.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the batch's retry answers %s, first was %s", replay.body, batch.body)
	}
	for _, bad := range []string{"a b", strings.Repeat("x", 256), "é", ""} {
		f.post(`{}`, "Idempotency-Key: "+bad).problem(t, 400, "invalid-parameter")
	}
	f.post(`{}`, "Idempotency-Key: a", "Idempotency-Key: a").problem(t, 400, "invalid-parameter")
}

// The same key of two credentials stands for two requests.
func TestIdempotencyKeyIsScoped(t *testing.T) {
	t.Parallel()
	f, one, two := startWithKeys(t)
	a := f.post(`{"n":1}`, "Idempotency-Key: k", "Authorization: Bearer "+one)
	b := f.post(`{"n":2}`, "Idempotency-Key: k", "Authorization: Bearer "+two)
	if a.id(t) == b.id(t) {
		t.Error("one credential's key answers for another's")
	}
}

func TestGetEventPendingOrUnknown(t *testing.T) {
	t.Parallel()
	f := start(t)
	id := f.post(`{"n":1}`).id(t)
	f.stream.set(func(s *stream) { s.hide = true })
	pending := f.do("GET", "/v1/events/"+id, nil)
	pending.problem(t, 404, "event-pending")
	if pending.header.Get("Retry-After") == "" {
		t.Error("event-pending without Retry-After")
	}
	made := idTime(t, id)
	f.stream.set(func(s *stream) { s.asOf = made.Add(900 * time.Millisecond) })
	f.do("GET", "/v1/events/"+id, nil).problem(t, 404, "event-pending")
	f.stream.set(func(s *stream) { s.broken = http.ErrServerClosed })
	f.do("GET", "/v1/events/"+id, nil).problem(t, 404, "event-pending")
	if f.stream.proofs != 0 {
		t.Errorf("%d proofs were asked for while the index was before the id's time", f.stream.proofs)
	}

	// Behind the id's time it is proven: the event may have come long after its id was made, by a retry with its key.
	unknown := schemas.NewID(made.Add(-time.Hour))
	f.stream.set(func(s *stream) { s.asOf, s.broken = made.Add(1100*time.Millisecond), nil })
	f.do("GET", "/v1/events/"+id, nil).problem(t, 404, "event-pending")
	f.do("GET", "/v1/events/"+unknown, nil).problem(t, 404, "event-unknown")
	f.do("GET", "/v1/events/"+futureID(), nil).problem(t, 404, "event-unknown")
	f.stream.set(func(s *stream) { s.behind = true })
	f.do("GET", "/v1/events/"+unknown, nil).problem(t, 404, "event-pending")
	f.do("GET", "/v1/events/"+futureID(), nil).problem(t, 404, "event-pending")
	f.stream.set(func(s *stream) { s.hide = false })
	f.do("GET", "/v1/events/"+id, nil).must(t, 200)

	for _, bad := range []string{"x", id + "0", id[:26] + "-", strings.Repeat("z", 27)} {
		f.do("GET", "/v1/events/"+bad, nil).problem(t, 400, "invalid-parameter")
	}
	// A body that should be there and is not is our fault, not the client's.
	large := f.store(of(`"` + strings.Repeat("y", 1_000_000) + `"`))
	f.bodies.mu.Lock()
	clear(f.bodies.bodies)
	f.bodies.mu.Unlock()
	p := f.do("GET", "/v1/events/"+large, nil).problem(t, 500, "internal-error")
	if p.Instance == "" || strings.Contains(p.Detail, "s3") {
		t.Errorf("the internal error leaks or can't be found again: %+v", p)
	}
}
