package aws

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"penstock/consumer/query"
	"penstock/consumer/query/querytest"
	"penstock/ingest"
)

func TestExecutionsConform(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint)
	querytest.ExecutionsSuite(t, dynamoBackend, func(t *testing.T) querytest.ExecutionsEnv {
		var nanos atomic.Int64
		nanos.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
		now := func() time.Time { return time.Unix(0, nanos.Load()) }
		executions := NewExecutions(c, newTables(t, c))
		executions.now = func(context.Context) (time.Time, error) { return now(), nil }
		return querytest.ExecutionsEnv{Executions: executions, Now: now, Advance: func(_ *testing.T, d time.Duration) { nanos.Add(int64(d)) }}
	})
}

var testExecution = query.Execution{
	ID: unknownExecution, SQL: "SELECT 1", State: query.Queued, Submitted: time.Unix(1_800_000_000, 0).UTC(),
}

func newTestExecutions(c Clients) *Executions {
	x := NewExecutions(c, testTables)
	x.now = func(context.Context) (time.Time, error) { return time.Unix(1_800_000_000, 0), nil }
	return x
}

// A crash anywhere leaves nothing that leads to nothing: what leads to an execution is written when all of that is.
func TestExecutionThenItsKey(t *testing.T) {
	t.Parallel()
	var wrote []string
	s := newDynamoStub(t, func(c call) reply {
		written := c.in["Item"]
		if c.op == "UpdateItem" {
			written = c.in["Key"]
		}
		wrote = append(wrote, attribute(written, "pk")+" "+attribute(written, "sk"))
		return ok
	})
	until := testExecution.Submitted.Add(time.Hour)
	long := testExecution
	long.SQL = strings.Repeat("é", listedBytes)
	if err := newTestExecutions(s.Clients).Add(t.Context(), long, "k", testToken, until); err != nil {
		t.Fatal(err)
	}
	place, key := listedKey(long.Submitted, long.ID), startedKey("k")
	want := []string{"query#" + long.ID + " sql", "query#" + long.ID + " query", "queries " + text(t, place, "sk"), text(t, key, "pk") + " query"}
	if !slices.Equal(wrote, want) {
		t.Errorf("wrote %q, want %q", wrote, want)
	}
	for n := range 3 { // the first, second, third write fails
		calls := 0
		s := newDynamoStub(t, func(call) reply {
			if calls++; calls == n+1 {
				return denied
			}
			return ok
		})
		if err := newTestExecutions(s.Clients).Add(t.Context(), testExecution, "k", testToken, until); err == nil || len(s.ops()) != n+1 {
			t.Errorf("write %d failed: %v after %q", n+1, err, s.ops())
		}
	}
}

func text(t *testing.T, it item, name string) string {
	t.Helper()
	s, err := it.text(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is there already, by whomever and however it was answered, is what Add and Finish want; and what nobody knows is an error.
func TestExecutionWithLostAnswer(t *testing.T) {
	t.Parallel()
	until := testExecution.Submitted.Add(time.Hour)
	stored := always(reply{status: 200, body: `{"Item":` + wireOf(t, testExecution) + `}`})
	s := newDynamoStub(t, script(t, always(lost), always(conflict), stored, always(conflict), always(lost), always(conflict)))
	if err := newTestExecutions(s.Clients).Add(t.Context(), testExecution, "k", testToken, until); err != nil {
		t.Error(err)
	}
	end := testExecution
	end.State = query.Succeeded
	s = newDynamoStub(t, script(t, always(lost), always(conflict), always(reply{status: 200, body: `{"Item":` + wireOf(t, end) + `}`})))
	if held, err := newTestExecutions(s.Clients).Finish(t.Context(), end); err != nil || held != end {
		t.Errorf("%+v, %v", held, err)
	}
	s = newDynamoStub(t, always(lost))
	if err := newTestExecutions(s.Clients).Add(t.Context(), testExecution, "", "", until); !errors.Is(err, ingest.ErrAmbiguous) {
		t.Errorf("Add without an answer: %v", err)
	}
	if _, err := newTestExecutions(s.Clients).Finish(t.Context(), end); !errors.Is(err, ingest.ErrAmbiguous) {
		t.Errorf("Finish without an answer: %v", err)
	}
	s = newDynamoStub(t, always(reply{status: 200, body: `{"Item":{"pk":{"S":"query#x"},"x":{"N":"1900000000"},"q":{"S":"SELECT 1"}}}`}))
	if e, err := newTestExecutions(s.Clients).Get(t.Context(), "x"); !errors.Is(err, errCorrupt) {
		t.Errorf("half an item: %+v, %v", e, err)
	}
}

// What DynamoDB leaves out of a batch is asked for again, and the order stays.
func TestExecutionsUnprocessed(t *testing.T) {
	t.Parallel()
	first, second := testExecution, testExecution
	second.ID = "00000000-0000-4000-8000-000000000001"
	batch := func(found, left string) func(call) reply {
		return always(reply{status: 200, body: `{"Responses":{"state":[` + found + `]},"UnprocessedKeys":{` + left + `}}`})
	}
	left := `"state":{"Keys":[{"pk":{"S":"query#` + first.ID + `"},"sk":{"S":"query"}}]}`
	pointers := `{"Items":[{"pk":{"S":"queries"},"sk":{"S":"1#` + first.ID + `"},"x":{"N":"1900000000"}},` +
		`{"pk":{"S":"queries"},"sk":{"S":"2#` + second.ID + `"},"x":{"N":"1900000000"}}]}`
	s := newDynamoStub(t, script(t, always(reply{status: 200, body: pointers}),
		batch("", left), batch(wireOf(t, second), left), batch(wireOf(t, first), "")))
	list, err := newTestExecutions(s.Clients).List(t.Context(), 5)
	if err != nil || !slices.Equal(list, []query.Execution{first, second}) {
		t.Errorf("%+v, %v", list, err)
	}
}

// wireOf is an execution's item as DynamoDB sends it.
func wireOf(t *testing.T, e query.Execution) string {
	t.Helper()
	it := encodeExecution(e)
	it[expiry] = numberValue(1_900_000_000)
	text, err := json.Marshal(jsonOf(it))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
