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
	// Token makes the start idempotent, for as long as its answer may be lost: an engine may forget it, or not, after that. A random text of
	// 32 to 128 characters, as Athena wants (https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html).
	Token string
}

// Engine runs statements in the background: Athena, or a Runner over something that runs them in this process.
type Engine interface {
	// Start checks a statement, refuses all but one read-only one (ErrStatement), and submits it: ErrBusy when too many wait,
	// ErrClosed. A token that was used before with this statement starts nothing: the execution that it started is returned.
	Start(ctx context.Context, s Statement) (Execution, error)
	// Status tells how executions stand, MaxStatus of them at most, in any order, and which it does not know, or no more. Those that
	// are in neither could not be asked for at this moment, and err says why.
	Status(ctx context.Context, ids []string) (known []Execution, unknown []string, err error)
	// Stop asks an execution to stop, which it does a moment later. One that has ended, or is not known, is left as it is.
	Stop(ctx context.Context, id string) error
	// Open streams the result of an execution that succeeded, and tells its size: CSV in UTF-8 with a header row, every non-NULL
	// value quoted with " doubled, NULL unquoted and empty, rows ended by \n, timestamps as YYYY-MM-DD HH:MM:SS.ffffff UTC.
	// ErrNoResult when it is not kept any more. What was opened stays readable until it is closed.
	Open(ctx context.Context, id string) (io.ReadCloser, int64, error)
	// Changed gives the ids of executions whose state may have changed. It is a hint: some may be missing, or come twice.
	Changed() <-chan string
}

// Executions remember what was started, over restarts and for all processes. An execution is kept until the time that is given with it, or
// somewhat longer.
type Executions interface {
	// Claim takes an idempotency key for the start of one statement, durably, unless it is taken. It returns the claim that holds. A claim is
	// kept for so long by the store's clock, and no longer, so that no host's clock gives it up.
	Claim(ctx context.Context, key string, c Claim, kept time.Duration) (Claim, error)
	// Release gives a key back, unless its claim is another by now or has an execution.
	Release(ctx context.Context, key string, c Claim) error
	// Add remembers an execution durably. One that is there already is left as it is. A key that is not empty leads to it from then on, if its
	// claim has this token, and its claim is kept as long.
	Add(ctx context.Context, e Execution, key, token string, until time.Time) error
	// Finish remembers how an execution ended, durably, unless that is known already; a CompleteThrough that it has stays if e has none. It
	// returns the end that holds, perhaps without all of its SQL, or ErrNotFound.
	Finish(ctx context.Context, e Execution) (Execution, error)
	// Get returns one as it is remembered, or ErrNotFound.
	Get(ctx context.Context, id string) (Execution, error)
	// List returns up to so many, those first that were submitted last. Of their SQL they need have no more than ListedSQL characters.
	List(ctx context.Context, most int) ([]Execution, error)
}

// Claim is what an idempotency key was taken for.
type Claim struct {
	// Token is the one that the engine gets with the statement, which Fingerprint tells from others.
	Token       string
	Fingerprint Fingerprint
	// ID is of the execution; empty until it is known.
	ID string
}

// SQL runs statements in this process, each while its caller waits.
type SQL interface {
	// Check parses the SQL and refuses all but one read-only statement (ErrStatement), without running it.
	Check(ctx context.Context, sql string, parameters []string) error
	// Run executes it and writes the result as Engine.Open gives it. ctx cancels it.
	Run(ctx context.Context, sql string, parameters []string, result io.Writer) (Statistics, error)
}

// UnknownRows: the engine does not count them.
const UnknownRows = -1

// Statistics of one run.
type Statistics struct {
	// Rows of the result without its header, or UnknownRows.
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
