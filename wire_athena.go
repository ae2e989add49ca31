package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/dustin/go-humanize"

	"penstock/consumer"
	"penstock/infra/aws"
)

const (
	// athenaPoll is how often Athena is asked how queries stand while something changes, athenaMaxPoll how often while nothing does. It
	// answers some 20 such questions a second for the whole account
	// (https://docs.aws.amazon.com/general/latest/gr/athena.html), each of up to 50 queries.
	athenaPoll    = 500 * time.Millisecond
	athenaMaxPoll = 5 * time.Second
	// athenaGrace is how long Athena may say that it does not know an execution which it has started.
	athenaGrace = time.Minute
)

// newAthena is the engine of SQL, which learns from the lake's fleet how fresh the lake is.
func (p *awsParts) newAthena(c *queryFlags, logger *slog.Logger) *aws.Athena {
	reported := consumer.NewReported(p.source, aws.NewLeases(p.clients, p.tables), settle)
	return aws.NewAthena(p.clients, aws.AthenaConfig{
		Workgroup: c.Workgroup, Database: c.Database, Output: c.QueryOutput, MaxResultBytes: int64(c.QueryMaxResult),
		EventsQueue: c.AthenaEventsQueue, Logger: logger,
		CompleteThrough: consumer.NewRecentIndex(reported.CompleteThrough, watermarkLife).Index,
	})
}

// queryProofs are those of what SQL needs.
func (c *checkCmd) queryProofs(p *awsParts) []proof {
	engine := p.newAthena(&c.queryFlags, slog.New(slog.DiscardHandler))
	proofs := []proof{{"Athena workgroup " + c.Workgroup, func(ctx context.Context) (proven, warning string, err error) {
		limit, err := engine.Prove(ctx)
		proven = "a statement was run on " + c.Database + ", and its result read and deleted"
		if limit == 0 {
			return proven, "one statement may scan any amount: give the workgroup a limit of bytes scanned per query", err
		}
		return fmt.Sprintf("%s; one may scan %s", proven, humanize.IBytes(uint64(limit))), "", err
	}}, {"executions in table " + c.StateTable, func(ctx context.Context) (string, string, error) {
		return "can be listed", "", aws.NewExecutions(p.clients, p.tables).Prove(ctx)
	}}}
	if c.AthenaEventsQueue != "" {
		proofs = append(proofs, proof{"queue " + c.AthenaEventsQueue, func(ctx context.Context) (string, string, error) {
			return "can be read, and messages deleted", "", engine.ProveEvents(ctx)
		}})
	}
	return proofs
}
