package query

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newService(t *testing.T, g *engine, x *executions) *Service {
	t.Helper()
	s, err := New(Config{Kept: time.Hour, Poll: time.Second, MaxPoll: 8 * time.Second, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, g, x)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func begin(t *testing.T, s *Service) string {
	t.Helper()
	e, _, err := s.Start(t.Context(), "SELECT", nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return e.ID
}

func watch(t *testing.T, w *Watcher, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := w.Watch(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// news is all that a watcher has not taken, once nothing moves.
func news(w *Watcher) string {
	synctest.Wait()
	var all []string
	for e, ok := w.Take(); ok; e, ok = w.Take() {
		all = append(all, e.ID+" "+string(e.State))
	}
	return strings.Join(all, ", ")
}

// TestWatchers: many watch one, one watches many; each is told of every change it is there for, and of the end once.
func TestWatchers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newEngine()
		s := newService(t, g, &executions{})
		one, two := begin(t, s), begin(t, s)
		a, b, slow := s.Watcher(), s.Watcher(), s.Watcher()
		watch(t, a, one)
		watch(t, b, one)
		watch(t, slow, one)
		expect := func(what string, w *Watcher, want string) {
			t.Helper()
			if got := news(w); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		expect("the present state", a, "e1 QUEUED")
		expect("the present state", b, "e1 QUEUED")
		watch(t, a, two)
		expect("of another one", a, "e2 QUEUED")
		g.set(one, Running)
		expect("a change", a, "e1 RUNNING")
		g.set(one, Queued) // as Athena does
		expect("and back", a, "e1 QUEUED")
		g.set(two, Running)
		expect("another", a, "e2 RUNNING")
		g.set(one, Succeeded)
		expect("the end", a, "e1 SUCCEEDED")
		expect("what was in between is left out", b, "e1 SUCCEEDED")
		expect("also for who never listened", slow, "e1 SUCCEEDED")
		watch(t, b, one)
		expect("who comes later", b, "e1 SUCCEEDED")
		a.Unwatch(two)
		g.set(two, Failed)
		expect("who is not interested any more", a, "")
		if err := a.Watch(t.Context(), "e3"); !errors.Is(err, ErrNotFound) {
			t.Errorf("one that is not there: %v", err)
		}
		for _, w := range []*Watcher{a, b, slow} {
			w.Close()
		}
	})
}

// TestOneQuestionForAll: however many watch, the engine is asked for all executions together, and ever less often while nothing changes.
func TestOneQuestionForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newEngine()
		g.silent = true
		s := newService(t, g, &executions{})
		var ids []string
		for range MaxStatus {
			ids = append(ids, begin(t, s))
		}
		var watchers []*Watcher
		for range 100 {
			w := s.Watcher()
			defer w.Close()
			watch(t, w, ids...)
			watchers = append(watchers, w)
		}
		pass(500 * time.Millisecond)
		g.asked()
		pass(time.Second)
		if n := g.asked(); n != 1 {
			t.Errorf("asked %d times in the first second", n)
		}
		pass(2 * time.Minute)
		if n := g.asked(); n > 22 {
			t.Errorf("asked %d times in two minutes of silence, with at most 8 s between", n)
		}
		for _, id := range ids {
			g.set(id, Succeeded)
		}
		pass(8 * time.Second)
		for _, w := range watchers {
			if got := strings.Count(news(w), "SUCCEEDED"); got != len(ids) {
				t.Fatalf("told of the end of %d", got)
			}
		}
		g.asked()
		pass(time.Hour)
		if n := g.asked(); n > 0 {
			t.Errorf("asked %d times when nobody had to know", n)
		}
	})
}

