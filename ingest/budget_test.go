package ingest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// atOnce is a context that has ended: don't wait.
func atOnce() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestHoldIsCountedByReferences(t *testing.T) {
	t.Parallel()
	b := NewBudget(100)
	h := b.Hold()
	for _, n := range []int64{30, 70, 0} {
		if err := h.Grow(atOnce(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Hold().Grow(atOnce(), 1); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a byte over the limit: %v", err)
	}
	h.Retain()
	h.Release()
	if used := b.Used(); used != 100 {
		t.Errorf("used %d with one reference left", used)
	}
	h.Release()
	if used := b.Used(); used != 0 || b.Limit() != 100 {
		t.Errorf("used %d of %d after the last", used, b.Limit())
	}
}

func TestHoldLargerThanTheBudgetIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewBudget(100).Hold()
		if err := h.Grow(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
		if err := h.Grow(t.Context(), 41); !errors.Is(err, ErrOverloaded) { // would wait for ever
			t.Error(err)
		}
		if used := h.budget.Used(); used != 60 {
			t.Errorf("used %d", used)
		}
	})
}

func TestGrowWaitsInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100)
		first := b.Hold()
		if err := first.Grow(t.Context(), 80); err != nil {
			t.Fatal(err)
		}
		var order []string
		var waiters sync.WaitGroup
		wait := func(name string, n int64, d time.Duration, want error) {
			waiters.Go(func() {
				h := b.Hold()
				if err := h.Grow(within(t, d), n); !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", name, err, want)
				}
				order = append(order, name)
				h.Release()
			})
			synctest.Wait()
		}
		wait("large", 90, time.Hour, nil)
		wait("small", 20, time.Hour, nil) // would fit, but it is not its turn
		wait("impatient", 50, time.Second, ErrOverloaded)
		if err := b.Hold().Grow(atOnce(), 20); !errors.Is(err, ErrOverloaded) {
			t.Errorf("without waiting, past those who wait: %v", err)
		}
		if !b.take(20) {
			t.Error("what is admitted must not queue behind what is not")
		}
		b.give(20)
		elapse(2 * time.Second)
		first.Release()
		waiters.Wait()
		if len(order) != 3 || order[0] != "impatient" || b.Used() != 0 {
			t.Errorf("order %v, used %d", order, b.Used())
		}
	})
}

func TestWaiterThatGivesUpLetsTheNextPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100)
		first, large, small := b.Hold(), b.Hold(), b.Hold()
		if err := first.Grow(t.Context(), 50); err != nil {
			t.Fatal(err)
		}
		var waiters sync.WaitGroup
		waiters.Go(func() { _ = large.Grow(within(t, time.Second), 90) })
		synctest.Wait()
		if err := small.Grow(within(t, time.Minute), 50); err != nil {
			t.Error(err)
		}
		waiters.Wait()
		first.Release()
		small.Release()
		large.Release()
		if b.Used() != 0 {
			t.Errorf("used %d", b.Used())
		}
	})
}

func TestBudgetIsNeverExceeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		limit := int64(rapid.IntRange(1, 50).Draw(rt, "limit"))
		type use struct {
			Bytes            int64
			Start, Keep, For time.Duration
		}
		uses := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) use {
			d := func(l string) time.Duration { return time.Duration(rapid.IntRange(0, 20).Draw(t, l)) * time.Second }
			return use{int64(rapid.IntRange(0, 60).Draw(t, "bytes")), d("start"), d("keep"), d("for")}
		}), 1, 20).Draw(rt, "uses")
		var most, left int64
		synctest.Test(t, func(t *testing.T) {
			b := NewBudget(limit)
			var all sync.WaitGroup
			for _, u := range uses {
				all.Go(func() {
					elapse(u.Start)
					ctx, cancel := context.WithTimeout(t.Context(), u.For)
					defer cancel()
					h := b.Hold()
					defer h.Release()
					if h.Grow(ctx, u.Bytes) == nil {
						elapse(u.Keep)
					}
				})
			}
			ended := make(chan struct{})
			go func() {
				all.Wait()
				close(ended)
			}()
			for tick := time.NewTicker(500 * time.Millisecond); ; {
				select {
				case <-tick.C:
					most = max(most, b.Used())
					continue
				case <-ended:
				}
				tick.Stop()
				break
			}
			if left = b.Used(); b.waiting.next != &b.waiting {
				left++
			}
		})
		if most > limit || left != 0 {
			rt.Fatalf("used up to %d of %d, %d left at the end", most, limit, left)
		}
	})
}

func TestReleaseTooOftenPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	h := NewBudget(1).Hold()
	h.Release()
	h.Release()
}
