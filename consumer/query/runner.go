package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// RunnerConfig bounds a Runner. All fields are required.
type RunnerConfig struct {
	// Dir is a directory of the runner's own, for results, which outlive the process.
	Dir string
	// Concurrency is how many statements run at once, MaxQueued how many more may wait.
	Concurrency, MaxQueued int
	// MaxExecutions is how many executions are kept in all, with those results that an earlier process left; when a new one needs
	// room, the one that finished first is forgotten with its result. At least Concurrency + MaxQueued.
	MaxExecutions int
	// ResultTTL is how long a finished execution and its result are kept.
	ResultTTL time.Duration
	// Timeout is the longest that one run may take.
	Timeout time.Duration
	// MaxResultBytes is the largest result. All results together take up at most MaxExecutions times as much.
	MaxResultBytes int64
	// Admit returns an error when the disk has no room for so many more bytes of results.
	Admit func(bytes int64) error
	// Now is the clock.
	Now func() time.Time
	// Logger gets what clients are not told.
	Logger *slog.Logger
}

func (c *RunnerConfig) validate() error {
	switch {
	case c.Dir == "":
		return errors.New("query runner: no directory for results")
	case c.Concurrency < 1:
		return fmt.Errorf("query runner: concurrency of %d: at least 1 is needed", c.Concurrency)
	case c.MaxQueued < 0:
		return fmt.Errorf("query runner: queue of %d: must not be negative", c.MaxQueued)
	case c.MaxExecutions < c.Concurrency+c.MaxQueued:
		return fmt.Errorf("query runner: %d executions kept: at least %d are needed, those running and queued",
			c.MaxExecutions, c.Concurrency+c.MaxQueued)
	case c.ResultTTL <= 0, c.Timeout <= 0, c.MaxResultBytes <= 0:
		return fmt.Errorf("query runner: result life %v, timeout %v and result size %d must be positive",
			c.ResultTTL, c.Timeout, c.MaxResultBytes)
	case c.Admit == nil || c.Now == nil || c.Logger == nil:
		return errors.New("query runner: no check for room, clock or logger")
	}
	return nil
}

// Runner makes an Engine of something that runs SQL in this process: it bounds how much runs at a time, and keeps results for a
// while. Executions end with their process, results do not. Its methods are safe for concurrent use.
type Runner struct {
	cfg     RunnerConfig
	sql     SQL
	fresh   Freshener
	changed chan string

	life context.Context // of all runs and of the expiry
	stop context.CancelCauseFunc
	work sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	entries map[string]*entry
	tokens  map[string]*entry
	order   []*entry // as submitted, the oldest first
	queue   []*entry
	running int
}

var _ Engine = (*Runner)(nil)

// changes is how many changes of executions may wait to be told: more than there are between two looks.
const changes = 1024

// Why a run's context ended.
var (
	errCancelled = errors.New("cancelled")
	errTimeout   = errors.New("time limit reached")
)

// entry is an execution with what is needed to run it.
type entry struct {
	Execution
	token      string
	parameters []string
	cancel     context.CancelCauseFunc // of its run; nil while it is not running
	earlier    bool                    // nothing is left of it but its result: it ran in an earlier process
}

// NewRunner makes a runner. Close it.
func NewRunner(cfg RunnerConfig, sql SQL, fresh Freshener) (*Runner, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Runner{
		cfg: cfg, sql: sql, fresh: fresh, changed: make(chan string, changes), entries: map[string]*entry{}, tokens: map[string]*entry{},
	}
	if err := r.adoptResults(); err != nil {
		return nil, err
	}
	r.life, r.stop = context.WithCancelCause(context.Background())
	r.work.Go(r.expireRegularly)
	return r, nil
}

