package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

const (
	// askTime bounds one question to the engine, saveTime the saving of one execution.
	askTime  = 10 * time.Second
	saveTime = 5 * time.Second
	// warnTime is between two warnings of an engine that can't be asked.
	warnTime = time.Minute
	// answerTime is how long whoever asks how executions stand waits for the engine.
	answerTime = 2 * time.Second
)

// lost is what a client is told of an execution that its engine does not know any more.
const lost = "the server was restarted while the query ran, or has forgotten it; run it again"

// follow has an execution's end waited for, for everybody in this process who is interested in it.
func (s *Service) follow(e Execution) *followed {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.followed[e.ID]
	if f == nil {
		f = &followed{
			Execution: e, asked: make(chan struct{}), done: make(chan struct{}), watchers: map[*Watcher]struct{}{},
		}
		s.followed[e.ID] = f
		s.rouse()
	}
	if f.SQL == "" {
		f.SQL = e.SQL
	}
	return f
}

// askAgain has the engine asked for an execution at once.
func (s *Service) askAgain(f *followed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if isClosed(f.asked) && !f.State.Finished() {
		f.asked = make(chan struct{})
		s.rouse()
	}
}

// rouse has the look-out ask for those that it was not asked for.
func (s *Service) rouse() {
	select {
	case s.wake <- struct{}{}:
	default: // it will
	}
}

// lookOut asks the engine for all that are followed together: at once for a new one and for one that it says has changed, and for
// all of them now and then, since it may say nothing.
func (s *Service) lookOut() {
	pause := s.cfg.Poll
	next := time.Now().Add(pause)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case id := <-s.engine.Changed():
			s.look(s.life, s.hinted(id))
			continue
		case <-s.wake:
			s.look(s.life, s.ids(func(f *followed) bool { return !isClosed(f.asked) }))
			pause = s.cfg.Poll
			if soon := time.Now().Add(pause); soon.Before(next) { // never later: new ones may come all the time
				next = soon
			}
		case <-timer.C:
			if s.look(s.life, s.ids(func(*followed) bool { return true })) {
				pause = s.cfg.Poll
			} else {
				pause = min(pause+pause/2, s.cfg.MaxPoll)
			}
			for _, id := range s.ids(func(f *followed) bool { return s.forgotten(&f.Execution) }) { // it can't be asked for
				s.missed(id)
			}
			next = time.Now().Add(pause)
		}
		timer.Reset(time.Until(next))
	}
}

// hinted is the id with all others that the engine has told of by now.
func (s *Service) hinted(id string) []string {
	told := map[string]struct{}{id: {}}
	for {
		select {
		case id := <-s.engine.Changed():
			told[id] = struct{}{}
		default:
			return s.ids(func(f *followed) bool { _, is := told[f.ID]; return is })
		}
	}
}

// ids are those of the followed ones that are wanted, and whose end is not known.
func (s *Service) ids(wanted func(*followed) bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, f := range s.followed {
		if !f.State.Finished() && wanted(f) {
			ids = append(ids, id)
		}
	}
	return ids
}

// look asks for these and reports whether anything had changed.
func (s *Service) look(ctx context.Context, ids []string) (changed bool) {
	for some := range slices.Chunk(ids, MaxStatus) {
		known, unknown, err := s.ask(ctx, some)
		if err != nil && ctx.Err() == nil && time.Since(s.warned) >= warnTime {
			s.warned = time.Now()
			s.cfg.Logger.Warn("asking how queries stand failed; it is tried again", slog.Any("error", err))
		}
		for _, e := range known {
			changed = s.heard(e) || changed
		}
		for _, id := range unknown {
			changed = s.missed(id) || changed
		}
		s.asked(some)
	}
	return changed
}

// asked has those told of, as they were known before, of which the engine could not tell.
func (s *Service) asked(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if f := s.followed[id]; f != nil && !f.State.Finished() && !isClosed(f.asked) {
			close(f.asked)
			f.tell()
		}
	}
}

// missed takes it that the engine does not know an execution, and reports whether that is new.
func (s *Service) missed(id string) bool {
	s.mu.Lock()
	f := s.followed[id]
	if f == nil {
		s.mu.Unlock()
		return false
	}
	e := f.Execution
	s.mu.Unlock()
	if now := s.cfg.Now(); now.Sub(e.Submitted) >= s.cfg.Grace {
		e.State, e.Error, e.Ended = Failed, lost, now
	}
	return s.heard(e)
}

func (s *Service) ask(ctx context.Context, ids []string) (known []Execution, unknown []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	known, unknown, err = s.engine.Status(ctx, ids)
	if err != nil {
		err = fmt.Errorf("of %d executions: %w", len(ids), err)
	}
	return known, unknown, err
}

// heard takes what the engine says of an execution, and reports whether that is new.
func (s *Service) heard(e Execution) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.followed[e.ID]
	if f == nil || f.State.Finished() {
		return false
	}
	changed := f.merge(&e)
	first := !isClosed(f.asked)
	if f.State.Finished() {
		s.work.Go(func() { s.finish(f) })
		return true
	}
	if first {
		close(f.asked)
	}
	if changed || first {
		f.tell()
	}
	return changed
}

// merge takes over what an engine knows, which may not be what the execution was started with. Service.mu is held.
func (f *followed) merge(e *Execution) (changed bool) {
	before := f.Execution
	f.State, f.Started, f.Ended, f.Statistics = e.State, e.Started, e.Ended, e.Statistics
	f.ResultBytes, f.Error = e.ResultBytes, e.Error
	if !e.CompleteThrough.IsZero() {
		f.CompleteThrough = e.CompleteThrough
	}
	return f.Execution != before
}

// finish remembers the end of an execution, and only then tells of it: so whoever was told finds the same after a restart, and at any other
// process. If it can't be remembered it is told all the same, and whoever asks later has it asked for and remembered again.
func (s *Service) finish(f *followed) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.life), saveTime)
	defer cancel()
	e := s.snapshot(f)
	held, err := s.executions.Finish(ctx, e)
	if err != nil {
		held = e
		if !errors.Is(err, ErrNotFound) { // it is over, and nobody will ask for it
			s.cfg.Logger.Error("the end of a query was not remembered", slog.String("execution", e.ID), slog.Any("error", err))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	held.SQL = f.SQL
	f.Execution = held
	delete(s.followed, e.ID)
	f.tell()
	if !isClosed(f.asked) {
		close(f.asked)
	}
	close(f.done)
}

// tell tells all watchers. Service.mu is held.
func (f *followed) tell() {
	for w := range f.watchers {
		w.tell(f.Execution)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
