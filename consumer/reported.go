package consumer

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Reported tells what is in the lake's table by what the workers of its fleet told with their leases. It is for a process that
// does not open the table: a front end.
type Reported struct {
	source Source
	leases Leases
	settle time.Duration

	mu     sync.Mutex
	newest time.Time // that was found so far
}

// NewReported makes one. settle is LakeConfig.Settle.
func NewReported(source Source, leases Leases, settle time.Duration) *Reported {
	return &Reported{source: source, leases: leases, settle: settle}
}

// CompleteThrough is a time before which everything that was received is in the lake's table. It may be older than it could be, as
// reports are, and never too new; zero while nothing is known. It reads the leases and lists the shards once.
//
// The shards are listed after the leases were read: a shard that is not in the list yet began after all that the leases tell of.
// One that is in the list and of which nobody has told, since it is new or changes hands, makes the time unknown. What was found
// before is told then: it was true, and stays so.
func (r *Reported) CompleteThrough(ctx context.Context) (time.Time, error) {
	leases, err := r.leases.List(ctx, LakeSinkName)
	if err != nil {
		return time.Time{}, fmt.Errorf("list leases: %w", err)
	}
	told := make(map[string]Checkpoint, len(leases))
	for _, l := range leases {
		told[l.Shard] = l.Report.At
	}
	shards, err := r.source.Shards(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("list shards: %w", err)
	}
	through, _ := oldestAsOf(shards, told) // zero where nobody has told of one
	r.mu.Lock()
	defer r.mu.Unlock()
	if !through.IsZero() {
		through = through.Add(-r.settle) // what had arrived at its shard was received before
		if through.After(r.newest) {
			r.newest = through
		}
	}
	return r.newest, nil
}
