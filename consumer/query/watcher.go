package query

import (
	"context"
	"slices"
)

// Watcher is told how any number of executions stand: of each the present state, every change, and the end, which is the last. One that
// does not listen misses what was in between, never the newest. It is not told the SQL, which may be long. Its methods are safe for concurrent use.
type Watcher struct {
	s     *Service
	ready chan struct{} // something is in news

	// Guarded by Service.mu:
	watched map[string]*followed // those whose end it has not been told
	news    []Execution          // what it was not given yet: one for each execution, in the order in which they changed
}

// Watcher makes one that watches nothing yet. Close it.
func (s *Service) Watcher() *Watcher {
	return &Watcher{s: s, ready: make(chan struct{}, 1), watched: map[string]*followed{}}
}

// Watch adds an execution: ErrNotFound. One that is watched already is told of once more. The caller bounds how many it watches.
func (w *Watcher) Watch(ctx context.Context, id string) error {
	e, f, err := w.s.find(ctx, id, w.s.remembered)
	if err != nil {
		return err
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	switch {
	case f == nil:
		w.tell(e)
	case isClosed(f.done): // between the two looks
		w.tell(f.Execution)
	default:
		f.watchers[w] = struct{}{}
		w.watched[id] = f
		if isClosed(f.asked) && !f.State.Finished() { // else it will be told
			w.tell(f.Execution)
		}
	}
	return nil
}

// Unwatch ends the interest in an execution: nothing is told of it any more.
func (w *Watcher) Unwatch(id string) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.unwatch(id)
	w.news = slices.DeleteFunc(w.news, func(e Execution) bool { return e.ID == id })
}

func (w *Watcher) unwatch(id string) {
	if f := w.watched[id]; f != nil {
		delete(f.watchers, w)
		delete(w.watched, id)
	}
}

// Ready gives a value when something may be there to take.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Take returns what is new next, if anything is.
func (w *Watcher) Take() (Execution, bool) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if len(w.news) == 0 {
		return Execution{}, false
	}
	e := w.news[0]
	w.news = slices.Delete(w.news, 0, 1)
	return e, true
}

// tell notes what is new of an execution in the place of what was not given yet. Service.mu is held.
func (w *Watcher) tell(e Execution) {
	e.SQL = ""
	if e.State.Finished() {
		w.unwatch(e.ID)
	}
	if i := slices.IndexFunc(w.news, func(old Execution) bool { return old.ID == e.ID }); i >= 0 {
		w.news[i] = e
	} else {
		w.news = append(w.news, e)
	}
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// Close ends all interest.
func (w *Watcher) Close() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for _, f := range w.watched {
		delete(f.watchers, w)
	}
	w.watched, w.news = nil, nil
}
