package query

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// State is where an execution stands, in Athena's words
// (https://docs.aws.amazon.com/athena/latest/APIReference/API_QueryExecutionStatus.html).
type State string

// The states. An execution goes from Queued over Running, and perhaps back, to one of the others, or straight from Queued.
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
	// CompleteThrough: everything received before it was visible to the statement. Zero when it is not known, or not yet.
	CompleteThrough time.Time
	// Error says, in words for a client, why the state is Failed or Cancelled.
	Error string
}

// ListedSQL is how many characters of its SQL a list has of an execution.
const ListedSQL = 1000

// CutSQL leaves the first ListedSQL characters of the SQL, and keeps nothing of the rest in memory.
func (e *Execution) CutSQL() {
	n := ListedSQL
	for i := range e.SQL {
		if n--; n < 0 {
			e.SQL = strings.Clone(e.SQL[:i])
			return
		}
	}
}

// Fingerprint tells statements apart.
type Fingerprint [sha256.Size]byte

// Fingerprint of the SQL and its parameters.
func (s *Statement) Fingerprint() Fingerprint {
	h := sha256.New()
	for _, text := range append([]string{s.SQL}, s.Parameters...) {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text)))) // a hash takes everything
		_, _ = h.Write([]byte(text))
	}
	return Fingerprint(h.Sum(nil))
}

// Errors of a Service and of an Engine.
var (
	// ErrBusy: as many executions are waiting as may. Worth another try.
	ErrBusy = errors.New("too many queries are waiting")
	// ErrKeyReused: the key has started another statement.
	ErrKeyReused = errors.New("the idempotency key has started another query")
	// ErrNotFound: no execution has this id (any more).
	ErrNotFound = errors.New("no such query execution")
	// ErrNotReady: the execution has not finished yet.
	ErrNotReady = errors.New("the query has not finished")
	// ErrNoResult: the execution failed or was cancelled, or its result is not kept any more.
	ErrNoResult = errors.New("the query has no result")
	// ErrClosed: the service is shutting down.
	ErrClosed = errors.New("the query service is shutting down")
)
