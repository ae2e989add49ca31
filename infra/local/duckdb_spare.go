package local

import "sync"

// emptyDB is a database that nothing has been done with yet.
type emptyDB struct {
	conn   *duckdbConn
	limits sessionLimits // but for temp, which depends on when it is used
}

// spare keeps one empty database ready for the next run: to open one takes 10 ms, which is longer than many a query runs.
// It holds no data, and no memory to speak of. Its methods but close are safe for concurrent use.
type spare struct {
	open func() (*emptyDB, error)

	opening sync.WaitGroup
	mu      sync.Mutex
	busy    bool // somebody opens one
	ready   *emptyDB
}

// take gives the caller a database of its own: the spare one, or a new one when runs come faster than spares.
func (s *spare) take() (*emptyDB, error) {
	s.mu.Lock()
	db := s.ready
	s.ready = nil
	s.mu.Unlock()
	if db != nil {
		return db, nil
	}
	return s.open()
}

// refill opens a spare in the background, if there is none. One that can't be opened is not missed: the next run tries by
// itself, and tells.
func (s *spare) refill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy || s.ready != nil {
		return
	}
	s.busy = true
	s.opening.Go(func() {
		db, err := s.open()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.busy = false; err == nil {
			s.ready = db
		}
	})
}

// close waits for a spare that is being opened, and frees it. No other method may run any more.
func (s *spare) close() {
	s.opening.Wait()
	if s.ready != nil {
		s.ready.conn.close()
	}
}
