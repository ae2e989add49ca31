package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// grace is how long requests under way may go on after the run was stopped: the server answers within 2 s.
const grace = 3 * time.Second

// Sender posts files, directories and NDJSON. It holds at most Concurrency request bodies (each at most 10 MiB, batches at
// most 4 MiB) and one line of its input at a time.
type Sender struct {
	Client     *Client
	Attributes Attributes
	// Split sends the elements of a file's top-level array as events of their own.
	Split bool
	// Concurrency is the number of requests at once; at least 1.
	Concurrency int
	// Retry is for each request.
	Retry Retry
	// Stdin is read for the path "-".
	Stdin io.Reader
}

// Outcome is what became of one request, or of one event that was not sent at all (Tries is 0).
type Outcome struct {
	Delivery
	Path string
	// Origins belong to the Receipts, one by one.
	Origins []Origin
	// Consumed is how many bytes of the input, as stored, this takes the run forward.
	Consumed int64
}

// StoppedError: not everything was read, or not even tried.
type StoppedError struct {
	// Path and Position are of the first event that was not tried.
	Path     string
	Position int
	Err      error
}

func (e *StoppedError) Error() string {
	return fmt.Sprintf("stopped before %s: %v", Place(e.Path, e.Position), e.Err)
}

func (e *StoppedError) Unwrap() error { return e.Err }

// Place writes where an event came from.
func Place(path string, position int) string {
	if position == Whole {
		return path
	}
	return fmt.Sprintf("%s:%d", path, position)
}

// flight is a unit under way.
type flight struct {
	outcome Outcome
	landed  chan struct{}
}

// Send sends everything the paths hold and calls report with every outcome, in the order of the input, from the calling
// goroutine. What was refused or not confirmed stands in the outcomes. When ctx ends, or the server is not to be had, it
// reads no further, waits a moment for the requests under way, and returns why: a *StoppedError when something was left.
func (s *Sender) Send(ctx context.Context, paths []string, report func(Outcome)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	hard, abort := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	defer background.Wait()
	defer abort()
	background.Go(func() {
		select {
		case <-ctx.Done():
			sleep(hard, grace)
			abort()
		case <-hard.Done():
		}
	})

	// Outcomes are reported in order, so a slow one holds up those behind it; the channel bounds how many.
	order := make(chan *flight, 8*s.Concurrency)
	f := &feed{ctx: ctx, slots: make(chan struct{}, s.Concurrency), attributes: s.Attributes, split: s.Split}
	f.emit = func(u unit) error {
		fl := &flight{
			outcome: Outcome{Path: u.path, Origins: u.origins, Consumed: u.consumed},
			landed:  make(chan struct{}),
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		select {
		case order <- fl:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if u.refused == nil {
			background.Go(func() { s.fly(ctx, hard, fl, u.Submission, f.give, stop) })
			return nil
		}
		fl.outcome.Receipts = []Receipt{{Err: u.refused}}
		close(fl.landed)
		return nil
	}
	var readErr error
	background.Go(func() {
		defer close(order)
		readErr = f.run(paths, s.Stdin)
	})
	var gaveUp error
	for fl := range order {
		<-fl.landed
		if gaveUp == nil && hopeless(fl.outcome.Err) {
			gaveUp = fl.outcome.Err
		}
		report(fl.outcome)
	}
	if readErr != nil {
		return &StoppedError{Path: f.path, Position: f.next, Err: readErr}
	}
	return gaveUp
}

// fly delivers one unit, and gives its slot back as soon as its bytes are no longer needed.
func (s *Sender) fly(ctx, hard context.Context, fl *flight, unit Submission, give func(), stop context.CancelCauseFunc) {
	defer close(fl.landed)
	fl.outcome.Delivery = s.Client.Deliver(ctx, hard, unit, s.Retry)
	give()
	fl.outcome.localise()
	if err := fl.outcome.Err; hopeless(err) {
		stop(err)
	}
}

// localise makes the offsets of problems, which the server counts in the batch that it got, offsets in the event.
func (o *Outcome) localise() {
	start := int64(0)
	for i, r := range o.Receipts {
		var problem *Problem
		if errors.As(r.Err, &problem) && problem.Line > 0 && problem.Offset != nil && *problem.Offset >= start {
			own, offset := *problem, *problem.Offset-start
			prefix := fmt.Sprintf("Line %d, byte %d of the body: ", problem.Line, *problem.Offset)
			own.Detail = strings.TrimPrefix(own.Detail, prefix)
			own.Line, own.Offset = 0, &offset
			o.Receipts[i].Err = &own
		}
		start += int64(o.Origins[i].Size) + 1
	}
}

// hopeless reports whether the requests that follow would fare no better: the server is not there, not Penstock, does not
// know the key, or has been refusing for as long as patience lasted.
func hopeless(err error) bool {
	if err == nil {
		return false
	}
	var problem *Problem
	if !errors.As(err, &problem) || problem.Transient() {
		return true
	}
	switch problem.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return problem.Status < 400
}
