package local

import (
	"context"
	"fmt"
	"slices"

	"penstock/ingest"
)

// Ledger answers from the index, once that has caught up with the stream.
type Ledger struct{ store *Store }

var _ ingest.Ledger = (*Ledger)(nil)

// Stored implements ingest.Ledger. A write is visible or impossible once it is settled: all writers of the stream live in
// this process, and what an earlier process left unfinished is either in the log since the start or gone. After that
// the index has to reach the tips; if it does not before ctx ends the answer is ingest.ErrUnsettled. What the index has
// is stored whatever else is under way, so when that is all of them nothing is waited for.
func (l *Ledger) Stored(ctx context.Context, ids []string) ([]bool, error) {
	if found, err := l.has(ids); err == nil && !slices.Contains(found, false) {
		return found, nil
	}
	if err := l.store.stream.settleAll(ctx); err != nil {
		return nil, unsettled(err)
	}
	tips, err := l.store.stream.tipPositions(ctx)
	if err != nil {
		return nil, unsettled(err)
	}
	for shard, tip := range tips {
		if err := l.store.index.await(ctx, shard, tip); err != nil {
			return nil, unsettled(err)
		}
	}
	found, err := l.has(ids)
	if err != nil {
		return nil, unsettled(err)
	}
	return found, nil
}

// Retry implements ingest.Ledger. All who put events are in this process, which lets one try at a time be made with a key.
func (l *Ledger) Retry(ctx context.Context, _ string, ids []string) ([]bool, error) {
	return l.Stored(ctx, ids)
}

func unsettled(err error) error { return fmt.Errorf("%w: %w", ingest.ErrUnsettled, err) }

// has is the index's, to which an erased event has been stored too: its request must not make it again.
func (l *Ledger) has(ids []string) ([]bool, error) {
	found, err := l.store.index.has(ids)
	for i := range found {
		found[i] = found[i] || l.store.tombstones.Has(ids[i])
	}
	return found, err
}
