package query

import (
	"context"
	"errors"
	"io"
	"time"
)

var (
	// ErrStatement: the SQL is not one read-only statement, or does not parse or bind; the message says why and where.
	ErrStatement = errors.New("unsuitable SQL")
	// ErrLimit: the result or the run exceeded a limit, which the message names.
	ErrLimit = errors.New("query limit exceeded")
)

// MaxStatus is how many executions an Engine is asked for at a time
// (https://docs.aws.amazon.com/athena/latest/APIReference/API_BatchGetQueryExecution.html).
const MaxStatus = 50

// Statement is what is to be run.
type Statement struct {
	SQL string
	// Parameters are bound to "?" in order, as strings that SQL casts, like Athena's ExecutionParameters.
	Parameters []string
	// Token makes the start idempotent. 64 hexadecimal digits, and so within the 32 to 128 characters that Athena wants
	// (https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html).
	Token string
}

// Engine runs statements in the background: Athena, or a Runner over something that runs them in this process.
type Engine interface {
	// Start checks a statement, refuses all but one read-only one (ErrStatement), and submits it: ErrBusy when too many wait,
	// ErrClosed. A token that was used before starts nothing: the execution that it started is returned.
	Start(ctx context.Context, s Statement) (Execution, error)
	// Status tells how executions stand, MaxStatus of them at most, in any order. Those that it does not know, or no more, are left out.
	Status(ctx context.Context, ids []string) ([]Execution, error)
	// Stop asks an execution to stop, which it does a moment later. One that has ended, or is not known, is left as it is.
	Stop(ctx context.Context, id string) error
	// Open streams the result of an execution that succeeded, and tells its size: CSV in UTF-8 with a header row, every non-NULL
	// value quoted with " doubled, NULL unquoted and empty, rows ended by \n, timestamps as YYYY-MM-DD HH:MM:SS.ffffff UTC.
	// ErrNoResult when it is not kept any more. What was opened stays readable until it is closed.
	Open(ctx context.Context, id string) (io.ReadCloser, int64, error)
	// Changed gives the ids of executions whose state may have changed. It is a hint: some may be missing, or come twice.
	Changed() <-chan string
}

// Executions remember what was started, over restarts and for all processes. Each is kept until the time that is given with it, or
// somewhat longer.
type Executions interface {
	// Add remembers an execution durably, and that its token started it. One that is there already is left as it is.
	Add(ctx context.Context, e Execution, until time.Time) error
	// Save replaces what is remembered of an execution, durably.
	Save(ctx context.Context, e Execution, until time.Time) error
	// Get returns one as it was saved last, or ErrNotFound.
	Get(ctx context.Context, id string) (Execution, error)
	// Started returns the one that a token has started, or ErrNotFound.
	Started(ctx context.Context, token string) (Execution, error)
	// List returns up to so many, those first that were submitted last. Of their SQL they need have no more than ListedSQL characters.
	List(ctx context.Context, most int) ([]Execution, error)
}

// SQL runs statements in this process, each while its caller waits.
type SQL interface {
	// Check parses the SQL and refuses all but one read-only statement (ErrStatement), without running it.
	Check(ctx context.Context, sql string, parameters []string) error
	// Run executes it and writes the result as Engine.Open gives it. ctx cancels it.
	Run(ctx context.Context, sql string, parameters []string, result io.Writer) (Statistics, error)
}

// Statistics of one run.
type Statistics struct {
	Rows         int64
	ScannedBytes int64
	Elapsed      time.Duration
}

// Freshener makes what was acked visible to SQL.
type Freshener interface {
	// Fresh tries, within its own deadline, to have everything acked before the call in the table, and returns the time
	// before which everything received is in it.
	Fresh(ctx context.Context) (completeThrough time.Time, err error)
}
