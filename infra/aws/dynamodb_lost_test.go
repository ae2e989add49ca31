package aws

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

var testLease = consumer.Lease{Sink: "index", Shard: "s", Owner: "a", Renewal: 7}

// newTestLeases goes by a clock that asks nobody.
func newTestLeases(c Clients) *Leases {
	leases := NewLeases(c, testTables)
	leases.now = func(context.Context) (time.Time, error) { return time.Unix(1_800_000_000, 0), nil }
	return leases
}

// A lease that was stored, and whose answer was lost, is had: whether the SDK's retry is told of a conflict with ourselves,
// or no try has an answer.
func TestLeaseWithLostAnswer(t *testing.T) {
	t.Parallel()
	var stored any
	for name, answers := range map[string][]func(call) reply{
		"the retry conflicts": {keep(&stored, lost), always(conflict), show(&stored)},
		"no answer at all":    {keep(&stored, lost), always(lost), always(lost), show(&stored)},
	} {
		s := newDynamoStub(t, script(t, answers...))
		if err := newTestLeases(s.Clients).Put(t.Context(), nil, testLease); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := len(s.ops()); got != len(answers) {
			t.Errorf("%s: %d requests, want %d", name, got, len(answers))
		}
	}
}

// A lease that is equal to ours, but was stored by another call, is not ours.
func TestLeaseOfAnotherCall(t *testing.T) {
	t.Parallel()
	var stored any
	s := newDynamoStub(t, script(t, keep(&stored, ok), always(conflict), show(&stored)))
	leases := newTestLeases(s.Clients)
	if err := leases.Put(t.Context(), nil, testLease); err != nil {
		t.Fatal(err)
	}
	if err := leases.Put(t.Context(), nil, testLease); !errors.Is(err, consumer.ErrLeaseLost) {
		t.Errorf("Put of what is there already: %v, want ErrLeaseLost", err)
	}
}

// A lease that an older program put is a lease, of which nobody knows when that was.
func TestLeaseOfAnOlderProgram(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, always(reply{status: 200, body: `{"Items":[{"pk":{"S":"lease#index"},"sk":{"S":"s"},"n":{"N":"7"},"o":{"S":"a"},"t":{"B":"AA=="}}]}`}))
	leases, err := newTestLeases(s.Clients).List(t.Context(), "index")
	if err != nil || len(leases) != 1 || !leases[0].Same(testLease) || leases[0].Age < 365*24*time.Hour {
		t.Errorf("%+v, %v", leases, err)
	}
}

// Without any answer, and with nothing there, the write may still come.
func TestLeaseUnknown(t *testing.T) {
	t.Parallel()
	var none any
	s := newDynamoStub(t, script(t, always(lost), always(lost), always(lost), show(&none)))
	err := newTestLeases(s.Clients).Put(t.Context(), nil, testLease)
	if !errors.Is(err, ingest.ErrAmbiguous) || errors.Is(err, consumer.ErrLeaseLost) {
		t.Errorf("Put: %v, want ErrAmbiguous", err)
	}
}

func newTestClaims(c Clients) *Claims {
	claims := NewClaims(c, testTables)
	claims.now = func(context.Context) (time.Time, error) { return time.Unix(1_800_000_000, 0), nil }
	return claims
}

var testClaim = ingest.Claim{ID: "2ABC", ReceivedTime: time.Unix(1_800_000_000, 0).UTC(), Fingerprint: [32]byte{1}}

func TestClaimWithLostAnswer(t *testing.T) {
	t.Parallel()
	var stored, none any
	s := newDynamoStub(t, script(t, keep(&stored, lost), always(conflict), show(&stored)))
	if got, fresh, err := newTestClaims(s.Clients).Claim(t.Context(), "k", testClaim); err != nil || !fresh || got != testClaim {
		t.Errorf("claim with a lost answer: %+v, %v, %v", got, fresh, err)
	}
	// An equal one, but of another call, was first.
	s = newDynamoStub(t, script(t, always(conflict), show(&stored)))
	if got, fresh, err := newTestClaims(s.Clients).Claim(t.Context(), "k", testClaim); err != nil || fresh || got != testClaim {
		t.Errorf("claim of another: %+v, %v, %v", got, fresh, err)
	}
	s = newDynamoStub(t, script(t, always(lost), always(lost), always(lost), show(&none)))
	if _, fresh, err := newTestClaims(s.Clients).Claim(t.Context(), "k", testClaim); !errors.Is(err, ingest.ErrAmbiguous) || fresh {
		t.Errorf("claim without an answer: %v, %v, want ErrAmbiguous", fresh, err)
	}
	// The one that was in the way was deleted by TTL before it could be read.
	s = newDynamoStub(t, script(t, always(conflict), show(&none), always(ok)))
	if _, fresh, err := newTestClaims(s.Clients).Claim(t.Context(), "k", testClaim); !fresh || err != nil {
		t.Errorf("claim after one that expired: %v, %v", fresh, err)
	}
}