// TestRestartForgetsNothing: what another process started is known, and what the engine has lost has failed.
func TestRestartForgetsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, x := newEngine(), &executions{}
		first := newService(t, g, x)
		goesOn, isLost, wasTold := begin(t, first), begin(t, first), begin(t, first)
		g.set(wasTold, Failed)
		if _, err := first.Wait(t.Context(), wasTold); err != nil {
			t.Fatal(err)
		}
		first.Close()
		g.do(func() { delete(g.byID, isLost); delete(g.byID, wasTold) })
		g.set(goesOn, Running)

		second := newService(t, g, x)
		w := second.Watcher()
		defer w.Close()
		watch(t, w, wasTold, isLost, goesOn)
		if got := news(w); !strings.HasPrefix(got, wasTold+" FAILED, ") || !strings.Contains(got, isLost+" FAILED") || !strings.Contains(got, goesOn+" RUNNING") {
			t.Errorf("told %q", got)
		}
		if e, err := second.Get(t.Context(), isLost); err != nil || e.State != Failed || !strings.Contains(e.Error, "restarted") {
			t.Errorf("%+v, %v", e, err)
		}
		g.set(goesOn, Succeeded)
		if got := news(w); got != goesOn+" SUCCEEDED" {
			t.Errorf("told %q", got)
		}
		list, err := second.List(t.Context(), 2)
		if err != nil || len(list) != 2 || list[0].ID != wasTold || list[1].ID != isLost {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestEngineFails: nobody is told anything wrong, and all of it as soon as it can be known.
func TestEngineFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, x := newEngine(), &executions{}
		s := newService(t, g, x)
		id := begin(t, s)
		w := s.Watcher()
		defer w.Close()
		watch(t, w, id)
		news(w)
		g.do(func() { g.fails = errors.New("throttled") })
		g.set(id, Succeeded)
		if got := news(w); got != "" {
			t.Errorf("told %q", got)
		}
		g.do(func() { g.fails = nil })
		pass(8 * time.Second)
		if got := news(w); got != id+" SUCCEEDED" {
			t.Errorf("told %q", got)
		}
	})
}

// TestEndIsSavedBeforeItIsTold, or again when somebody asks.
func TestEndIsSavedBeforeItIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, x := newEngine(), &executions{}
		s := newService(t, g, x)
		id, other := begin(t, s), begin(t, s)
		x.fail(errors.New("no state table"))
		g.set(id, Succeeded)
		if e, err := s.Wait(t.Context(), id); err != nil || e.State != Succeeded {
			t.Errorf("%+v, %v", e, err)
		}
		if _, _, err := s.Start(t.Context(), "SELECT", nil, ""); err == nil {
			t.Error("started without a trace")
		}
		x.fail(nil)
		g.set(other, Succeeded)
		for _, id := range []string{id, other} {
			if e, err := s.Get(t.Context(), id); err != nil || e.State != Succeeded {
				t.Errorf("%+v, %v", e, err)
			}
			if e, err := x.Get(t.Context(), id); err != nil || e.State != Succeeded || e.SQL == "" {
				t.Errorf("remembered: %+v, %v", e, err)
			}
		}
		synctest.Wait()
		if e := g.byID["e3"]; e == nil || e.State != Cancelled {
			t.Errorf("what nobody knows of runs on: %+v", e)
		}
	})
}

// TestNewOnesAllTheTime: executions that come one after the other do not keep those before from being asked for.
func TestNewOnesAllTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newEngine()
		g.silent = true
		s := newService(t, g, &executions{})
		first := begin(t, s)
		synctest.Wait()
		g.set(first, Succeeded)
		for range 4 {
			pass(500 * time.Millisecond)
			begin(t, s)
		}
		w := s.Watcher()
		defer w.Close()
		watch(t, w, first)
		if got := news(w); got != first+" SUCCEEDED" {
			t.Errorf("told %q", got)
		}
	})
}

// TestFirstEndHolds: processes that learn of an end tell the same, also if one of them thinks that the execution is lost.
func TestFirstEndHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		x := &executions{}
		g := newEngine()
		g.silent = true
		id := begin(t, newService(t, g, x))
		other := newService(t, newEngine(), x) // it knows nothing of it
		x.ended = func(e Execution) {
			if e.State == Failed { // the first process was quicker
				e.State, e.Error, e.ResultBytes = Succeeded, "", 7
				x.mu.Lock()
				x.list[0] = e
				x.mu.Unlock()
			}
		}
		w := other.Watcher()
		defer w.Close()
		watch(t, w, id)
		if got := news(w); got != id+" SUCCEEDED" {
			t.Errorf("told %q", got)
		}
		if e, err := other.Get(t.Context(), id); err != nil || e.State != Succeeded || e.ResultBytes != 7 || e.SQL == "" {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// TestOneUntold: an execution that can't be asked for spoils nothing for others, and is asked for until it is forgotten.
func TestOneUntold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newEngine()
		s := newService(t, g, &executions{})
		bad, gone, good := begin(t, s), begin(t, s), begin(t, s)
		synctest.Wait()
		g.do(func() { g.untold = bad; delete(g.byID, gone) })
		g.set(good, Succeeded)
		w := s.Watcher()
		defer w.Close()
		watch(t, w, bad, gone, good)
		pass(10 * time.Second)
		if got := news(w); !strings.Contains(got, good+" SUCCEEDED") || !strings.Contains(got, gone+" FAILED") || !strings.Contains(got, bad+" QUEUED") {
			t.Errorf("told %q", got)
		}
		if e, err := s.Get(t.Context(), bad); err != nil || e.State != Queued {
			t.Errorf("%+v, %v", e, err)
		}
		pass(time.Hour)
		if got := news(w); got != bad+" FAILED" {
			t.Errorf("after its time: told %q", got)
		}
		g.asked()
		pass(time.Hour)
		if n := g.asked(); n > 0 {
			t.Errorf("asked %d times for what is forgotten", n)
		}
	})
}

