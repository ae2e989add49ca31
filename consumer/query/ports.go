package query

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrStatement: the SQL is not one read-only statement, or does not parse or bind; the message says why and where.
var ErrStatement = errors.New("unsuitable SQL")

// ErrLimit: the result or the run exceeded a limit, which the message names.
var ErrLimit = errors.New("query limit exceeded")

// Engine runs SQL.
type Engine interface {
	// Check parses the SQL and refuses all but one read-only statement (ErrStatement), without running it.
	Check(ctx context.Context, sql string, parameters []string) error
	// Run executes it and writes the result as CSV: UTF-8, header row, every non-NULL value quoted with " doubled, NULL
	// unquoted and empty, rows ended by \n, timestamps as YYYY-MM-DD HH:MM:SS.ffffff UTC. Parameters are bound to "?"
	// in order, as strings that SQL casts, like Athena's ExecutionParameters. ctx cancels it.
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
