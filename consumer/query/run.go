package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
)

// run executes e, stores its result and starts the next. It owns one of the slots.
func (r *Runner) run(ctx context.Context, e *entry) {
	ctx, stop := context.WithTimeoutCause(ctx, r.cfg.Timeout, errTimeout)
	defer stop()

	log := r.cfg.Logger.With(slog.String("execution", e.ID))
	completeThrough, err := r.fresh.Fresh(ctx)
	if err != nil && ctx.Err() == nil {
		// The statement still has an answer, from what is in the table; completeThrough says how old that may be.
		log.Warn("query runs on a lake that could not be brought up to date", slog.Any("error", err))
	}
	r.mu.Lock()
	e.CompleteThrough = completeThrough
	r.mu.Unlock()

	statistics, size, err := r.store(ctx, e)
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	if err != nil && !told(err) {
		log.Error("query failed", slog.Any("error", err))
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	e.Statistics = statistics
	if err == nil {
		e.ResultBytes = size
	}
	r.end(e, err)
	r.running--
	r.dispatch()
}

// store runs the statement into the result's file. After an error there is no file.
func (r *Runner) store(ctx context.Context, e *entry) (Statistics, int64, error) {
	if err := ctx.Err(); err != nil {
		return Statistics{}, 0, err
	}
	file, err := r.createResult(e.ID)
	if err != nil {
		return Statistics{}, 0, err
	}
	statistics, err := r.sql.Run(ctx, e.SQL, e.parameters, file)
	return statistics, file.size, file.finish(err)
}

// outcome is the final state and the client's words for what a run ended with.
func (r *Runner) outcome(err error) (State, string) {
	switch {
	case err == nil:
		return Succeeded, ""
	case errors.Is(err, errCancelled):
		return Cancelled, "the query was cancelled"
	case errors.Is(err, ErrClosed):
		return Cancelled, "the server is shutting down"
	case errors.Is(err, errTimeout):
		return Failed, fmt.Sprintf("%v: the query ran for %v, the longest it may", ErrLimit, r.cfg.Timeout)
	case errors.Is(err, errFull), errors.Is(err, syscall.ENOSPC):
		return Failed, "the server has no disk space left for the result"
	case told(err):
		return Failed, err.Error()
	default:
		return Failed, "the query failed inside the server; its log says why, under this execution's id"
	}
}

// told reports whether the error is one whose text is meant for clients.
func told(err error) bool {
	for _, sentinel := range []error{ErrStatement, ErrLimit, ErrClosed, errCancelled, errTimeout} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}
