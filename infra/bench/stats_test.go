package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock/schemas"
)

func TestQuantileIsTheNearestRank(t *testing.T) {
	t.Parallel()
	var s sample
	if s.quantile(0.99) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range 1000 {
		s.latencies = append(s.latencies, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 500, 0.99: 990, 0.999: 999, 1: 1000} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	if got := median([]float64{9, 1, 5}); got != 5 {
		t.Errorf("median of three is %v", got)
	}
	if got := median([]float64{9, 1, 5, 6}); got != 5.5 {
		t.Errorf("median of four is %v", got)
	}
}

func TestSidesAlternateAndTheMedianOfPairsCounts(t *testing.T) {
	t.Parallel()
	var order []string
	comparator := sideFunc(func(context.Context, time.Duration) (sample, error) {
		order = append(order, "c")
		return sample{perSecond: float64(10 * len(order))}, nil
	})
	subject := sideFunc(func(context.Context, time.Duration) (sample, error) {
		order = append(order, "s")
		return sample{perSecond: 60}, nil
	})
	b := bench{rounds: 3, length: time.Second}
	pairs, err := b.alternate(t.Context(), comparator, subject)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, ""); got != "cs"+"cs"+"sc"+"cs" {
		t.Errorf("order %s", got)
	}
	// The comparator's rounds gave 30, 60 and 70.
	m := summarize("x", "y", "z", atLeast(1), pairs, scaled(1))
	if m.Ratio != 1 || m.Highest != 2 || m.Comparator != 60 || !*m.Met {
		t.Errorf("summary %+v", m)
	}
	if m := summarize("x", "y", "z", atMost(0.99), pairs, scaled(1)); *m.Met {
		t.Errorf("a ratio of 1 met a goal of at most 0.99: %+v", m)
	}
	broken := errors.New("broken")
	if _, err := b.alternate(t.Context(), comparator, sideFunc(func(context.Context, time.Duration) (sample, error) {
		return sample{}, broken
	})); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestDocumentsHaveTheirSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{512, kilobyte - 1, kilobyte, 20_000, 1_000_000} {
		body := document(7, size)
		if len(body) != size || !json.Valid(body) || schemas.ValidateJSON(body) != nil {
			t.Errorf("document of %d bytes has %d, or is not JSON", size, len(body))
		}
		if !slices.Equal(body, document(7, size)) {
			t.Errorf("document of %d bytes differs from itself", size)
		}
	}
	if slices.Equal(document(1, kilobyte), document(2, kilobyte)) {
		t.Error("two seeds, one document")
	}
}