// Start implements Engine.
func (r *Runner) Start(ctx context.Context, s Statement) (Execution, error) {
	if e, err := r.admit(s.Token); e != nil || err != nil { // before the work of checking, and again after it
		return r.snapshot(e), err
	}
	if err := r.sql.Check(ctx, s.SQL, s.Parameters); err != nil {
		return Execution{}, err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return Execution{}, fmt.Errorf("making an execution id: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, err := r.admitLocked(s.Token); e != nil {
		return e.Execution, nil
	} else if err != nil {
		return Execution{}, err
	}
	r.expireLocked()
	for len(r.order) >= r.cfg.MaxExecutions {
		r.forgetFirstFinished()
	}
	e := &entry{
		Execution: Execution{ID: id.String(), SQL: s.SQL, State: Queued, Submitted: r.cfg.Now()},
		token:     s.Token, parameters: slices.Clone(s.Parameters),
	}
	r.entries[e.ID], r.tokens[e.token] = e, e
	r.order = append(r.order, e)
	r.queue = append(r.queue, e)
	r.dispatch()
	return e.Execution, nil
}

// Status implements Engine.
func (r *Runner) Status(_ context.Context, ids []string) (known []Execution, unknown []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expireLocked()
	for _, id := range ids {
		if e := r.entries[id]; e != nil && !e.earlier {
			known = append(known, e.Execution)
		} else {
			unknown = append(unknown, id)
		}
	}
	return known, unknown, nil
}

// Changed implements Engine.
func (r *Runner) Changed() <-chan string { return r.changed }

// tell has others look at an execution, unless they are far behind: then they look by themselves. r.mu is held.
func (r *Runner) tell(e *entry) {
	select {
	case r.changed <- e.ID:
	default:
	}
}

// Stop implements Engine.
func (r *Runner) Stop(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := r.entries[id]; {
	case e == nil:
	case e.State == Queued:
		r.queue = slices.DeleteFunc(r.queue, func(queued *entry) bool { return queued == e })
		r.end(e, errCancelled)
	case e.State == Running:
		e.cancel(errCancelled)
	}
	return nil
}

// admit returns the execution that a token has started, or else whether there is room for another.
func (r *Runner) admit(token string) (*entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.admitLocked(token)
}

func (r *Runner) admitLocked(token string) (*entry, error) {
	switch e := r.tokens[token]; {
	case e != nil:
		return e, nil
	case r.closed:
		return nil, ErrClosed
	case r.running+len(r.queue) >= r.cfg.Concurrency+r.cfg.MaxQueued:
		return nil, fmt.Errorf("%w: %d are running and %d queued", ErrBusy, r.running, len(r.queue))
	}
	return nil, nil
}

// dispatch starts queued executions while there are free slots. r.mu is held.
func (r *Runner) dispatch() {
	for r.running < r.cfg.Concurrency && len(r.queue) > 0 {
		e := r.queue[0]
		r.queue = slices.Delete(r.queue, 0, 1)
		r.running++
		ctx, cancel := context.WithCancelCause(r.life)
		e.cancel = cancel
		e.State, e.Started = Running, r.cfg.Now()
		r.tell(e)
		r.work.Go(func() {
			defer cancel(nil)
			r.run(ctx, e)
		})
	}
}

// Close refuses new statements, cancels those that have not finished, and waits until nothing runs any more or ctx ends.
func (r *Runner) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	for _, e := range r.queue {
		r.end(e, ErrClosed)
	}
	r.queue = nil
	r.mu.Unlock()
	r.stop(ErrClosed)

	idle := make(chan struct{})
	go func() {
		r.work.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for queries to stop: %w", context.Cause(ctx))
	}
}

func (r *Runner) snapshot(e *entry) Execution {
	if e == nil {
		return Execution{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return e.Execution
}

// end moves an execution to the final state that belongs to how it ended. r.mu is held.
func (r *Runner) end(e *entry, err error) {
	e.State, e.Error = r.outcome(err)
	e.Ended = r.cfg.Now()
	e.parameters, e.cancel = nil, nil
	r.tell(e)
}
