package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
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
