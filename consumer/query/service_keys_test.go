package query

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestKeyStartsOnce, also after a restart, and only its own statement.
func TestKeyStartsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, x := newEngine(), &executions{}
		s := newService(t, g, x)
		start := func(sql, key string, parameters ...string) (string, bool, error) {
			e, replayed, err := s.Start(t.Context(), sql, parameters, key)
			return e.ID, replayed, err
		}
		first, replayed, err := start("SELECT ?", "k", "1")
		if err != nil || replayed {
			t.Fatal(replayed, err)
		}
		for range 2 {
			if id, replayed, err := start("SELECT ?", "k", "1"); err != nil || !replayed || id != first {
				t.Errorf("again: %s, %v, %v", id, replayed, err)
			}
			s.Close()
			s = newService(t, g, x)
		}
		for _, other := range [][2]string{{"SELECT ?", "2"}, {"SELECT  ?", "1"}, {"SELECT ?1", ""}} {
			if _, _, err := start(other[0], "k", other[1]); !errors.Is(err, ErrKeyReused) {
				t.Errorf("%q with the same key: %v", other, err)
			}
		}
		if id, replayed, err := start("SELECT ?", "l", "1"); err != nil || replayed || id == first {
			t.Errorf("another key: %s, %v, %v", id, replayed, err)
		}
		if g.starts != 2 {
			t.Errorf("%d were started", g.starts)
		}
		pass(time.Hour)
		if _, err := s.Get(t.Context(), first); !errors.Is(err, ErrNotFound) {
			t.Errorf("it is remembered for too long: %v", err)
		}
	})
}

// TestKeyAfterItsTime: then it is as good as new, also before what it had started is removed.
func TestKeyAfterItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, x := newEngine(), &executions{}
		s := newService(t, g, x)
		first, _, err := s.Start(t.Context(), "SELECT 1", nil, "k")
		if err != nil {
			t.Fatal(err)
		}
		g.set(first.ID, Succeeded)
		pass(time.Hour)
		for _, sql := range []string{"SELECT 1", "SELECT 2"} { // the engine still knows what it ran an hour ago
			again, replayed, err := s.Start(t.Context(), sql, nil, "k")
			if err != nil || replayed || again.ID == first.ID {
				t.Errorf("%s: %+v, %v, %v", sql, again, replayed, err)
			}
			pass(time.Hour)
		}
	})
}

// TestKeyWithFastClock: what a key leads to is told for as long as the key is held, whatever this host's clock says.
func TestKeyWithFastClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fast := func() time.Time { return time.Now().Add(10 * time.Minute) }
		s, err := New(Config{Kept: time.Hour, Poll: time.Second, MaxPoll: time.Second, Now: fast, Logger: slog.New(slog.DiscardHandler)}, newEngine(), &executions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		first, _, err := s.Start(t.Context(), "SELECT 1", nil, "k")
		if err != nil {
			t.Fatal(err)
		}
		pass(55 * time.Minute)
		if again, replayed, err := s.Start(t.Context(), "SELECT 1", nil, "k"); err != nil || !replayed || again.ID != first.ID {
			t.Errorf("%+v, %v, %v", again, replayed, err)
		}
	})
}

// TestKeyOfRefused: a key whose statement was refused starts a better one.
func TestKeyOfRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, newEngine(), &executions{})
		for range 2 {
			if _, _, err := s.Start(t.Context(), "DROP TABLE events", nil, "k"); !errors.Is(err, ErrStatement) {
				t.Errorf("%v, want ErrStatement", err)
			}
		}
		e, replayed, err := s.Start(t.Context(), "SELECT 1", nil, "k")
		if err != nil || replayed {
			t.Errorf("%v, %v", replayed, err)
		}
		if _, _, err := s.Start(t.Context(), "DROP TABLE events", nil, "k"); !errors.Is(err, ErrKeyReused) {
			t.Errorf("%v, want ErrKeyReused", err)
		}
		if again, replayed, err := s.Start(t.Context(), "SELECT 1", nil, "k"); err != nil || !replayed || again.ID != e.ID {
			t.Errorf("%+v, %v, %v", again, replayed, err)
		}
	})
}

// TestKeyAtOnce: of several that start with one key at the same time, in two processes, the engine starts one.
func TestKeyAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, x := newEngine(), &executions{}
		processes := []*Service{newService(t, g, x), newService(t, g, x)}
		started := make([]string, 16)
		var all sync.WaitGroup
		for i := range started {
			all.Go(func() {
				e, _, err := processes[i%2].Start(t.Context(), "SELECT 1", nil, "k")
				if err != nil {
					t.Error(err)
				}
				started[i] = e.ID
			})
		}
		all.Wait()
		if slices.Sort(started); len(slices.Compact(started)) != 1 || g.starts != 1 {
			t.Errorf("%d were started: %q", g.starts, started)
		}
	})
}

// TestKeyAfterFailedAdd: the next try with the key gets what the first one started.
func TestKeyAfterFailedAdd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, x := newEngine(), &executions{}
		s := newService(t, g, x)
		start := func() (Execution, error) {
			e, _, err := s.Start(t.Context(), "SELECT 1", nil, "k")
			return e, err
		}
		x.failAdd(errors.New("no state table"))
		if _, err := start(); err == nil {
			t.Fatal("started without a trace")
		}
		x.failAdd(nil)
		e, err := start()
		if err != nil || e.State != Queued || g.starts != 1 {
			t.Errorf("%+v, %v; %d were started", e, err, g.starts)
		}
	})
}
