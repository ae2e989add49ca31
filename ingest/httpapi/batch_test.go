package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock/ingest"
	"penstock/schemas"
)

const lines = "Content-Type: application/x-ndjson"

func (f *front) batch(status int, body string, headers ...string) batchAnswer {
	f.t.Helper()
	a := f.do("POST", "/v1/events", body, headers...).must(f.t, status)
	var b batchAnswer
	a.decode(f.t, &b)
	if b.Accepted+b.Rejected != len(b.Items) {
		f.t.Fatalf("%d + %d items are not %d", b.Accepted, b.Rejected, len(b.Items))
	}
	return b
}

func TestLines(t *testing.T) {
	t.Parallel()
	f := start(t)
	b := f.batch(202, "{\"n\":1}\r\n\n  \t\r\n [2] \n\"three\"", lines, "ce-type: line", "ce-region: eu")
	for i, want := range []string{`{"n":1}`, ` [2] `, `"three"`} {
		got := f.do("GET", "/v1/events/"+b.Items[i].ID, nil).must(t, 200)
		if string(got.body) != want || got.header.Get("Ce-Type") != "line" || got.header.Get("Ce-Region") != "eu" {
			t.Errorf("item %d came back as %v %q", i, got.header, got.body)
		}
	}
	f.do("POST", "/v1/events", "1\n", lines, "ce-id: one").problem(t, 400, "unsuitable-attribute")
	f.do("POST", "/v1/events", "\n \r\n", lines).problem(t, 400, "empty-body")
}

// A batch whose third line is broken: the others are durable.
func TestLinesOneBroken(t *testing.T) {
	t.Parallel()
	f := start(t)
	b := f.batch(207, "{\"n\":1}\n\n{\"n\":}\n{\"n\":4}\n", lines)
	if b.Accepted != 2 || b.Rejected != 1 {
		t.Fatalf("%+v", b)
	}
	p := b.Items[1].Problem
	if p == nil || p.Type != "/problems/malformed-json" || p.Line != 3 || p.Offset == nil || *p.Offset != 14 {
		t.Errorf("the broken line's problem: %+v", p)
	}
	for _, i := range []int{0, 2} {
		f.do("GET", "/v1/events/"+b.Items[i].ID, nil).must(t, 200)
	}
	f.batch(400, "{\n}\n", lines)
}

func TestArrayOfEvents(t *testing.T) {
	t.Parallel()
	f := start(t)
	event := func(more string) string {
		return `{"specversion":"1.0","id":"i","source":"/s","type":"t"` + more + `}`
	}
	const array = "Content-Type: application/cloudevents-batch+json"
	b := f.batch(207, "["+event(`,"data":{"a":1}`)+" , "+event(``)+`,{"data":1}, 7,`+event(`,"data_base64":"AA=="`)+"]", array)
	if b.Accepted != 1 || b.Items[0].Status != 202 {
		t.Fatalf("%+v", b)
	}
	for i, want := range []string{"", "unsuitable-attribute", "unsuitable-attribute", "malformed-json", "unsuitable-attribute"} {
		if p := b.Items[i].Problem; want != "" && (p == nil || p.Type != "/problems/"+want) {
			t.Errorf("item %d: %+v, want %s", i, p, want)
		}
	}
	stored := f.stream.count()
	f.do("POST", "/v1/events", "["+event(`,"data":1`)+",", array).problem(t, 400, "malformed-json")
	f.do("POST", "/v1/events", "{}", array).problem(t, 400, "malformed-json")
	f.do("POST", "/v1/events", "[]", array).problem(t, 400, "empty-body")
	b = f.batch(400, "["+event(`,"data":1`)+"]", array, "ce-type: other")
	if !strings.Contains(b.Items[0].Problem.Detail, `"type"`) {
		t.Errorf("%+v", b.Items[0].Problem)
	}
	if f.stream.count() != stored {
		t.Error("a refused batch was stored")
	}
}

