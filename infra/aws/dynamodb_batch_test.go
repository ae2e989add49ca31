package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

// jsonOf is an item as DynamoDB's JSON has it.
func jsonOf(it item) any {
	out := map[string]any{}
	for name, v := range it {
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			out[name] = map[string]any{"S": v.Value}
		case *types.AttributeValueMemberN:
			out[name] = map[string]any{"N": v.Value}
		case *types.AttributeValueMemberB:
			out[name] = map[string]any{"B": v.Value}
		}
	}
	return out
}

func testEntry(t testing.TB, n int, body []byte) consumer.Entry {
	t.Helper()
	received := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	e, err := schemas.NewEvent(schemas.NewID(received), received, &schemas.Attributes{}, body)
	if err != nil {
		t.Fatal(err)
	}
	p := schemas.Position{Sequence: "1", Sub: n}
	return consumer.Entry{Event: e, Encoded: schemas.AppendEvent(nil, &e), Shard: "s", Position: p, Arrived: received}
}

func testEntries(t testing.TB, n int) []consumer.Entry {
	t.Helper()
	var entries []consumer.Entry
	for i := range n {
		entries = append(entries, testEntry(t, i, fmt.Appendf(nil, `{"n":%d}`, i)))
	}
	return entries
}

// written are the ids in a BatchWriteItem.
func written(c call) (ids []string, requests []any) {
	tables, _ := c.in["RequestItems"].(map[string]any)
	requests, _ = tables["events"].([]any)
	for _, r := range requests {
		put, _ := r.(map[string]any)["PutRequest"].(map[string]any)
		ids = append(ids, attribute(put["Item"], "id"))
	}
	return ids, requests
}

func unprocessed(requests []any) reply {
	b, err := json.Marshal(map[string]any{"UnprocessedItems": map[string]any{"events": requests}})
	if err != nil {
		return reply{status: 500}
	}
	return reply{status: 200, body: string(b)}
}

// What DynamoDB leaves of a batch is sent again, and nothing else, until all of it is stored; then comes the checkpoint.
func TestUnprocessedItemsAreSentAgain(t *testing.T) {
	t.Parallel()
	taken := map[string]int{}
	batches, throttled := 0, 0
	s := newDynamoStub(t, func(c call) reply {
		ids, requests := written(c)
		if c.op != "BatchWriteItem" {
			return ok
		}
		batches++
		if len(ids) > maxBatch {
			t.Errorf("a batch of %d", len(ids))
		}
		if batches%3 == 0 && throttled < 12 { // more often than the SDK tries by itself
			throttled++
			return throttle
		}
		took := (len(ids) + 1) / 2
		for _, id := range ids[:took] {
			taken[id]++
		}
		return unprocessed(requests[took:])
	})
	entries := testEntries(t, 60)
	if err := stubIndex(t, s).Apply(t.Context(), "s", entries, consumer.Checkpoint{Position: entries[59].Position}); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if taken[e.Event.ID] != 1 {
			t.Errorf("item %s was stored %d times", e.Event.ID, taken[e.Event.ID])
		}
	}
	if got := s.ops(); got[len(got)-1] != "PutItem" || slices.Index(got, "PutItem") != len(got)-1 {
		t.Errorf("requests %q, want the checkpoint last", got)
	}
}

// While DynamoDB takes nothing Apply waits, until its context ends; the checkpoint stays.
func TestThrottledUntilTheContextEnds(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(c call) reply{
		"left":     func(c call) reply { _, requests := written(c); return unprocessed(requests) },
		"refused":  always(throttle),
		"slowdown": always(reply{status: 400, body: `{"__type":"ThrottlingException"}`}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			s := newDynamoStub(t, func(c call) reply {
				if n++; n == 8 {
					cancel()
				}
				return answer(c)
			})
			err := stubIndex(t, s).Apply(ctx, "s", testEntries(t, 3), consumer.Checkpoint{Position: schemas.Position{Sequence: "1"}})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Apply: %v, want context canceled", err)
			}
			if got := s.ops(); slices.Contains(got, "PutItem") || len(got) < 8 {
				t.Errorf("requests %q, want only batches, and all 8", got)
			}
		})
	}
}

