package client

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Hour).Format(http.TimeFormat): 0,
	} {
		if got, ok := parseRetryAfter(value, now); !ok || got != want {
			t.Errorf("%q: %v %v", value, got, ok)
		}
	}
	for _, value := range []string{"", "-1", "soon", "99999999999999999999", "1.5"} {
		if got, ok := parseRetryAfter(value, now); ok {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func TestRetryPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var pauses []time.Duration
		r := Retry{For: time.Hour, Base: 100 * time.Millisecond, Max: time.Second, Waiting: func(_ error, d time.Duration) { pauses = append(pauses, d) }}
		tries, err := r.do(t.Context(), func() error {
			if len(pauses) == 6 {
				return nil
			}
			busy := &Problem{Status: 503}
			if len(pauses) == 5 {
				busy.RetryAfter = 30
			}
			return busy
		})
		if err != nil || tries != 7 {
			t.Fatal(tries, err)
		}
		for i, high := range []time.Duration{100, 200, 400, 800, 1000} {
			if high *= time.Millisecond; pauses[i] < high/2 || pauses[i] > high {
				t.Errorf("pause %d is %v", i, pauses[i])
			}
		}
		if pauses[5] < 30*time.Second || pauses[5] > 31*time.Second {
			t.Errorf("after Retry-After: 30 the pause is %v", pauses[5])
		}
	})
}

func TestRetryEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		busy := &Problem{Status: 503}
		if _, err := (Retry{For: 10 * time.Second}).do(t.Context(), func() error { return busy }); !errors.Is(err, busy) {
			t.Error(err)
		}
		if took := time.Since(start); took > 10*time.Second || took < 4*time.Second {
			t.Errorf("gave up after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if _, err := (Retry{For: time.Hour, Base: time.Minute, Max: time.Minute}).do(ctx, func() error { return busy }); !errors.Is(err, busy) {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("stopped after %v", took)
		}
		if tries, err := (Retry{For: time.Hour}).do(t.Context(), func() error { return &Problem{Status: 422} }); tries != 1 || err == nil {
			t.Errorf("%d tries of what is refused for good: %v", tries, err)
		}
	})
}

func TestProblemText(t *testing.T) {
	t.Parallel()
	offset := int64(7)
	p := &Problem{Status: 400, Title: "Bad\x1b[31m", Detail: "what", Offset: &offset}
	p.clean()
	if got := p.Error(); got != "400 Bad [31m: what (at byte 7)" {
		t.Errorf("%q", got)
	}
	if got := Explain(&Problem{Status: 401, Title: "An API key is needed"}); !strings.Contains(got, "PENSTOCK_KEY") {
		t.Errorf("%q", got)
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h histogram
	if h.quantile(.5) != 0 {
		t.Error("nothing was added")
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{.5: 500 * time.Millisecond, .99: 990 * time.Millisecond, 1: time.Second} {
		if got := h.quantile(q); got < want || float64(got) > 1.03*float64(want) {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}
