package consumer

import (
	"context"
	"sync"
	"time"
)

// RecentIndex is Watermarks.Index, computed at most once in a while, for all who ask: to do it a list of shards is asked for and
// each one's checkpoint. What it tells is never too new. It is a claim about the past, "what had arrived before is in the
// index", and once that was true it stays so, whatever is split, merged or written afterwards; it may only be too old, by the
// while.
type RecentIndex struct {
	index func(ctx context.Context) (time.Time, error)
	life  time.Duration
	turn  chan struct{} // one computes at a time; the others find what it has found

	mu      sync.Mutex
	through time.Time
	at      time.Time // when it was found
}

// NewRecentIndex makes one of a function that tells the index's watermark, such as Watermarks.Index.
func NewRecentIndex(index func(ctx context.Context) (time.Time, error), life time.Duration) *RecentIndex {
	return &RecentIndex{index: index, life: life, turn: make(chan struct{}, 1)}
}

// Index is a watermark that was found at most life ago. An error is nobody's but the caller's.
func (r *RecentIndex) Index(ctx context.Context) (time.Time, error) {
	if through, ok := r.recent(); ok {
		return through, nil
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
	if through, ok := r.recent(); ok {
		return through, nil
	}
	through, err := r.index(ctx)
	if err != nil {
		return time.Time{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.through, r.at = through, time.Now()
	return through, nil
}

func (r *RecentIndex) recent() (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.through, !r.at.IsZero() && time.Since(r.at) < r.life
}