// A claim's life is measured by DynamoDB's clock, here five years ahead, and the host's is asked for nothing.
func TestClaimsGoByDynamoDBsClock(t *testing.T) {
	t.Parallel()
	there := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	s := newDynamoStub(t, always(reply{status: 200, body: `{}`, head: map[string]string{"Date": there.Format("Mon, 02 Jan 2006 15:04:05 GMT")}}))
	claims := NewClaims(s.Clients, testTables)
	for range 2 {
		if _, _, err := claims.Claim(t.Context(), "k", testClaim); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.ops(); !slices.Equal(got, []string{"GetItem", "PutItem", "PutItem"}) {
		t.Fatalf("requests %q, want one for the time", got)
	}
	for _, c := range s.calls[1:] {
		expires, _ := strconv.ParseInt(attribute(c.in["Item"], "x"), 10, 64)
		now, _ := strconv.ParseInt(attribute(c.in["ExpressionAttributeValues"], ":now"), 10, 64)
		if d := time.Unix(now, 0).Sub(there); d < 0 || d > 30*time.Second {
			t.Errorf("the claim went by %s, want %s", time.Unix(now, 0).UTC(), there)
		}
		if d := time.Unix(expires, 0).Sub(there.Add(claimLife)); d < 0 || d > 30*time.Second {
			t.Errorf("the claim expires %s, want a day after %s", time.Unix(expires, 0).UTC(), there)
		}
	}
}

// A checkpoint whose answer was lost is not written again, and one that a peer moved on stays.
func TestCheckpointWithLostAnswer(t *testing.T) {
	t.Parallel()
	var stored any
	s := newDynamoStub(t, script(t, keep(&stored, lost), always(conflict), show(&stored)))
	ix := stubIndex(t, s)
	to := consumer.Checkpoint{Position: schemas.Position{Sequence: "5", Sub: 2}, AsOf: time.Unix(1_800_000_000, 7).UTC()}
	if err := ix.Apply(t.Context(), "s", nil, to); err != nil {
		t.Error(err)
	}
	// The peer moves it between our reading and our writing: read again, and nothing is left to do.
	peer, err := encodeCheckpoint("s", consumer.Checkpoint{Position: schemas.Position{Sequence: "4"}, AsOf: to.AsOf.Add(1)})
	if err != nil {
		t.Fatal(err)
	}
	behind := jsonOf(peer)
	later, err := encodeCheckpoint("s", consumer.Checkpoint{Position: schemas.Position{Sequence: "6"}, AsOf: to.AsOf.Add(1)})
	if err != nil {
		t.Fatal(err)
	}
	ahead := jsonOf(later)
	s = newDynamoStub(t, script(t, always(conflict), show(&behind), keep(&stored, conflict), show(&ahead)))
	if err := stubIndex(t, s).Apply(t.Context(), "s", nil, to); err != nil {
		t.Error(err)
	}
	condition, values := s.calls[2].in["ConditionExpression"], s.calls[2].in["ExpressionAttributeValues"]
	if condition != "p = :p AND a = :a AND e = :e" || attribute(values, ":p") != attribute(behind, "p") ||
		attribute(values, ":a") != attribute(behind, "a") || attribute(values, ":e") != "0" {
		t.Errorf("merged if %v with %v, want if nobody has changed what was read", condition, values)
	}
	if got, want := attribute(stored, "p"), "015-0000000002"; got != want || attribute(stored, "a") != attribute(behind, "a") {
		t.Errorf("merged into %v, want place %s with the peer's AsOf", stored, want)
	}
}

func stubIndex(t *testing.T, s *dynamoStub) *Index {
	t.Helper()
	ix, err := NewIndex(s.Clients, testTables, "bucket")
	if err != nil {
		t.Fatal(err)
	}
	return ix
}
