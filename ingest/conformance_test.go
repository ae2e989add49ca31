package ingest_test

import (
	"sync/atomic"
	"testing"
	"time"

	"penstock/ingest"
	"penstock/ingest/ingesttest"
)

// The fakes that the tests of this package stand on keep the ports' contracts, by the suites that hold the adapters to them.
// The stream is left out: it takes nothing but what a lane sends, one hash key and whole aggregates in a call, which is more
// than the port asks for. So is the ledger, which only it settles.
const fakes = "this package's fakes"

func TestFakeClaimsConform(t *testing.T) {
	t.Parallel()
	ingesttest.ClaimsSuite(t, fakes, func(*testing.T) ingesttest.ClaimsEnv {
		var nanos atomic.Int64
		nanos.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
		now := func() time.Time { return time.Unix(0, nanos.Load()) }
		return ingesttest.ClaimsEnv{
			Claims: ingest.NewFakeClaims(now), Now: now, Advance: func(d time.Duration) { nanos.Add(int64(d)) },
		}
	})
}

func TestFakeBodiesConform(t *testing.T) {
	t.Parallel()
	ingesttest.BodiesSuite(t, fakes, func(*testing.T) ingesttest.BodiesEnv {
		b := &ingest.FakeBodies{}
		return ingesttest.BodiesEnv{Bodies: b, Read: func(_ *testing.T, ref string) []byte { return b.Get(ref) }}
	})
}
