package local

import (
	"errors"
	"strings"
	"testing"
	"time"

	"penstock/consumer/query"
)

// TestExecutionsLongSQL: all of it for who asks for one, its beginning in a list.
func TestExecutionsLongSQL(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, query.ListedSQL, listedBytes/3 - 1, listedBytes / 3, listedBytes/3 + 1, 87_000} {
		x := memStore(t).Executions()
		sql := strings.Repeat("€", n)
		e := query.Execution{ID: "e", SQL: sql, Submitted: time.Now().UTC().Round(0)}
		if err := x.Add(t.Context(), e, "", "", e.Submitted.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got, err := x.Get(t.Context(), "e"); err != nil || got != e {
			t.Errorf("%d characters: %d bytes, %v", n, len(got.SQL), err)
		}
		list, err := x.List(t.Context(), 1)
		if err != nil || !strings.HasPrefix(list[0].SQL, strings.Repeat("€", min(n, query.ListedSQL))) || len(list[0].SQL) > listedBytes {
			t.Errorf("listed with %d characters: %d bytes, %v", n, len(list[0].SQL), err)
		}
	}
}

// TestExecutionsExpire: with what belongs to them, and keys with or without one.
func TestExecutionsExpire(t *testing.T) {
	t.Parallel()
	s := memStore(t)
	x := s.Executions()
	now := time.Now().UTC().Round(0)
	old := query.Execution{ID: "old", SQL: strings.Repeat("x", 2*listedBytes), Submitted: now.Add(-2 * time.Hour)}
	gone := query.Execution{ID: "gone", Submitted: now.Add(-90 * time.Minute)}
	next := query.Execution{ID: "next", Submitted: now}
	for _, e := range []query.Execution{old, gone, next} {
		if err := x.Add(t.Context(), e, "", "", e.Submitted.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	for key, kept := range map[string]time.Duration{"over": 0, "held": time.Hour} {
		if _, err := x.Claim(t.Context(), key, query.Claim{Token: key}, kept); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.ExpireExecutions(t.Context()); err != nil || n != 2 {
		t.Errorf("%d have expired, %v", n, err)
	}
	for _, id := range []string{"old", "gone"} {
		if _, err := x.Get(t.Context(), id); !errors.Is(err, query.ErrNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if got, err := x.Get(t.Context(), "next"); err != nil || got != next {
		t.Errorf("%+v, %v", got, err)
	}
	if v, err := s.get(keyStatement("old")); v != nil || err != nil {
		t.Errorf("%d bytes of SQL stay, %v", len(v), err)
	}
	for key, stays := range map[string]bool{"over": false, "held": true} {
		if v, err := s.get(keyStatementKey(key)); (v != nil) != stays || err != nil {
			t.Errorf("key %s: %d bytes, %v", key, len(v), err)
		}
	}
}
