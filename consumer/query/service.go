package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Config bounds a Service. All fields are required.
type Config struct {
	// Dir is a directory of the service's own, for results. It is empty at first: executions do not survive their process.
	Dir string
	// Concurrency is how many statements run at once, MaxQueued how many more may wait.
	Concurrency, MaxQueued int
	// MaxExecutions is how many executions are kept in all; when a new one needs room, the one that finished first is
	// forgotten with its result. At least Concurrency + MaxQueued.
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

func (c *Config) validate() error {
	switch {
	case c.Dir == "":
		return errors.New("query service: no directory for results")
	case c.Concurrency < 1:
		return fmt.Errorf("query service: concurrency of %d: at least 1 is needed", c.Concurrency)
	case c.MaxQueued < 0:
		return fmt.Errorf("query service: queue of %d: must not be negative", c.MaxQueued)
	case c.MaxExecutions < c.Concurrency+c.MaxQueued:
		return fmt.Errorf("query service: %d executions kept: at least %d are needed, those running and queued",
			c.MaxExecutions, c.Concurrency+c.MaxQueued)
	case c.ResultTTL <= 0, c.Timeout <= 0, c.MaxResultBytes <= 0:
		return fmt.Errorf("query service: result life %v, timeout %v and result size %d must be positive",
			c.ResultTTL, c.Timeout, c.MaxResultBytes)
	case c.Admit == nil || c.Now == nil || c.Logger == nil:
		return errors.New("query service: no check for room, clock or logger")
	}
	return nil
}

// Service runs statements in the background and keeps their results for a while. Its methods are safe for concurrent
// use.
type Service struct {
	cfg    Config
	engine Engine
	fresh  Freshener

	life context.Context // of all runs and of the expiry
	stop context.CancelCauseFunc
	work sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	entries map[string]*entry
	order   []*entry // as submitted, the oldest first
	queue   []*entry
	running int
}

// New makes a service. Close it.
func New(cfg Config, engine Engine, fresh Freshener) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("preparing the directory for query results: %w", err)
	}
	s := &Service{cfg: cfg, engine: engine, fresh: fresh, entries: map[string]*entry{}}
	s.life, s.stop = context.WithCancelCause(context.Background())
	s.work.Go(s.expireRegularly)
	return s, nil
}

// Start submits a statement. It checks the statement first (ErrStatement), and refuses it when too many wait (ErrBusy).
func (s *Service) Start(ctx context.Context, sql string, parameters []string) (Execution, error) {
	if err := s.room(); err != nil { // before the work of checking, and again after it
		return Execution{}, err
	}
	if err := s.engine.Check(ctx, sql, parameters); err != nil {
		return Execution{}, err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return Execution{}, fmt.Errorf("making an execution id: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.roomLocked(); err != nil {
		return Execution{}, err
	}
	s.expireLocked()
	for len(s.order) >= s.cfg.MaxExecutions {
		s.forgetFirstFinished()
	}
	e := &entry{
		Execution:  Execution{ID: id.String(), SQL: sql, State: Queued, Submitted: s.cfg.Now()},
		parameters: slices.Clone(parameters),
		done:       make(chan struct{}),
	}
	s.entries[e.ID] = e
	s.order = append(s.order, e)
	s.queue = append(s.queue, e)
	s.dispatch()
	return e.Execution, nil
}

func (s *Service) room() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roomLocked()
}

func (s *Service) roomLocked() error {
	switch {
	case s.closed:
		return ErrClosed
	case s.running+len(s.queue) >= s.cfg.Concurrency+s.cfg.MaxQueued:
		return fmt.Errorf("%w: %d are running and %d queued", ErrBusy, s.running, len(s.queue))
	}
	return nil
}

// dispatch starts queued executions while there are free slots. s.mu is held.
func (s *Service) dispatch() {
	for s.running < s.cfg.Concurrency && len(s.queue) > 0 {
		e := s.queue[0]
		s.queue = slices.Delete(s.queue, 0, 1)
		s.running++
		ctx, cancel := context.WithCancelCause(s.life)
		e.cancel = cancel
		e.State, e.Started = Running, s.cfg.Now()
		s.work.Go(func() {
			defer cancel(nil)
			s.run(ctx, e)
		})
	}
}

// Get returns an execution as it stands, or ErrNotFound.
func (s *Service) Get(id string) (Execution, error) {
	e, err := s.find(id)
	if err != nil {
		return Execution{}, err
	}
	return s.snapshot(e), nil
}

// List returns all executions, the newest first.
func (s *Service) List() []Execution {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	list := make([]Execution, 0, len(s.order))
	for _, e := range slices.Backward(s.order) {
		list = append(list, e.Execution)
	}
	return list
}

// Wait returns the execution once it has finished. When ctx ends first it returns the execution as it stands and the
// cause.
func (s *Service) Wait(ctx context.Context, id string) (Execution, error) {
	e, err := s.find(id)
	if err != nil {
		return Execution{}, err
	}
	select {
	case <-e.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return s.snapshot(e), err
}

// Open gives the result of an execution that succeeded, as CSV, and its size in bytes. The result stays readable until
// it is closed, also when the execution is forgotten meanwhile. ErrNotReady, ErrNoResult, ErrNotFound.
func (s *Service) Open(id string) (io.ReadCloser, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	e, ok := s.entries[id]
	switch {
	case !ok:
		return nil, 0, ErrNotFound
	case !e.State.Finished():
		return nil, 0, fmt.Errorf("%w: it is %s", ErrNotReady, e.State)
	case e.State != Succeeded:
		return nil, 0, fmt.Errorf("%w: it is %s", ErrNoResult, e.State)
	}
	file, err := os.Open(s.resultPath(id))
	if err != nil {
		return nil, 0, fmt.Errorf("opening the result of query %s: %w", id, err)
	}
	return file, e.ResultBytes, nil
}

// Cancel stops an execution, queued or running, and returns it as it stands: a running one is cancelled a moment later.
// A finished one stays as it is.
func (s *Service) Cancel(id string) (Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[id]
	if !ok {
		return Execution{}, ErrNotFound
	}
	switch e.State {
	case Queued:
		s.queue = slices.DeleteFunc(s.queue, func(queued *entry) bool { return queued == e })
		s.end(e, errCancelled)
	case Running:
		e.cancel(errCancelled)
	}
	return e.Execution, nil
}

// Close refuses new statements, cancels those that have not finished, and waits until nothing runs any more or ctx ends.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for _, e := range s.queue {
		s.end(e, ErrClosed)
	}
	s.queue = nil
	s.mu.Unlock()
	s.stop(ErrClosed)

	idle := make(chan struct{})
	go func() {
		s.work.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for queries to stop: %w", context.Cause(ctx))
	}
}

func (s *Service) find(id string) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireLocked()
	e, ok := s.entries[id]
	if !ok {
		return nil, ErrNotFound
	}
	return e, nil
}

func (s *Service) snapshot(e *entry) Execution {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.Execution
}

// end moves an execution to the final state that belongs to how it ended. s.mu is held.
func (s *Service) end(e *entry, err error) {
	e.State, e.Error = s.outcome(err)
	e.Ended = s.cfg.Now()
	e.parameters, e.cancel = nil, nil
	close(e.done)
}