// Other errors are told at once, and the checkpoint stays.
func TestApplyFails(t *testing.T) {
	t.Parallel()
	large := testEntry(t, 0, denseBody(20_000))
	to := consumer.Checkpoint{Position: schemas.Position{Sequence: "1"}}
	for name, test := range map[string]struct {
		answer func(call) reply
		ops    string
		class  error
	}{
		"items denied": {func(c call) reply { return pick(c, "BatchWriteItem", denied) }, "PUT BatchWriteItem", nil},
		"items 500":    {func(c call) reply { return pick(c, "BatchWriteItem", reply{status: 500}) }, "PUT BatchWriteItem BatchWriteItem BatchWriteItem", ingest.ErrAmbiguous},
		"object denied": {func(c call) reply {
			return pick(c, "PUT", reply{status: 403, body: `<Error><Code>AccessDenied</Code></Error>`})
		}, "PUT", nil},
		"object slowdown": {func(c call) reply {
			return pick(c, "PUT", reply{status: 503, body: `<Error><Code>SlowDown</Code></Error>`})
		}, "PUT PUT PUT", ingest.ErrThrottled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDynamoStub(t, test.answer)
			err := stubIndex(t, s).Apply(t.Context(), "s", []consumer.Entry{large}, to)
			if err == nil || test.class != nil && !errors.Is(err, test.class) {
				t.Errorf("Apply: %v, want %v", err, test.class)
			}
			if got := firstWords(s.ops()); got != test.ops {
				t.Errorf("requests %s, want %s", got, test.ops)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		ix, err := NewIndex(clientsOf(nobodyListens, &http.Client{}), testTables, "bucket")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := ix.Apply(ctx, "s", testEntries(t, 1), to); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Apply without a server: %v, want to be told at once", err)
		}
	})
}

// pick answers the operation with r and every other with ok.
func pick(c call, op string, r reply) reply {
	if strings.HasPrefix(c.op, op) {
		return r
	}
	return ok
}

func firstWords(ops []string) string {
	var words []string
	for _, op := range ops {
		word, _, _ := strings.Cut(op, " ")
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// Of two entries of one id the later one counts, and no request has the id twice, as BatchWriteItem would refuse.
func TestApplyDuplicates(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	s := newDynamoStub(t, func(c call) reply {
		ids, _ := written(c)
		for _, id := range ids {
			seen[id]++
		}
		return ok
	})
	first := testEntry(t, 0, denseBody(20_000))
	last := testEntry(t, 70, denseBody(30_000))
	last.Event.ID = first.Event.ID
	last.Encoded = schemas.AppendEvent(nil, &last.Event)
	entries := append([]consumer.Entry{first, first}, testEntries(t, 60)...)
	if err := stubIndex(t, s).Apply(t.Context(), "s", append(entries, last), consumer.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 61 || seen[first.Event.ID] != 1 {
		t.Errorf("%d ids were written, the one that is there thrice %d times", len(seen), seen[first.Event.ID])
	}
	var objects []string
	for _, op := range s.ops() {
		if strings.HasPrefix(op, "PUT ") {
			objects = append(objects, op)
		}
	}
	if want := "PUT /bucket/" + itemObject(&last.Event); !slices.Equal(objects, []string{want}) {
		t.Errorf("objects %q, want %q", objects, want)
	}
}

// What no item can hold is refused for good, and nothing of it is stored.
func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, always(ok))
	ix := stubIndex(t, s)
	for name, change := range map[string]func(*schemas.Event){
		"id too long": func(e *schemas.Event) { e.ID = strings.Repeat("i", maxEventID+1) },
		"attributes too large": func(e *schemas.Event) {
			e.Extensions = map[string]string{"x": string(denseBody(600_000)), "y": string(denseBody(300_000))}
		},
	} {
		e := testEntry(t, 0, denseBody(20_000))
		change(&e.Event)
		e.Encoded = schemas.AppendEvent(nil, &e.Event)
		if err := ix.Apply(t.Context(), "s", []consumer.Entry{e}, consumer.Checkpoint{Position: e.Position}); !errors.Is(err, consumer.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	if got := s.ops(); len(got) > 0 {
		t.Errorf("requests %q, want none", got)
	}
}
