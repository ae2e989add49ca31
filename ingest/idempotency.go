package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// finishTimeout bounds a Finish after its request is gone.
const finishTimeout = 5 * time.Second

// keys are the idempotency keys that this process is busy with. A key is in here from before its claim until everything
// that its request sent has landed or is dropped, so that in this process no two attempts ever overlap.
type keys struct {
	mu   sync.Mutex
	busy map[string]struct{}
}

func newKeys() *keys { return &keys{busy: make(map[string]struct{})} }

func (k *keys) acquire(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, busy := k.busy[key]; busy {
		return false
	}
	k.busy[key] = struct{}{}
	return true
}

func (k *keys) release(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.busy, key)
}

// runOnce runs a request that bears an idempotency key: whatever was tried with the key before, each of its events comes
// on the stream once, with the id and the received time of the first attempt.
func (r *request) runOnce(ctx context.Context, key string) (replayed bool, err error) {
	in, key := r.in, strings.Clone(key) // it may outlive the request
	if !in.keys.acquire(key) {
		return false, ErrKeyInFlight
	}
	inFlight := false
	defer func() {
		if !inFlight {
			in.keys.release(key)
		}
	}()
	claim, err := r.claim(ctx, key)
	if err != nil {
		return false, err
	}
	missing := r.open()
	if missing == 0 {
		if !claim.Done {
			in.finish(ctx, key)
		}
		return true, nil
	}
	r.store(ctx)
	complete := len(r.group.items) == missing
	select {
	case <-r.group.done:
		if complete && r.group.durable() {
			in.finish(ctx, key)
		}
	default:
		inFlight = true
		in.finishLater(key, r.group, complete)
	}
	return false, nil
}

// claim claims the key, or learns from the claim that is there which of the open items are durable already, and acks
// those. Either way the request has the claim's id and time after it.
func (r *request) claim(ctx context.Context, key string) (Claim, error) {
	in := r.in
	own := Claim{ID: r.id, ReceivedTime: r.received, Fingerprint: r.fingerprint(ctx)}
	if ctx.Err() != nil {
		return Claim{}, tooLate(ctx)
	}
	type answer struct {
		claim Claim
		first bool
	}
	a, err := aside(ctx, in, func(ctx context.Context) (answer, error) {
		c, first, err := in.claims.Claim(ctx, key, own)
		return answer{c, first}, err
	})
	switch {
	case err != nil:
		return Claim{}, fmt.Errorf("%w: claiming the idempotency key: %w", ErrNotDurable, err)
	case a.claim.Fingerprint != own.Fingerprint:
		return Claim{}, ErrKeyReused
	}
	r.id, r.received = a.claim.ID, a.claim.ReceivedTime
	if a.first {
		return a.claim, nil
	}
	return a.claim, r.recall(ctx, a.claim)
}

// recall acks those open items that an earlier attempt made durable. The ledger answers nothing but what is final, to one attempt
// at a time, and in this process no earlier attempt is still under way; so an item that it does not know may be put again.
func (r *request) recall(ctx context.Context, claim Claim) error {
	var ids []string
	var open []place
	for i := range r.items {
		if r.isOpen(i) {
			p := place{i, r.eventID(i)}
			ids, open = append(ids, p.id), append(open, p)
		}
	}
	durable := make([]bool, len(ids))
	if !claim.Done {
		var err error
		ledger := r.in.ledger
		durable, err = aside(ctx, r.in, func(ctx context.Context) ([]bool, error) { return ledger.Retry(ctx, claim.ID, ids) })
		switch {
		case errors.Is(err, ErrUnsettled):
			return fmt.Errorf("%w: %w", ErrKeyInFlight, err)
		case err != nil && ctx.Err() != nil: // the ledger was still waiting when the deadline came
			return fmt.Errorf("%w: %w: %w", ErrKeyInFlight, ErrUnsettled, err)
		case err != nil: // this request stored nothing, but the earlier one may have
			return fmt.Errorf("%w: asking what an earlier request stored: %w", ErrUnknownOutcome, err)
		case len(durable) != len(ids):
			return fmt.Errorf("%w: asking what an earlier request stored: %d answers for %d events", ErrUnknownOutcome,
				len(durable), len(ids))
		}
	}
	for k, p := range open {
		if claim.Done || durable[k] {
			r.ack(p)
		}
	}
	return nil
}

// finish marks the claim as done. An error is of no consequence: the next request with the key asks the ledger then.
func (in *Ingest) finish(ctx context.Context, key string) {
	_, _ = aside(ctx, in, func(ctx context.Context) (struct{}, error) { return struct{}{}, in.claims.Finish(ctx, key) })
}

// finishLater keeps the key busy until the group, whose request is gone, has its outcomes.
func (in *Ingest) finishLater(key string, g *group, complete bool) {
	in.gate.join(nil)
	go func() {
		defer in.gate.leave(nil)
		defer in.keys.release(key)
		<-g.done
		if complete && g.durable() {
			ctx, cancel := context.WithTimeout(in.ctx, finishTimeout)
			defer cancel()
			in.finish(ctx, key)
		}
	}()
}
