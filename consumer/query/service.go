package query

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Config of a Service. All fields but Grace are required.
type Config struct {
	// Kept is how long an execution is remembered after it was submitted.
	Kept time.Duration
	// Poll and MaxPoll bound how often the engine is asked how executions stand: at first every Poll, then, while nothing changes,
	// ever less often. What it tells by itself comes at once.
	Poll, MaxPoll time.Duration
	// Grace is how long after its submission an execution that the engine does not know is not taken for lost: where the engine's answers
	// may be older than its starts. None, unless it is set.
	Grace time.Duration
	// Now is the clock.
	Now func() time.Time
	// Logger gets what clients are not told.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Kept <= 0, c.Poll <= 0, c.MaxPoll < c.Poll:
		return fmt.Errorf("query service: executions kept %v, asked for every %v to %v: must be positive and in order", c.Kept, c.Poll, c.MaxPoll)
	case c.Now == nil || c.Logger == nil:
		return errors.New("query service: no clock or logger")
	}
	return nil
}

// Service starts executions and tells how they stand: whoever asks, and whoever watches. Any number of processes may do so for the
// same executions. Its methods are safe for concurrent use.
type Service struct {
	cfg        Config
	engine     Engine
	executions Executions

	life context.Context // of the look-out
	stop context.CancelFunc
	work sync.WaitGroup
	wake chan struct{} // there is something new to ask for

	warned time.Time // of an engine that can't be asked; the look-out's own

	mu sync.Mutex
	// followed are the executions that had not finished when they were last heard of.
	followed map[string]*followed
}

// followed is an execution whose end is waited for. It is guarded by Service.mu.
type followed struct {
	Execution               // its SQL is empty where only a list has told of it
	asked     chan struct{} // closed when the engine was asked since somebody wanted to know
	done      chan struct{} // closed when it has finished
	watchers  map[*Watcher]struct{}
}

// New makes a service over an engine that somebody else closes, later. Close it.
func New(cfg Config, engine Engine, executions Executions) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, engine: engine, executions: executions, wake: make(chan struct{}, 1), followed: map[string]*followed{},
	}
	s.life, s.stop = context.WithCancel(context.Background())
	s.work.Go(s.lookOut)
	return s, nil
}

// Start checks a statement and submits it: ErrStatement, ErrBusy, ErrClosed. With a key that is not empty it starts only once: with
// the same key and statement again replayed is true, and with another statement it is ErrKeyReused. A key holds for as long as its
// execution is remembered. One whose statement is refused is free again.
func (s *Service) Start(ctx context.Context, sql string, parameters []string, key string) (e Execution, replayed bool, err error) {
	statement := Statement{SQL: sql, Parameters: parameters, Token: newToken()}
	if key == "" {
		e, err = s.start(ctx, statement, "")
		return e, false, err
	}
	// The token is the claim's and not made of the key, which means another execution tomorrow, or in another deployment.
	own := Claim{Token: statement.Token, Fingerprint: statement.Fingerprint()}
	held, err := s.executions.Claim(ctx, key, own, s.cfg.Kept)
	switch {
	case err != nil:
		return Execution{}, false, fmt.Errorf("claiming an idempotency key: %w", err)
	case held.Fingerprint != own.Fingerprint:
		return Execution{}, false, ErrKeyReused
	case held.ID != "":
		e, err = s.startedEarlier(ctx, held.ID)
		return e, true, err
	}
	statement.Token = held.Token // an earlier try's, if it has not come to its end, so that the engine starts only one of both
	e, err = s.start(ctx, statement, key)
	if errors.Is(err, ErrStatement) {
		s.release(ctx, key, held)
	}
	return e, false, err
}

// startedEarlier is the execution that a key leads to, also when this host's clock thinks that it is over.
func (s *Service) startedEarlier(ctx context.Context, id string) (Execution, error) {
	e, f, err := s.find(ctx, id, func(*Execution) bool { return true })
	if err != nil || f == nil {
		return e, err
	}
	return s.stands(ctx, f)
}

// start has the engine start a statement, and remembers that.
func (s *Service) start(ctx context.Context, statement Statement, key string) (Execution, error) {
	e, err := s.engine.Start(ctx, statement)
	if err != nil {
		return Execution{}, err
	}
	if err := s.executions.Add(ctx, e, key, statement.Token, s.until(&e)); err != nil {
		err = fmt.Errorf("remembering an execution: %w", err)
		if key == "" { // nobody will ask for it; with a key the next try finds it
			err = errors.Join(err, s.abandon(ctx, e.ID))
		}
		return Execution{}, err
	}
	if !e.State.Finished() { // it has where a token was used before
		s.follow(e)
	}
	return e, nil
}

func newToken() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the process rather than return an error
	return hex.EncodeToString(random)
}

// release lets a key be used for a better statement.
func (s *Service) release(ctx context.Context, key string, c Claim) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	if err := s.executions.Release(ctx, key, c); err != nil { // it ends by itself, in a day
		s.cfg.Logger.Warn("an idempotency key is still taken for a statement that was refused", slog.Any("error", err))
	}
}

// abandon stops an execution that nobody knows of.
func (s *Service) abandon(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	return s.engine.Stop(ctx, id)
}

