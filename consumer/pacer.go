package consumer

import (
	"context"
	"time"
)

const (
	// pacedRest is for how much longer than it worked a worker rests that is up to date.
	pacedRest = 4
	// pacedLag is how far a sink may fall behind for the sake of acks: the farther, the less it rests, and from here on not
	// at all.
	pacedLag = 20 * time.Second
	// pacedPages are how many pages a rush makes of one, so that nobody works for long.
	pacedPages = 8
	// longestRest bounds one rest, in which the rush may end.
	longestRest = 50 * time.Millisecond
)

// pacer lets a fleet give way to clients that wait for an ack: in a rush the stream takes what comes, and the sinks catch
// up afterwards. While busy says so, one worker of the fleet works at a time, and rests after each page. It is for
// efficiency only.
type pacer struct {
	busy func() bool
	turn chan struct{} // holds a token while somebody works in a rush
}

func newPacer(busy func() bool) *pacer { return &pacer{busy: busy, turn: make(chan struct{}, 1)} }

// pageBytes is how much to read at once, of at most most.
func (p *pacer) pageBytes(most int) int {
	if p.busy() {
		return most / pacedPages
	}
	return most
}

// work does a page's work when it is its turn, and rests. lag is how far the page lies behind the tip.
func (p *pacer) work(ctx context.Context, lag time.Duration, do func() error) error {
	if !p.busy() {
		return do()
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	if left := pacedLag - max(lag, 0); left > 0 && p.busy() {
		rest := pacedRest * time.Since(began).Seconds() * left.Seconds() / pacedLag.Seconds()
		pause(ctx, min(time.Duration(rest*float64(time.Second)), longestRest))
	}
	return nil
}

// lagOf is the age of the newest record of a page that does not reach the tip.
func lagOf(page Page) time.Duration {
	if n := len(page.Records); n > 0 && page.AsOf.IsZero() {
		return time.Since(page.Records[n-1].Arrived)
	}
	return 0
}
