package main

import (
	"context"
	"slices"
	"time"
)

// sample is what one round of one side gave.
type sample struct {
	perSecond float64
	latencies []time.Duration // ascending; empty where single latencies mean nothing
}

// quantile is the smallest latency that at least the share q of all did not exceed (nearest rank); 0 of none.
func (s *sample) quantile(q float64) time.Duration {
	if len(s.latencies) == 0 {
		return 0
	}
	rank := int(q*float64(len(s.latencies)) + 0.999999)
	return s.latencies[min(max(rank, 1), len(s.latencies))-1]
}

// median of values, which it sorts. The mean of the middle two of an even number.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	if n == 0 {
		return 0
	}
	return (values[(n-1)/2] + values[n/2]) / 2
}

// side is the comparator or the subject of a row.
type side interface {
	round(ctx context.Context, length time.Duration) (sample, error)
}

// sideFunc is a side that is a function.
type sideFunc func(ctx context.Context, length time.Duration) (sample, error)

func (f sideFunc) round(ctx context.Context, length time.Duration) (sample, error) {
	return f(ctx, length)
}

// pair is a round of the comparator and the round of the subject beside it.
type pair struct{ comparator, subject sample }

// alternate lets both sides run in turn. Which one begins alternates as well. Before the rounds that count, each side has
// one of a quarter of their length to warm up.
func (b *bench) alternate(ctx context.Context, comparator, subject side) ([]pair, error) {
	for _, s := range []side{comparator, subject} {
		if _, err := s.round(ctx, b.length/4); err != nil {
			return nil, err
		}
	}
	pairs := make([]pair, b.rounds)
	for i := range pairs {
		p := &pairs[i]
		order := []struct {
			side
			into *sample
		}{{comparator, &p.comparator}, {subject, &p.subject}}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, o := range order {
			var err error
			if *o.into, err = o.round(ctx, b.length); err != nil {
				return nil, err
			}
		}
	}
	return pairs, nil
}

// repeat does a step again and again for the given time and takes each step's time.
func repeat(step func() error) sideFunc {
	return func(ctx context.Context, length time.Duration) (sample, error) {
		var s sample
		start := time.Now()
		for time.Since(start) < length && ctx.Err() == nil {
			began := time.Now()
			if err := step(); err != nil {
				return s, err
			}
			s.latencies = append(s.latencies, time.Since(began))
		}
		s.perSecond = float64(len(s.latencies)) / time.Since(start).Seconds()
		slices.Sort(s.latencies)
		return s, ctx.Err()
	}
}
