package consumer

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// never is the Busy of a fleet that nobody waits beside.
func never() bool { return false }

func always() bool { return true }

// paced has n workers do two pages of 10 ms each at once and returns how long that took.
func paced(t *testing.T, p *pacer, n int, lag time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			for range 2 {
				err := p.work(t.Context(), lag, func() error { elapse(10 * time.Millisecond); return nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	return time.Since(start)
}

func TestPacerGivesWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		busy func() bool
		lag  time.Duration
		want time.Duration // for 3 workers with 2 pages of 10 ms each
	}{
		"nobody waits":       {never, 0, 20 * time.Millisecond},
		"rush, up to date":   {always, 0, 6 * (10 + 40) * time.Millisecond},
		"rush, half behind":  {always, pacedLag / 2, 6 * (10 + 20) * time.Millisecond},
		"rush, far behind":   {always, pacedLag, 6 * 10 * time.Millisecond},
		"clock went back":    {always, -time.Hour, 6 * (10 + 40) * time.Millisecond},
		"as far as anything": {always, 100 * time.Hour, 6 * 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				if took := paced(t, newPacer(c.busy), 3, c.lag); took != c.want {
					t.Errorf("took %v, want %v", took, c.want)
				}
			})
		})
	}
}

// A worker that waits for its turn, or rests, ends with its context.
func TestPacerEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(always)
		ctx, cancel := context.WithCancel(t.Context())
		inside := make(chan struct{})
		done := make(chan error, 2)
		go func() {
			done <- p.work(ctx, 0, func() error { close(inside); elapse(time.Second); return nil })
		}()
		<-inside
		go func() { done <- p.work(ctx, 0, func() error { return nil }) }()
		synctest.Wait()
		start := time.Now()
		cancel()
		if err := <-done; err == nil {
			t.Error("the one that waited for its turn worked")
		}
		if err := <-done; err != nil || time.Since(start) != time.Second {
			t.Errorf("the one that worked ended after %v: %v", time.Since(start), err)
		}
	})
}
