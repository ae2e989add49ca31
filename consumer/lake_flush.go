package consumer

import (
	"context"
	"errors"
	"time"
)

// Run flushes the buffer when it is due, until ctx ends, and then once more.
func (s *LakeSink) Run(ctx context.Context) error {
	// A flush that is under way when ctx ends is not cut off: it and the last one have FinalFlush together.
	flushCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.cfg.FinalFlush, cancel) })()

	for ctx.Err() == nil {
		s.mu.Lock()
		due, byQuery := s.due()
		changed := s.changed
		s.mu.Unlock()
		now := time.Now()
		if !due.IsZero() && !due.After(now) {
			if byQuery {
				s.lastQuery = now
			}
			s.flush(flushCtx)
			continue
		}
		s.sleep(ctx, changed, due)
	}
	s.flush(flushCtx)
	return nil
}

// sleep waits for a change, for the given time if it is not zero, or for the end of ctx.
func (s *LakeSink) sleep(ctx context.Context, changed <-chan struct{}, until time.Time) {
	var alarm <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-changed:
	case <-alarm:
	case <-ctx.Done():
	}
}

// due says when the next flush is due, as things stand; zero when nothing waits. The lock is held.
func (s *LakeSink) due() (at time.Time, byQuery bool) {
	oldest, ok := s.buffer.oldest()
	if !ok {
		return time.Time{}, false
	}
	switch {
	case s.buffer.bytes >= s.cfg.FlushBytes, s.buffer.ending(),
		// Somebody waits for room, and no more rows will come that could fill the flush.
		s.waiting > 0 && s.coming == 0:
		at = oldest
	default:
		at = oldest.Add(s.stretch.of(s.cfg.FlushAge))
		if asked := s.lastQuery.Add(s.cfg.QueryInterval); s.queryReady() && asked.Before(at) {
			at, byQuery = asked, true
		}
	}
	if s.notBefore.After(at) {
		at = s.notBefore
	}
	return at, byQuery
}

// queryReady reports whether a flush now would give a waiting query all it waits for. The lock is held.
func (s *LakeSink) queryReady() bool {
	for tips := range s.queries {
		if s.buffer.delivered(*tips) && !s.buffer.holds(*tips) {
			return true
		}
	}
	return false
}

// flush commits what is buffered. Deliver goes on filling the buffer meanwhile.
func (s *LakeSink) flush(ctx context.Context) {
	started := time.Now()
	s.mu.Lock()
	fl := s.buffer.take(started.UTC().Truncate(time.Microsecond))
	s.flight = fl
	s.mu.Unlock()
	if fl == nil {
		return
	}
	before := s.lake.Overtaken()
	err := s.lake.Append(ctx, fl.rows, fl.moves)
	overtaken := s.lake.Overtaken() - before

	s.mu.Lock()
	defer s.mu.Unlock()
	s.stretch.note(overtaken > 0)
	s.stats.Overtaken += overtaken
	s.flight = nil
	s.release(fl.bytes)
	if err == nil {
		s.landed(fl, time.Since(started))
	} else {
		s.refused(fl, err)
	}
	close(fl.done)
	s.announce()
}

// landed takes note that a flight's rows and offsets are in the table. The lock is held.
func (s *LakeSink) landed(fl *flight, took time.Duration) {
	s.retry.reset()
	s.stats.Flushes++
	s.stats.Rows += uint64(len(fl.rows))
	s.stats.LastFlush = took
	for _, st := range fl.shards {
		st.committed, st.flying, st.flownArrived = st.flown, false, time.Time{}
		s.reach(st.id, st.committed.at.AsOf)
		s.settle(st)
	}
}

// refused drops the flight's shards, also what came after it: after any error only the table knows what it holds, and
// the workers go on from there. The lock is held.
func (s *LakeSink) refused(fl *flight, err error) {
	for _, st := range fl.shards {
		if s.buffer.shards[st.id] == st {
			s.release(s.buffer.forget(st.id))
		}
	}
	wait := s.retry.delay()
	s.notBefore = time.Now().Add(wait)
	if errors.Is(err, ErrFenced) {
		s.stats.Conflicts++
		s.cfg.Log.Info("lake flush refused: another worker was first", "shards", len(fl.shards), "rows", len(fl.rows))
		return
	}
	s.stats.Failures++
	s.cfg.Log.Warn("lake flush failed; its shards are read again from the table's offsets",
		"shards", len(fl.shards), "rows", len(fl.rows), "err", err, "retry_in", wait)
}
