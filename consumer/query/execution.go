package query

import (
	"context"
	"errors"
	"time"
)

// State is where an execution stands, in Athena's words
// (https://docs.aws.amazon.com/athena/latest/APIReference/API_QueryExecutionStatus.html).
type State string

// The states. An execution goes from Queued over Running to one of the others, or straight from Queued to Cancelled.
const (
	Queued    State = "QUEUED"
	Running   State = "RUNNING"
	Succeeded State = "SUCCEEDED"
	Failed    State = "FAILED"
	Cancelled State = "CANCELLED"
)

// Finished reports whether the state is final.
func (s State) Finished() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Execution is one statement on its way, as it stood at one moment.
type Execution struct {
	// ID is a UUID.
	ID    string
	SQL   string
	State State
	// Submitted, Started and Ended are when it entered Queued, Running and its final state; zero before that. An
	// execution that was cancelled in the queue has no Started.
	Submitted, Started, Ended time.Time
	// Statistics are complete once the state is final.
	Statistics Statistics
	// ResultBytes is the size of the result in bytes, set with Succeeded.
	ResultBytes int64
	// CompleteThrough: everything received before it was visible to the statement. Zero until Running, and when unknown.
	CompleteThrough time.Time
	// Error says, in words for a client, why the state is Failed or Cancelled.
	Error string
}

// Errors of a Service.
var (
	// ErrBusy: as many executions are waiting as may. Worth another try.
	ErrBusy = errors.New("too many queries are waiting")
	// ErrNotFound: no execution has this id (any more).
	ErrNotFound = errors.New("no such query execution")
	// ErrNotReady: the execution has not finished yet.
	ErrNotReady = errors.New("the query has not finished")
	// ErrNoResult: the execution failed or was cancelled.
	ErrNoResult = errors.New("the query has no result")
	// ErrClosed: the service is shutting down.
	ErrClosed = errors.New("the query service is shutting down")
)

// Why a run's context ended.
var (
	errCancelled = errors.New("cancelled")
	errTimeout   = errors.New("time limit reached")
)

// entry is an execution with what is needed to run it. Everything but done and the constants is guarded by Service.mu.
type entry struct {
	Execution
	parameters []string
	cancel     context.CancelCauseFunc // of its run; nil while it is not running
	done       chan struct{}           // closed when the state is final
}
