package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"penstock/ingest"
)

// claimLife is how long a claim is remembered after it was stored.
const claimLife = 24 * time.Hour

// Claims remember requests by Idempotency-Key for 24 hours by DynamoDB's clock, at both ends, so that no host's clock
// matters. The key itself is not stored, only its SHA-256. TTL deletes an expired claim late, in a few days
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html), so the condition of a claim counts one that
// has expired as absent.
type Claims struct {
	state table
	now   func(context.Context) (time.Time, error)
}

var _ ingest.Claims = (*Claims)(nil)

// NewClaims keeps them in the state table.
func NewClaims(c Clients, t Tables) *Claims {
	state := table{c.DynamoDB, t.State}
	return &Claims{state: state, now: (&clock{table: state}).now}
}

func claimKey(key string) item {
	sum := sha256.Sum256([]byte(key))
	return stateKey("claim#"+hex.EncodeToString(sum[:]), "claim")
}

// Claim implements ingest.Claims. After an error the claim may have been stored, or may be later.
func (c *Claims) Claim(ctx context.Context, key string, claim ingest.Claim) (ingest.Claim, bool, error) {
	stored, fresh, err := c.claim(ctx, key, claim)
	if err != nil {
		return ingest.Claim{}, false, fmt.Errorf("claiming an idempotency key: %w", err)
	}
	return stored, fresh, nil
}

func (c *Claims) claim(ctx context.Context, key string, claim ingest.Claim) (ingest.Claim, bool, error) {
	for {
		now, err := c.now(ctx)
		if err != nil {
			return ingest.Claim{}, false, err
		}
		it := claimKey(key)
		it["i"], it["r"], it["f"] = stringValue(claim.ID), timeValue(claim.ReceivedTime), bytesValue(claim.Fingerprint[:])
		if claim.Done {
			it["d"] = numberValue(1)
		}
		it[expiry] = numberValue(now.Add(claimLife + time.Second - 1).Unix()) // rounded up
		found, won, err := c.state.putOwn(ctx, it, "attribute_not_exists(pk) OR x <= :now", item{":now": numberValue(now.Unix())})
		switch {
		case err != nil:
			return ingest.Claim{}, false, err
		case won:
			return claim, true, nil
		case found != nil:
			stored, err := decodeClaim(found)
			return stored, false, err
		}
		// It expired, and was deleted before it could be read.
	}
}

// Finish implements ingest.Claims.
func (c *Claims) Finish(ctx context.Context, key string) error {
	_, err := c.state.update(ctx, claimKey(key), "SET d = :d", "attribute_exists(pk)", item{":d": numberValue(1)})
	if err != nil && !errors.Is(err, errConflict) { // a claim that is gone needs no mark
		return fmt.Errorf("finishing a claim: %w", err)
	}
	return nil
}

func decodeClaim(it item) (ingest.Claim, error) {
	id, errID := it.text("i")
	received, errReceived := it.number("r")
	fingerprint, errFingerprint := it.blob("f")
	if err := errors.Join(errID, errReceived, errFingerprint); err != nil {
		return ingest.Claim{}, fmt.Errorf("claim: %w", err)
	}
	claim := ingest.Claim{ID: id, ReceivedTime: timeOf(received), Done: it["d"] != nil}
	if copy(claim.Fingerprint[:], fingerprint) != len(claim.Fingerprint) {
		return ingest.Claim{}, fmt.Errorf("claim: attribute f: %w", errCorrupt)
	}
	return claim, nil
}
