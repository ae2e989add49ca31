package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

// lateWrite is how long after its receipt an event's record may come to the stream: the request that carries it is signed
// within the 2 s in which it is acked or given up, and is honoured for 5 min
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html).
const lateWrite = 6 * time.Minute

// Ledger answers from the index, once that is past everything that the write of an event could still bring. When an event was
// received its ID tells; that it is tried again later, with an idempotency key, is noted in the state table.
type Ledger struct {
	index consumer.Index
	// through is a time before which everything that arrived at the stream is in the index; zero: not known.
	through func(ctx context.Context) (time.Time, error)
	state   table
	now     func(context.Context) (time.Time, error)
}

var _ ingest.Ledger = (*Ledger)(nil)

// NewLedger makes one that asks the index, and how far that is by the stream's clock.
func NewLedger(c Clients, t Tables, index consumer.Index, through func(ctx context.Context) (time.Time, error)) *Ledger {
	state := table{c.DynamoDB, t.State}
	return &Ledger{index: index, through: through, state: state, now: (&clock{table: state}).now}
}

// Stored implements ingest.Ledger. It does not wait: until six minutes after an event's receipt the answer to one that the index
// does not have is ingest.ErrUnsettled. Of an event that is tried again it may say that it is not stored, while it is on its way.
func (l *Ledger) Stored(ctx context.Context, ids []string) ([]bool, error) {
	stored, _, err := l.stored(ctx, ids)
	return stored, err
}

// stored also tells through when the index was when it was looked at.
func (l *Ledger) stored(ctx context.Context, ids []string) ([]bool, time.Time, error) {
	through, err := l.through(ctx) // before the look: what comes later is not proven by it
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %w", ingest.ErrUnsettled, err)
	}
	stored := make([]bool, len(ids))
	for i, id := range ids {
		_, err := l.index.Get(ctx, id)
		switch {
		case err == nil:
			stored[i] = true
		case !errors.Is(err, consumer.ErrNotFound):
			return nil, time.Time{}, fmt.Errorf("%w: %w", ingest.ErrUnsettled, err)
		case !settledBy(id, through):
			return nil, time.Time{}, fmt.Errorf("%w: the index is not six minutes past the event's receipt yet", ingest.ErrUnsettled)
		}
	}
	return stored, through, nil
}

// Retry implements ingest.Ledger. What it notes is the claim's newest try, which is settled six minutes later like the first. A
// later try goes to any shard: its copy and one that comes late of the try before would be no doubles to the lake.
func (l *Ledger) Retry(ctx context.Context, claim string, ids []string) ([]bool, error) {
	stored, through, err := l.stored(ctx, ids)
	if err != nil || !slices.Contains(stored, false) {
		return stored, err
	}
	if err := l.noteTry(ctx, claim, through); err != nil {
		return nil, fmt.Errorf("%w: %w", ingest.ErrUnsettled, err)
	}
	return stored, nil
}

// noteTry fails unless the index was past all of the claim's last try, and this is noted as the next one.
func (l *Ledger) noteTry(ctx context.Context, claim string, through time.Time) error {
	key := stateKey("try#"+claim, "try")
	last, err := l.state.get(ctx, key)
	if err != nil {
		return err
	}
	condition, values := "attribute_not_exists(pk)", item(nil)
	if last != nil {
		at, err := last.number("a")
		if err != nil {
			return fmt.Errorf("last try of a claim: %w", err)
		}
		if !settled(timeOf(at), through) {
			return errors.New("the index is not six minutes past the event's last try yet")
		}
		condition, values = "t = :t", item{":t": last["t"]}
	}
	now, err := l.now(ctx)
	if err != nil {
		return err
	}
	key["a"], key[expiry] = timeValue(now), numberValue(now.Add(2*claimLife).Unix())
	_, won, err := l.state.putOwn(ctx, key, condition, values)
	if err == nil && !won {
		err = errors.New("another try has just begun")
	}
	return err
}

// settledBy reports whether an index that is through to a time would have the event, had it been put on receipt alone. What is no id
// of ours is no event.
func settledBy(id string, through time.Time) bool {
	made, err := schemas.IDTime(id)
	return err != nil || settled(made, through)
}

// settled reports whether an index that is through to a time has all that was put at another, which is known to a second.
func settled(at, through time.Time) bool { return through.After(at.Add(time.Second + lateWrite)) }
