package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"penstock/ingest"
)

// claimLife is how long a claim is remembered after it was stored.
const claimLife = 24 * time.Hour

// claimStripes is the number of claims that can be written at once.
const claimStripes = 64

// expireBatch is the number of claims that ExpireClaims removes in one batch.
const expireBatch = 1000

// Claims remember requests by Idempotency-Key for 24 hours, by the store's clock at both ends: a claim's ReceivedTime is
// the machine's, which may have gone back.
type Claims struct {
	store *Store
	seed  maphash.Seed
	// A stripe is held over reading and the synced write, so that nobody is told of a claim that is not durable.
	stripes [claimStripes]sync.Mutex
}

var _ ingest.Claims = (*Claims)(nil)

func newClaims(s *Store) *Claims { return &Claims{store: s, seed: maphash.MakeSeed()} }

func (c *Claims) stripe(key string) *sync.Mutex {
	return &c.stripes[maphash.String(c.seed, key)%claimStripes]
}

// storedClaim is a claim with the store's time at which it was stored.
type storedClaim struct {
	ingest.Claim
	since int64
}

type claimResult struct {
	claim ingest.Claim
	fresh bool
}

// Claim implements ingest.Claims. When ctx ends first the claim may or may not have been stored.
func (c *Claims) Claim(ctx context.Context, key string, claim ingest.Claim) (ingest.Claim, bool, error) {
	r, err := detach(ctx, c.store, func() (claimResult, error) {
		mu := c.stripe(key)
		mu.Lock()
		defer mu.Unlock()
		return c.claim(key, claim)
	})
	if err != nil {
		return ingest.Claim{}, false, fmt.Errorf("claiming an idempotency key: %w", err)
	}
	return r.claim, r.fresh, nil
}

func (c *Claims) claim(key string, claim ingest.Claim) (claimResult, error) {
	stored, err := c.load(key)
	if err != nil {
		return claimResult{}, err
	}
	if stored != nil && !c.expired(stored.since) {
		return claimResult{claim: stored.Claim}, nil
	}
	next := storedClaim{claim, c.store.clock.read()}
	batch := c.store.db.NewBatch()
	err = batch.Set(keyClaim(key), appendClaim(nil, next), nil)
	if stored != nil {
		err = errors.Join(err, batch.Delete(keyClaimAge(stored.since, key), nil))
	}
	err = errors.Join(err, batch.Set(keyClaimAge(next.since, key), nil, nil))
	if err != nil {
		return claimResult{}, errors.Join(err, batch.Close())
	}
	return claimResult{claim: claim, fresh: true}, c.store.commit(batch, pebble.Sync, false)
}

// Finish implements ingest.Claims. It is not synced: a lost mark is found out again by asking the Ledger. A claim that
// has expired meanwhile needs no mark.
func (c *Claims) Finish(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("finishing a claim: %w", err)
	}
	if err := c.store.enter(); err != nil {
		return err
	}
	defer c.store.leave()
	mu := c.stripe(key)
	mu.Lock()
	defer mu.Unlock()
	stored, err := c.load(key)
	if err != nil {
		return fmt.Errorf("finishing a claim: %w", err)
	}
	if stored == nil || stored.Done {
		return nil
	}
	stored.Done = true
	batch := c.store.db.NewBatch()
	if err := batch.Set(keyClaim(key), appendClaim(nil, *stored), nil); err != nil {
		return fmt.Errorf("finishing a claim: %w", errors.Join(err, batch.Close()))
	}
	if err := c.store.commit(batch, pebble.NoSync, false); err != nil {
		return fmt.Errorf("finishing a claim: %w", err)
	}
	return nil
}

// ExpireClaims removes the claims that are past their life and returns their number. Expired claims are ignored
// anyway; this gives their space back.
func (s *Store) ExpireClaims(ctx context.Context) (int, error) {
	for n := 0; ; {
		removed, err := s.claims.expireSome(ctx)
		n += removed
		if err != nil {
			return n, fmt.Errorf("expiring claims: %w", err)
		}
		if removed < expireBatch {
			return n, nil
		}
	}
}

type agedClaim struct {
	since int64
	key   string
}

func (c *Claims) expireSome(ctx context.Context) (int, error) {
	if err := c.store.enter(); err != nil {
		return 0, err
	}
	defer c.store.leave()
	var aged []agedClaim
	err := c.store.scan(ctx, []byte{kindClaimAge}, nil, func(key, _ []byte) (bool, error) {
		if len(key) < 1+8 {
			return false, fmt.Errorf("age of a claim: %w", errCorrupt)
		}
		a := agedClaim{since: int64(binary.BigEndian.Uint64(key[1:])), key: string(key[9:])}
		if !c.expired(a.since) {
			return false, nil
		}
		aged = append(aged, a)
		return len(aged) < expireBatch, nil
	})
	if err != nil {
		return 0, err
	}
	for _, a := range aged {
		if err := c.remove(a); err != nil {
			return 0, err
		}
	}
	return len(aged), nil
}

// remove deletes the age entry, and the claim if it is still the one of that age.
func (c *Claims) remove(a agedClaim) error {
	mu := c.stripe(a.key)
	mu.Lock()
	defer mu.Unlock()
	stored, err := c.load(a.key)
	if err != nil {
		return err
	}
	batch := c.store.db.NewBatch()
	err = batch.Delete(keyClaimAge(a.since, a.key), nil)
	if stored != nil && stored.since == a.since {
		err = errors.Join(err, batch.Delete(keyClaim(a.key), nil))
	}
	if err != nil {
		return errors.Join(err, batch.Close())
	}
	return c.store.commit(batch, pebble.NoSync, true) // lost, it is done again
}

func (c *Claims) expired(since int64) bool {
	return c.store.clock.read()-since >= int64(claimLife)
}

// load returns nil when there is no claim.
func (c *Claims) load(key string) (*storedClaim, error) {
	v, err := c.store.get(keyClaim(key))
	if err != nil || v == nil {
		return nil, err
	}
	f := fields{b: v}
	claim := storedClaim{Claim: ingest.Claim{ID: f.string(), ReceivedTime: timeOf(f.int()), Done: f.bool()}}
	if n := copy(claim.Fingerprint[:], f.bytes()); n != len(claim.Fingerprint) {
		f.fail()
	}
	claim.since = f.int()
	if err := f.done(); err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	return &claim, nil
}

func appendClaim(b []byte, c storedClaim) []byte {
	b = appendString(b, c.ID)
	b = appendInt(b, c.ReceivedTime.UnixNano())
	b = appendBool(b, c.Done)
	b = appendString(b, c.Fingerprint[:])
	return appendInt(b, c.since)
}