func TestBatchLimit(t *testing.T) {
	t.Parallel()
	f := start(t)
	var b batchAnswer
	eventually(t, "all are durable", func() bool { // with one key, on a machine too busy to get it done at once
		a := f.do("POST", "/v1/events", strings.Repeat("1\n", 10_000), lines, "Idempotency-Key: limit")
		if a.status != http.StatusAccepted {
			return false
		}
		a.decode(t, &b)
		return true
	})
	ids := make(map[string]bool)
	for _, item := range b.Items {
		ids[item.ID] = true
	}
	if len(ids) != 10_000 || f.stream.count() != 10_000 {
		t.Fatalf("%d ids, %d events", len(ids), f.stream.count())
	}
	p := f.do("POST", "/v1/events", strings.Repeat("1\n", 10_001), lines).problem(t, 413, "too-many-items")
	if p.Limit != 10_000 || f.stream.count() != 10_000 {
		t.Errorf("limit %d, %d events", p.Limit, f.stream.count())
	}
	f.do("POST", "/v1/events", "["+strings.Repeat("1,", 10_000)+"1]", "Content-Type: application/cloudevents-batch+json").problem(t, 413, "too-many-items")
}

// When the stream refuses, the answer to a batch is 503 if another try may help.
func TestBatchUnavailable(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.stream.set(func(s *stream) { s.fail = fmt.Errorf("disk: %w", ingest.ErrStorageFull) })
	a := f.do("POST", "/v1/events", "{}\n{\n", lines).must(t, 503)
	var b batchAnswer
	a.decode(t, &b)
	if a.header.Get("Retry-After") != fmt.Sprint(storageFull.retryAfter) {
		t.Errorf("%v", a.header)
	}
	if b.Items[0].Status != 503 || b.Items[0].Problem.Type != "/problems/storage-full" || b.Items[1].Status != 400 {
		t.Errorf("%+v", b)
	}
	f.post(`{}`).problem(t, http.StatusServiceUnavailable, "storage-full")
}

// TestBatchWithoutRoomForItsAnswer: the wait for room is part of the time that an ack may take (invariant 4).
func TestBatchWithoutRoomForItsAnswer(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config, _ *Deps) { c.RoomWait, c.AckDeadline = time.Minute, 50*time.Millisecond })
	unread, err := f.server.answerRoom(t.Context(), Defaults().AnswerBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Release()
	begun := time.Now()
	f.do("POST", "/v1/events", "1\n", lines).problem(t, 503, "overloaded")
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestBatchesOfTinyItems: what a batch of tiny items takes up in memory counts, not only its bytes.
func TestBatchesOfTinyItems(t *testing.T) {
	t.Parallel()
	f := startWith(t, 4<<20, func(c *Config, _ *Deps) { c.RoomWait = time.Millisecond })
	f.do("POST", "/v1/events", strings.Repeat("?\n", schemas.MaxBatchItems), lines).problem(t, 503, "overloaded")
	if b := f.batch(400, strings.Repeat("?\n", 1000), lines); len(b.Items) != 1000 {
		t.Errorf("%d items", len(b.Items))
	}
}

// ample is room for any number of items.
func ample(int64) error { return nil }

func FuzzCutLines(f *testing.F) {
	f.Add([]byte("1\n\r\n 2\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := cutLines(payload{bytes: body}, &schemas.Attributes{}, ample)
		if err != nil {
			return
		}
		for i, item := range b.items {
			at := b.origins[i].offset
			if string(body[at:at+int64(len(item.Body))]) != string(item.Body) || strings.ContainsRune(string(item.Body), '\n') {
				t.Fatalf("item %d: %q is not at %d", i, item.Body, at)
			}
			if strings.Count(string(body[:at]), "\n")+1 != b.origins[i].line {
				t.Fatalf("item %d: line %d", i, b.origins[i].line)
			}
		}
	})
}