// TestStuckEngine: who asks is told what was known, after a moment.
func TestStuckEngine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, x := newEngine(), &executions{}
		first := newService(t, g, x)
		ids := []string{begin(t, first), begin(t, first)}
		first.Close()
		g.do(func() { g.stuck = true })
		s := newService(t, g, x)
		w := s.Watcher()
		defer w.Close()
		began := time.Now()
		if e, err := s.Get(t.Context(), ids[0]); err != nil || e.State != Queued {
			t.Errorf("%+v, %v", e, err)
		}
		if list, err := s.List(t.Context(), 2); err != nil || len(list) != 2 {
			t.Errorf("%+v, %v", list, err)
		}
		if took := time.Since(began); took != 2*answerTime {
			t.Errorf("both took %v", took)
		}
		watch(t, w, ids[0])
		pass(askTime)
		if got := news(w); got != ids[0]+" QUEUED" {
			t.Errorf("told %q", got)
		}
	})
}

// TestSQLStaysBehind: neither watchers nor lists carry more of a statement than they show.
func TestSQLStaysBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, x := newEngine(), &executions{}
		s := newService(t, g, x)
		e, _, err := s.Start(t.Context(), strings.Repeat("é", 2*ListedSQL), nil, "")
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = newService(t, g, x) // it hears of it by a list first
		if list, err := s.List(t.Context(), 1); err != nil || list[0].SQL != strings.Repeat("é", ListedSQL) {
			t.Errorf("%d bytes of SQL, %v", len(list[0].SQL), err)
		}
		w := s.Watcher()
		defer w.Close()
		watch(t, w, e.ID)
		synctest.Wait()
		if told, ok := w.Take(); !ok || told.SQL != "" {
			t.Errorf("%v, %d bytes of SQL", ok, len(told.SQL))
		}
		list, err := s.List(t.Context(), 1)
		if err != nil || list[0].SQL != strings.Repeat("é", ListedSQL) {
			t.Errorf("%d bytes of SQL, %v", len(list[0].SQL), err)
		}
		if whole, err := s.Get(t.Context(), e.ID); err != nil || whole.SQL != e.SQL {
			t.Errorf("%d bytes of SQL, %v", len(whole.SQL), err)
		}
	})
}

// TestGrace: where an engine may not know yet what it has started, that is no end.
func TestGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newEngine()
		s, err := New(Config{
			Kept: time.Hour, Poll: time.Second, MaxPoll: time.Second, Grace: time.Minute, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		}, g, &executions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		id := begin(t, s)
		var started *Execution
		g.do(func() { started = g.byID[id]; delete(g.byID, id) })
		pass(59 * time.Second)
		if e, err := s.Get(t.Context(), id); err != nil || e.State != Queued {
			t.Errorf("%+v, %v", e, err)
		}
		g.do(func() { g.byID[id] = started })
		pass(time.Minute)
		if e, err := s.Get(t.Context(), id); err != nil || e.State != Queued {
			t.Errorf("found again: %+v, %v", e, err)
		}
		g.do(func() { delete(g.byID, id) })
		pass(2 * time.Second)
		if e, err := s.Get(t.Context(), id); err != nil || e.State != Failed || e.Error != lost {
			t.Errorf("gone for good: %+v, %v", e, err)
		}
	})
}
