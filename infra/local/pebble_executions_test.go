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
	x := memStore(t).Executions()
	for _, n := range []int{0, 1, query.ListedSQL, listedBytes/3 - 1, listedBytes / 3, listedBytes/3 + 1, 87_000} {
		sql := strings.Repeat("€", n)
		e := query.Execution{ID: "e", SQL: sql, Token: "t", Submitted: time.Now().UTC().Round(0)}
		if err := x.Save(t.Context(), e, e.Submitted.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		for name, get := range map[string]func() (query.Execution, error){
			"Get":     func() (query.Execution, error) { return x.Get(t.Context(), "e") },
			"Started": func() (query.Execution, error) { return x.Started(t.Context(), "t") },
		} {
			if got, err := get(); err != nil || got != e {
				t.Errorf("%s with %d characters: %d bytes, %v", name, n, len(got.SQL), err)
			}
		}
		list, err := x.List(t.Context(), 1)
		if err != nil || !strings.HasPrefix(list[0].SQL, strings.Repeat("€", min(n, query.ListedSQL))) || len(list[0].SQL) > listedBytes {
			t.Errorf("listed with %d characters: %d bytes, %v", n, len(list[0].SQL), err)
		}
		if err := x.store.db.Delete(keySubmitted(e.Submitted, "e"), nil); err != nil { // the next one is submitted later
			t.Fatal(err)
		}
	}
}

// TestExecutionsExpire: with what belongs to them, but for a token that has started another one since.
func TestExecutionsExpire(t *testing.T) {
	t.Parallel()
	s := memStore(t)
	x := s.Executions()
	now := time.Now().UTC().Round(0)
	old := query.Execution{ID: "old", SQL: strings.Repeat("x", 2*listedBytes), Token: "reused", Submitted: now.Add(-2 * time.Hour)}
	gone := query.Execution{ID: "gone", Token: "gone", Submitted: now.Add(-90 * time.Minute)}
	next := query.Execution{ID: "next", Token: "reused", Submitted: now}
	for _, e := range []query.Execution{old, gone, next} {
		if err := x.Add(t.Context(), e, e.Submitted.Add(time.Hour)); err != nil {
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
	if _, err := x.Started(t.Context(), "gone"); !errors.Is(err, query.ErrNotFound) {
		t.Errorf("its token: %v", err)
	}
	if got, err := x.Started(t.Context(), "reused"); err != nil || got.ID != "next" {
		t.Errorf("%+v, %v", got, err)
	}
	if v, err := s.get(keyStatement("old")); v != nil || err != nil {
		t.Errorf("%d bytes of SQL stay, %v", len(v), err)
	}
}
