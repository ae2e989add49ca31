package aws

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/consumer/consumertest"
	"penstock/ingest/ingesttest"
)

const (
	dynamoEndpoint = "AWS_ENDPOINT_URL_DYNAMODB"
	s3Endpoint     = "AWS_ENDPOINT_URL_S3"
	dynamoBackend  = "the DynamoDB of " + dynamoEndpoint + " and the S3 of " + s3Endpoint
)

func newIndex(t *testing.T, c Clients) *Index {
	t.Helper()
	ix, err := NewIndex(c, newTables(t, c), newBucket(t, c))
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func TestIndexConforms(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint, s3Endpoint)
	consumertest.IndexSuite(t, dynamoBackend, func(t *testing.T) consumer.Index { return newIndex(t, c) })
}

func TestLeasesConform(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint)
	consumertest.LeasesSuite(t, dynamoBackend, func(t *testing.T) consumer.Leases { return NewLeases(c, newTables(t, c)) })
}

func TestDeadLettersConform(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint, s3Endpoint)
	consumertest.DeadLettersSuite(t, dynamoBackend, func(t *testing.T) consumer.DeadLetters {
		return NewDeadLetters(c, newTables(t, c), newBucket(t, c))
	})
}

func TestClaimsConform(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint)
	ingesttest.ClaimsSuite(t, dynamoBackend, func(t *testing.T) ingesttest.ClaimsEnv {
		var nanos atomic.Int64
		nanos.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
		now := func() time.Time { return time.Unix(0, nanos.Load()) }
		claims := NewClaims(c, newTables(t, c))
		claims.now = func(context.Context) (time.Time, error) { return now(), nil }
		return ingesttest.ClaimsEnv{Claims: claims, Now: now, Advance: func(d time.Duration) { nanos.Add(int64(d)) }}
	})
}

func TestBodiesConform(t *testing.T) {
	t.Parallel()
	c := peers(t, s3Endpoint)
	ingesttest.BodiesSuite(t, dynamoBackend, func(t *testing.T) ingesttest.BodiesEnv {
		b := NewBodies(c, newBucket(t, c))
		return ingesttest.BodiesEnv{Bodies: b, Read: func(t *testing.T, ref string) []byte {
			t.Helper()
			r, err := b.Open(t.Context(), ref)
			if err != nil {
				t.Errorf("Open(%s): %v", ref, err)
				return nil
			}
			defer func() { _ = r.Close() }()
			body, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			return body
		}}
	})
	consumertest.BodiesSuite(t, dynamoBackend, func(t *testing.T) consumertest.BodiesEnv {
		b := NewBodies(c, newBucket(t, c))
		return consumertest.BodiesEnv{Bodies: b, Put: func(t *testing.T, id string, received time.Time, body []byte) string {
			t.Helper()
			ref, err := b.Put(t.Context(), id, received, body)
			if err != nil {
				t.Fatal(err)
			}
			return ref
		}}
	})
}
