package main

import (
	"log/slog"
	"time"

	"penstock/consumer/query"
)

// executionsKept is how long executions of SQL are remembered, and keys that started them: as long as those of events.
const executionsKept = 24 * time.Hour

// newQueries makes the service that starts executions and tells of them.
func newQueries(engine query.Engine, executions query.Executions, poll, maxPoll, grace time.Duration, logger *slog.Logger) (*query.Service, error) {
	return query.New(query.Config{
		Kept: executionsKept, Poll: poll, MaxPoll: maxPoll, Grace: grace, Now: time.Now, Logger: logger,
	}, engine, executions)
}
