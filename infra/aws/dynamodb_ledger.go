package aws

import (
	"context"
	"errors"
	"fmt"
	"time"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

// lateWrite is how long after its receipt an event's record may come to the stream: the request that carries it is signed
// within the 2 s in which it is acked or given up, and is honoured for 5 min
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html).
const lateWrite = 6 * time.Minute

// Ledger answers from the index, once that is past everything that the write of an event could still bring.
type Ledger struct {
	index consumer.Index
	// through is a time before which everything that arrived at the stream is in the index; zero: not known.
	through func(ctx context.Context) (time.Time, error)
}

var _ ingest.Ledger = (*Ledger)(nil)

// NewLedger makes one that asks the index, and how far that is by the stream's clock.
func NewLedger(index consumer.Index, through func(ctx context.Context) (time.Time, error)) *Ledger {
	return &Ledger{index, through}
}

// Stored implements ingest.Ledger. It does not wait: until six minutes after an event's receipt the answer to one that the index
// does not have is ingest.ErrUnsettled.
func (l *Ledger) Stored(ctx context.Context, ids []string) ([]bool, error) {
	through, err := l.through(ctx) // before the look: what comes later is not proven by it
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ingest.ErrUnsettled, err)
	}
	stored := make([]bool, len(ids))
	for i, id := range ids {
		_, err := l.index.Get(ctx, id)
		switch {
		case err == nil:
			stored[i] = true
		case !errors.Is(err, consumer.ErrNotFound):
			return nil, fmt.Errorf("%w: %w", ingest.ErrUnsettled, err)
		case !settledBy(id, through):
			return nil, fmt.Errorf("%w: the index is not six minutes past the event's receipt yet", ingest.ErrUnsettled)
		}
	}
	return stored, nil
}

// settledBy reports whether an index that is through to a time would have the event. What is no id of ours is no event.
func settledBy(id string, through time.Time) bool {
	made, err := schemas.IDTime(id)
	return err != nil || through.After(made.Add(time.Second+lateWrite))
}