// until is how long an execution is remembered.
func (s *Service) until(e *Execution) time.Time { return e.Submitted.Add(s.cfg.Kept) }

func (s *Service) forgotten(e *Execution) bool { return !s.remembered(e) }

func (s *Service) remembered(e *Execution) bool { return s.cfg.Now().Before(s.until(e)) }

// Get returns an execution as it stands, or ErrNotFound.
func (s *Service) Get(ctx context.Context, id string) (Execution, error) {
	e, f, err := s.find(ctx, id, s.remembered)
	if err != nil || f == nil {
		return e, err
	}
	return s.stands(ctx, f)
}

// stands is current within the time that whoever asks for one execution has.
func (s *Service) stands(ctx context.Context, f *followed) (Execution, error) {
	patience, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return s.current(ctx, patience.Done(), f)
}

// current tells of an execution once the engine was asked, and of its end once that is remembered. When the engine takes too long it
// tells what was known before.
func (s *Service) current(ctx context.Context, tooLong <-chan struct{}, f *followed) (Execution, error) {
	s.mu.Lock()
	known := f.asked
	s.mu.Unlock()
	select {
	case <-known:
	case <-tooLong:
	}
	if ctx.Err() != nil {
		return Execution{}, fmt.Errorf("asking how a query stands: %w", context.Cause(ctx))
	}
	e := s.snapshot(f)
	if !e.State.Finished() {
		return e, nil
	}
	select {
	case <-f.done: // which may be another than was heard of here
		return s.snapshot(f), nil
	case <-ctx.Done():
		return Execution{}, fmt.Errorf("remembering the end of a query: %w", context.Cause(ctx))
	}
}

// Wait returns the execution once it has finished. When ctx ends first it returns the execution as it stands and the
// cause.
func (s *Service) Wait(ctx context.Context, id string) (Execution, error) {
	e, f, err := s.find(ctx, id, s.remembered)
	if err != nil || f == nil {
		return e, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return s.snapshot(f), err
}

// find returns an execution that has finished, or else one that is followed from now on: ErrNotFound also for one that is not wanted.
func (s *Service) find(ctx context.Context, id string, wanted func(*Execution) bool) (Execution, *followed, error) {
	s.mu.Lock()
	f := s.followed[id]
	known := f != nil && f.SQL != ""
	s.mu.Unlock()
	if known {
		return Execution{}, f, nil
	}
	e, err := s.executions.Get(ctx, id)
	switch {
	case err != nil:
		return Execution{}, nil, err
	case !wanted(&e):
		return Execution{}, nil, ErrNotFound
	case e.State.Finished():
		return e, nil, nil
	}
	return Execution{}, s.follow(e), nil
}

// List returns the executions that are remembered, up to so many, those first that were submitted last, with the beginning of their SQL.
func (s *Service) List(ctx context.Context, most int) ([]Execution, error) {
	list, err := s.executions.List(ctx, most)
	if err != nil {
		return nil, fmt.Errorf("listing executions: %w", err)
	}
	list = slices.DeleteFunc(list, func(e Execution) bool { return s.forgotten(&e) })
	open := make([]*followed, len(list))
	for i, e := range list { // all of them, so that they are asked for together
		if !e.State.Finished() {
			e.SQL = "" // there may be more of it
			open[i] = s.follow(e)
		}
	}
	patience, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for i, f := range open {
		if f != nil {
			sql := list[i].SQL
			if list[i], err = s.current(ctx, patience.Done(), f); err != nil {
				return nil, err
			}
			list[i].SQL = sql
		}
		list[i].CutSQL()
	}
	return list, nil
}

// Open gives the result of an execution that succeeded, as CSV, and its size in bytes. The result stays readable until
// it is closed, also when the execution is forgotten meanwhile. ErrNotReady, ErrNoResult, ErrNotFound.
func (s *Service) Open(ctx context.Context, id string) (io.ReadCloser, int64, error) {
	switch e, err := s.Get(ctx, id); {
	case err != nil:
		return nil, 0, err
	case !e.State.Finished():
		return nil, 0, fmt.Errorf("%w: it is %s", ErrNotReady, e.State)
	case e.State != Succeeded:
		return nil, 0, fmt.Errorf("%w: it is %s", ErrNoResult, e.State)
	}
	result, size, err := s.engine.Open(ctx, id)
	if errors.Is(err, ErrNoResult) {
		err = fmt.Errorf("%w: it is not kept any more; run the query again", ErrNoResult)
	}
	return result, size, err
}

// Cancel stops an execution, queued or running, and returns it as it stands: a running one is cancelled a moment later.
// A finished one stays as it is.
func (s *Service) Cancel(ctx context.Context, id string) (Execution, error) {
	_, f, err := s.find(ctx, id, s.remembered)
	if err != nil || f == nil {
		return s.Get(ctx, id)
	}
	if err := s.engine.Stop(ctx, id); err != nil {
		return Execution{}, fmt.Errorf("stopping query %s: %w", id, err)
	}
	s.askAgain(f)
	return s.stands(ctx, f)
}

// Close ends the look-out: watchers are told nothing any more.
func (s *Service) Close() {
	s.stop()
	s.work.Wait()
}

func (s *Service) snapshot(f *followed) Execution {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.Execution
}
