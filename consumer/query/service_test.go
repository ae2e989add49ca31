package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// executions are in memory, and fail when told to.
type executions struct {
	mu     sync.Mutex
	list   []Execution // the oldest first
	claims map[string]timedClaim
	fails  error
	full   error             // of Add
	ended  func(e Execution) // called before an end is remembered
}

type timedClaim struct {
	Claim
	until time.Time
}

func (x *executions) Claim(_ context.Context, key string, c Claim, kept time.Duration) (Claim, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	held, ok := x.claims[key]
	if !ok || !time.Now().Before(held.until) {
		held = timedClaim{c, time.Now().Add(kept)}
		if x.claims == nil {
			x.claims = map[string]timedClaim{}
		}
		x.claims[key] = held
	}
	return held.Claim, x.fails
}

func (x *executions) Release(_ context.Context, key string, c Claim) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.claims[key].Claim == c {
		delete(x.claims, key)
	}
	return x.fails
}

func (x *executions) index(id string) (int, error) {
	if x.fails != nil {
		return 0, x.fails
	}
	if i := slices.IndexFunc(x.list, func(e Execution) bool { return e.ID == id }); i >= 0 {
		return i, nil
	}
	return 0, ErrNotFound
}

func (x *executions) Add(_ context.Context, e Execution, key, token string, until time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.full != nil {
		return x.full
	}
	_, err := x.index(e.ID)
	if errors.Is(err, ErrNotFound) {
		x.list, err = append(x.list, e), nil
	}
	if c := x.claims[key]; err == nil && key != "" && c.Token == token {
		c.ID, c.until = e.ID, until
		x.claims[key] = c
	}
	return err
}

func (x *executions) Finish(_ context.Context, e Execution) (Execution, error) {
	if x.ended != nil {
		x.ended(e)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	i, err := x.index(e.ID)
	if err != nil || x.list[i].State.Finished() {
		return x.list[i], err
	}
	x.list[i] = e
	return e, nil
}

func (x *executions) Get(_ context.Context, id string) (Execution, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i, err := x.index(id)
	if err != nil {
		return Execution{}, err
	}
	return x.list[i], nil
}

func (x *executions) List(_ context.Context, most int) ([]Execution, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := slices.Clone(x.list)
	slices.Reverse(list)
	for i := range list {
		list[i].CutSQL()
	}
	return list[:min(most, len(list))], x.fails
}

func (x *executions) fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fails = err
}

func (x *executions) failAdd(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.full = err
}

// engine is one far away that changes when a test says so, and tells so only where silent is false.
type engine struct {
	mu      sync.Mutex
	byID    map[string]*Execution
	tokens  map[string]*Execution // it never forgets one
	calls   [][]string            // ids of each Status
	starts  int
	silent  bool
	fails   error
	untold  string // id of an execution of which it can't tell
	stuck   bool   // it does not answer
	changed chan string
}

func newEngine() *engine {
	return &engine{byID: map[string]*Execution{}, tokens: map[string]*Execution{}, changed: make(chan string, 1000)}
}

func (g *engine) Start(_ context.Context, s Statement) (Execution, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if strings.HasPrefix(s.SQL, "DROP") {
		return Execution{}, fmt.Errorf("%w: it writes", ErrStatement)
	}
	if e := g.tokens[s.Token]; e != nil {
		return *e, nil
	}
	g.starts++
	e := &Execution{ID: fmt.Sprintf("e%d", g.starts), SQL: s.SQL, State: Queued, Submitted: time.Now()}
	g.byID[e.ID], g.tokens[s.Token] = e, e
	return *e, nil
}

func (g *engine) Status(ctx context.Context, ids []string) (known []Execution, unknown []string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, slices.Clone(ids))
	if g.stuck {
		g.mu.Unlock()
		<-ctx.Done()
		g.mu.Lock()
		return nil, nil, ctx.Err()
	}
	if g.fails != nil {
		return nil, nil, g.fails
	}
	for _, id := range ids {
		switch e := g.byID[id]; {
		case id == g.untold:
			err = errors.New("of one nothing can be told")
		case e == nil:
			unknown = append(unknown, id)
		default:
			known = append(known, Execution{ // Athena doesn't tell when it was fresh
				ID: e.ID, State: e.State, Statistics: e.Statistics, Ended: e.Ended, ResultBytes: e.ResultBytes, Error: e.Error,
			})
		}
	}
	return known, unknown, err
}

func (g *engine) Stop(_ context.Context, id string) error {
	g.set(id, Cancelled)
	return nil
}

func (g *engine) Open(_ context.Context, id string) (io.ReadCloser, int64, error) {
	return io.NopCloser(strings.NewReader(id)), int64(len(id)), nil
}

func (g *engine) Changed() <-chan string { return g.changed }

// set moves executions on; one that has ended stays as it is.
func (g *engine) set(id string, state State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.byID[id]
	if e == nil || e.State.Finished() {
		return
	}
	if e.State = state; state.Finished() {
		e.Ended = time.Now()
	}
	if !g.silent {
		g.changed <- id
	}
}

func (g *engine) do(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// asked is how often the engine was asked since the last time.
func (g *engine) asked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.calls)
	g.calls = nil
	return n
}

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
