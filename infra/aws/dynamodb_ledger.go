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
// received its ID tells; that it is tried again later, with an idempotency key, is noted in the state table, under the second that
// its ID and its claim's share.
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

// Stored implements ingest.Ledger. It does not wait: until six minutes after an event's receipt, and after any try since then with a
// key of the same second, the answer to one that the index does not have is ingest.ErrUnsettled.
func (l *Ledger) Stored(ctx context.Context, ids []string) ([]bool, error) {
	stored, through, err := l.stored(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if stored[i] {
			continue
		}
		if err := l.triesSettled(ctx, id, through); err != nil {
			return nil, fmt.Errorf("%w: %w", ingest.ErrUnsettled, err)
		}
	}
	return stored, nil
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

// triesSettled fails unless the index was past all of every later try that might be one of this event. The event's own claim is
// not known: in a batch its ID is another.
func (l *Ledger) triesSettled(ctx context.Context, id string, through time.Time) error {
	return l.state.query(ctx, triesOf(id), "", func(try item) (bool, error) {
		return true, trySettled(try, through)
	})
}

// noteTry fails unless the index was past all of the claim's last try, and this is noted as the next one.
func (l *Ledger) noteTry(ctx context.Context, claim string, through time.Time) error {
	key := stateKey(triesOf(claim), claim)
	last, err := l.state.get(ctx, key)
	if err != nil {
		return err
	}
	condition, values := "attribute_not_exists(pk)", item(nil)
	if last != nil {
		if err := trySettled(last, through); err != nil {
			return err
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

// triesOf is the partition of the tries with IDs of one second. What is no id of ours has none.
func triesOf(id string) string {
	made, err := schemas.IDTime(id)
	if err != nil {
		made = time.Unix(0, 0)
	}
	return fmt.Sprintf("try#%d", made.Unix())
}

// trySettled fails unless an index that is through to a time has all of a try that was noted.
func trySettled(try item, through time.Time) error {
	at, err := try.number("a")
	if err != nil {
		return fmt.Errorf("last try of a claim: %w", err)
	}
	if !settled(timeOf(at), through) {
		return errors.New("the index is not six minutes past the event's last try yet")
	}
	return nil
}

// settledBy reports whether an index that is through to a time would have the event, had it been put on receipt alone. What is no id
// of ours is no event.
func settledBy(id string, through time.Time) bool {
	made, err := schemas.IDTime(id)
	return err != nil || settled(made, through)
}

// settled reports whether an index that is through to a time has all that was put at another, which is known to a second.
func settled(at, through time.Time) bool { return through.After(at.Add(time.Second + lateWrite)) }
