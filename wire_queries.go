package main

import (
	"log/slog"
	"time"

	"penstock/consumer/query"
)

const (
	// executionsKept is how long executions of SQL are remembered, and keys that started them: as long as those of events.
	executionsKept = 24 * time.Hour
	// maxWatches is how many executions one WebSocket may watch.
	maxWatches = 256
)

// newQueries makes the service that starts executions and tells of them.
func newQueries(engine query.Engine, executions query.Executions, poll, maxPoll time.Duration, logger *slog.Logger) (*query.Service, error) {
	return query.New(query.Config{
		Kept: executionsKept, Poll: poll, MaxPoll: maxPoll, MaxWatches: maxWatches, Now: time.Now, Logger: logger,
	}, engine, executions)
}
