package ingesttest

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/ingest"
	"penstock/schemas"
)

// ClaimsEnv is a fresh memory of requests.
type ClaimsEnv struct {
	Claims ingest.Claims
	// Now is the clock that expiry goes by, and Advance moves it.
	Now     func() time.Time
	Advance func(time.Duration)
}

// ClaimsSuite tests an ingest.Claims.
func ClaimsSuite(t *testing.T, backend string, open func(t *testing.T) ClaimsEnv) {
	t.Helper()
	t.Logf("claims on %s", backend)
	for name, test := range map[string]func(*testing.T, ClaimsEnv){
		"the first claim wins":    testFirstClaim,
		"done is remembered":      testFinish,
		"the same claim again":    testClaimTwice,
		"a claim lives a day":     testExpiry,
		"a clock that goes back":  testClockGoesBack,
		"keys are any text":       testKeys,
		"one of many gets a key":  testClaimRace,
		"finish without a claim":  testFinishUnknown,
		"expiry frees a done key": testExpiryAfterFinish,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func newClaim(env ClaimsEnv) ingest.Claim {
	now := env.Now().UTC().Truncate(time.Microsecond)
	return ingest.Claim{ID: schemas.NewID(now), ReceivedTime: now, Fingerprint: [32]byte{1, 2, 31: 3}}
}

func mustClaim(t *testing.T, env ClaimsEnv, key string, c ingest.Claim) (ingest.Claim, bool) {
	t.Helper()
	got, fresh, err := env.Claims.Claim(t.Context(), key, c)
	if err != nil {
		t.Fatalf("Claim(%q): %v", key, err)
	}
	return got, fresh
}

func sameClaim(a, b ingest.Claim) bool {
	return a.ID == b.ID && a.ReceivedTime.Equal(b.ReceivedTime) && a.Fingerprint == b.Fingerprint && a.Done == b.Done
}

func testFirstClaim(t *testing.T, env ClaimsEnv) {
	first, second := newClaim(env), newClaim(env)
	second.Fingerprint = [32]byte{9}
	if got, fresh := mustClaim(t, env, "k", first); !fresh || !sameClaim(got, first) {
		t.Errorf("first claim: %+v, %v", got, fresh)
	}
	if got, fresh := mustClaim(t, env, "k", second); fresh || !sameClaim(got, first) {
		t.Errorf("second claim: %+v, %v; want the first", got, fresh)
	}
	if got, fresh := mustClaim(t, env, "other", second); !fresh || !sameClaim(got, second) {
		t.Errorf("claim of another key: %+v, %v", got, fresh)
	}
}

// testClaimTwice: two claims that are alike are still two, of which one is the first.
func testClaimTwice(t *testing.T, env ClaimsEnv) {
	c := newClaim(env)
	mustClaim(t, env, "k", c)
	if got, fresh := mustClaim(t, env, "k", c); fresh || !sameClaim(got, c) {
		t.Errorf("the same claim again: %+v, %v; want it, and not as the first", got, fresh)
	}
}

func testFinish(t *testing.T, env ClaimsEnv) {
	c := newClaim(env)
	mustClaim(t, env, "k", c)
	for range 2 {
		if err := env.Claims.Finish(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
	c.Done = true
	if got, fresh := mustClaim(t, env, "k", newClaim(env)); fresh || !sameClaim(got, c) {
		t.Errorf("claim after Finish: %+v, %v; want %+v", got, fresh, c)
	}
}

func testFinishUnknown(t *testing.T, env ClaimsEnv) {
	if err := env.Claims.Finish(t.Context(), "nobody's"); err != nil {
		t.Errorf("Finish of an unknown key: %v", err)
	}
	if _, fresh := mustClaim(t, env, "nobody's", newClaim(env)); !fresh {
		t.Error("Finish made a claim")
	}
}

func testExpiry(t *testing.T, env ClaimsEnv) {
	first := newClaim(env)
	mustClaim(t, env, "k", first)
	env.Advance(24*time.Hour - time.Second)
	if _, fresh := mustClaim(t, env, "k", newClaim(env)); fresh {
		t.Error("claim was forgotten before its day was over")
	}
	env.Advance(2 * time.Second)
	second := newClaim(env)
	if got, fresh := mustClaim(t, env, "k", second); !fresh || !sameClaim(got, second) {
		t.Errorf("claim after a day: %+v, %v; want a new one", got, fresh)
	}
}

// testClockGoesBack: a request whose own time is long past by the clock of expiry is no older for that.
func testClockGoesBack(t *testing.T, env ClaimsEnv) {
	for range 2 {
		mustClaim(t, env, "before", newClaim(env))
	}
	env.Advance(-25 * time.Hour)
	first := newClaim(env)
	mustClaim(t, env, "k", first)
	if got, fresh := mustClaim(t, env, "k", newClaim(env)); fresh || !sameClaim(got, first) {
		t.Errorf("second claim after the clock went back: %+v, %v; want the first", got, fresh)
	}
}

func testExpiryAfterFinish(t *testing.T, env ClaimsEnv) {
	mustClaim(t, env, "k", newClaim(env))
	if err := env.Claims.Finish(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	env.Advance(25 * time.Hour)
	if got, fresh := mustClaim(t, env, "k", newClaim(env)); !fresh || got.Done {
		t.Errorf("claim after a day: %+v, %v; want a new one", got, fresh)
	}
}

func testKeys(t *testing.T, env ClaimsEnv) {
	keys := []string{"a", "a\x00", "a\x00b", "ä", "\xff", "a/b", strings.Repeat("k", 500), " "}
	for _, k := range keys {
		if _, fresh := mustClaim(t, env, k, newClaim(env)); !fresh {
			t.Errorf("%q is taken", k)
		}
	}
	for _, k := range keys {
		if _, fresh := mustClaim(t, env, k, newClaim(env)); fresh {
			t.Errorf("%q was forgotten", k)
		}
	}
}

func testClaimRace(t *testing.T, env ClaimsEnv) {
	var winners atomic.Int64
	ids := make([]string, 32)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			c, fresh, err := env.Claims.Claim(t.Context(), "k", newClaim(env))
			if err != nil {
				t.Error(err)
			}
			if fresh {
				winners.Add(1)
			}
			ids[i] = c.ID
		})
	}
	wg.Wait()
	if winners.Load() != 1 {
		t.Errorf("%d callers got the key", winners.Load())
	}
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("callers were told of different claims: %q", ids)
		}
	}
}
