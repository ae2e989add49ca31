package consumer

import (
	"context"
	"fmt"
	"time"
)

// Tips tells what was written to the stream last.
type Tips interface {
	// Tips returns, for every shard, the sequence number of its newest record that was acked, empty when it has none.
	Tips(ctx context.Context) (map[string]string, error)
}

// Freshness makes what was acked visible to SQL before a query runs.
type Freshness struct {
	tips    Tips
	lake    *LakeSink
	timeout time.Duration
	arrived func() time.Time
}

// NewFreshness makes a Freshness that waits at most timeout for a flush. arrived tells before which time everything that
// was received has come to the stream.
func NewFreshness(tips Tips, lake *LakeSink, timeout time.Duration, arrived func() time.Time) *Freshness {
	return &Freshness{tips: tips, lake: lake, timeout: timeout, arrived: arrived}
}

// Fresh has everything acked before the call flushed into the lake, unless it is there already, and returns the time
// before which everything that was received is in the table: that of the call, or an earlier one when something was on
// its way to the stream, or, perhaps zero, when the flush did not come in time. Callers at the same time share flushes; LakeConfig.QueryInterval bounds their number.
func (f *Freshness) Fresh(ctx context.Context) (completeThrough time.Time, err error) {
	asked := f.arrived() // before the tips, which hold only what has come
	tips, err := f.tips.Tips(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("load the stream's tips: %w", err)
	}
	if f.lake.Holds(tips) {
		return asked, nil
	}
	wait, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if err := f.lake.FlushThrough(wait, tips); err == nil {
		return asked, nil
	}
	if ctx.Err() != nil {
		return time.Time{}, ctx.Err()
	}
	// Late, which only the deadline can have caused: the query runs on what is there, and says how old that is.
	return f.lake.CompleteThrough(tips, asked), nil
}
