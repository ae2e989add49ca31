package iceberg

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// company is how long it counts that another process has committed.
	company = time.Minute
	// mostTurns is about how many others a commit leaves time for, and longestTurns the limit of that.
	mostTurns    = 32
	longestTurns = 15 * time.Second
)

// turns have processes that append to one table take turns. Each waits a random time before it tries, up to a bound that
// doubles when another's commit comes in between and shrinks slowly when none does, so that those who have just won wait
// about as long as those who lost; and between two of its commits it leaves as much time as one takes, or a quick one would
// let nobody in. Alone on the table nobody waits. It belongs to the holder of the commit slot.
type turns struct {
	upTo time.Duration
	rest time.Time
}

// await waits for the turn. others says that other processes commit too.
func (t *turns) await(ctx context.Context, others bool) error {
	if !others {
		*t = turns{}
		return ctx.Err()
	}
	return sleep(ctx, max(rand.N(t.upTo+1), time.Until(t.rest)))
}

// lost waits for another turn after a try that took so long: on a slow catalog a wait shorter than a commit takes would only
// run into the same peer again.
func (t *turns) lost(ctx context.Context, took time.Duration) error {
	t.upTo = min(max(2*t.upTo, took), mostTurns*took, longestTurns)
	return sleep(ctx, rand.N(t.upTo+1))
}

// won takes note of a commit that took so long.
func (t *turns) won(took time.Duration) {
	t.upTo -= t.upTo / 20
	t.rest = time.Now().Add(took)
}
