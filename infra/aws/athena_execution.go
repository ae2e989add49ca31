package aws

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
	"golang.org/x/sync/errgroup"

	"penstock/consumer/query"
)

const (
	// sizesAtOnce is how many results are measured at a time.
	sizesAtOnce = 8
	// maxReason is how much of Athena's reason a client is told, in bytes: it may quote a whole value.
	maxReason = 1000
)

func stateOf(e types.QueryExecution) query.State {
	if e.Status == nil {
		return ""
	}
	return query.State(e.Status.State)
}

// executions are what Athena told, with the sizes of their results. Those of which that can't be had at this moment are left out, with an error.
func (a *Athena) executions(ctx context.Context, told []types.QueryExecution) ([]query.Execution, error) {
	list := make([]query.Execution, len(told))
	errs := make([]error, len(told))
	var group errgroup.Group
	group.SetLimit(sizesAtOnce)
	for i, e := range told {
		list[i] = a.execution(e)
		if list[i].State == query.Succeeded {
			group.Go(func() error {
				errs[i] = a.measure(ctx, &list[i], outputOf(e))
				return nil // the others are told of all the same
			})
		}
	}
	_ = group.Wait() // its errors are in errs
	var sized []query.Execution
	for i, e := range list {
		if errs[i] == nil {
			sized = append(sized, e)
		}
	}
	return sized, errors.Join(errs...)
}

// measure finds the size of a result. One that is gone, or may not be read, has none; one that is too large fails its execution.
func (a *Athena) measure(ctx context.Context, e *query.Execution, location string) error {
	size, err := a.resultSize(ctx, e.ID, location)
	switch {
	case errors.Is(err, query.ErrNoResult):
	case err != nil && (!isFinal(err) || ctx.Err() != nil):
		return fmt.Errorf("the size of the result of query %s: %w", e.ID, err)
	case err != nil: // it will not pass, and the execution has ended all the same
		a.cfg.Logger.Error("a result can't be read; penstock check says more", "execution", e.ID, "error", err)
	case size > a.cfg.MaxResultBytes:
		e.State, e.Error = query.Failed, fmt.Sprintf("%v: the result has %d bytes, and may have %d; select fewer rows or columns",
			query.ErrLimit, size, a.cfg.MaxResultBytes)
	default:
		e.ResultBytes = size
	}
	return nil
}

// execution is what Athena tells of one, without the size of its result. How many rows that has it does not tell.
func (a *Athena) execution(told types.QueryExecution) query.Execution {
	e := query.Execution{ID: sdk.ToString(told.QueryExecutionId), SQL: sdk.ToString(told.Query), State: stateOf(told), Statistics: query.Statistics{Rows: query.UnknownRows}}
	if s := told.Statistics; s != nil {
		e.Statistics.ScannedBytes = sdk.ToInt64(s.DataScannedInBytes)
		e.Statistics.Elapsed = milliseconds(s.EngineExecutionTimeInMillis)
	}
	status := told.Status
	if status == nil {
		return e
	}
	e.Submitted, e.Ended = sdk.ToTime(status.SubmissionDateTime).UTC(), sdk.ToTime(status.CompletionDateTime).UTC()
	// Athena tells how long it waited instead of when it began; what never ran has no running time either.
	if s := told.Statistics; s != nil && e.State != query.Queued && (e.State == query.Running || e.Statistics.Elapsed > 0) {
		e.Started = e.Submitted.Add(milliseconds(s.QueryQueueTimeInMillis))
	}
	if e.State == query.Cancelled && strings.Contains(reasonOf(status), scanLimitWords) {
		e.State = query.Failed // as with every other limit
	}
	if e.State == query.Failed || e.State == query.Cancelled {
		e.Error = a.reason(e, status)
	}
	return e
}

func milliseconds(n *int64) time.Duration { return time.Duration(sdk.ToInt64(n)) * time.Millisecond }

// scanLimitWords are Athena's words for an execution that it cancels because of the workgroup's limit
// (https://docs.aws.amazon.com/athena/latest/ug/workgroups-setting-control-limits-cloudwatch.html).
const scanLimitWords = "Bytes scanned limit"

func reasonOf(status *types.QueryExecutionStatus) string {
	if raw := sdk.ToString(status.StateChangeReason); raw != "" || status.AthenaError == nil {
		return raw
	}
	return sdk.ToString(status.AthenaError.ErrorMessage)
}

// reason is why an execution failed or was cancelled, in words for a client. Where Athena's are not fit for one they go to the log.
func (a *Athena) reason(e query.Execution, status *types.QueryExecutionStatus) string {
	raw := reasonOf(status)
	words := clientWords(raw)
	switch {
	case strings.Contains(raw, scanLimitWords):
		return fmt.Sprintf("%v: the query reads more than one may in this workgroup; have it read fewer days or columns", query.ErrLimit)
	case strings.Contains(raw, "exhausted resources"):
		return fmt.Sprintf("%v: %s", query.ErrLimit, words)
	case e.State == query.Cancelled:
		return "the query was cancelled"
	case words != "":
		return words
	}
	a.cfg.Logger.Error("a query failed for a reason that its client is not told", "execution", e.ID, "reason", raw)
	if status.AthenaError != nil && status.AthenaError.Retryable {
		return "the query failed inside Athena; run it again"
	}
	return "the query failed inside Athena; the server's log says why, under this execution's id"
}

var (
	// accountWords are of what a client has no business to know: who the server is on AWS, and where things lie.
	accountWords = regexp.MustCompile(`(?i)arn:aws|s3[an]?://|amazonaws\.com|\b(AKIA|ASIA)[0-9A-Z]{12,}|insufficient permissions|not authorized to perform`)
	// boilerplate is what Athena puts behind its reasons.
	boilerplate = regexp.MustCompile(`(?s)\.?\s*(This query ran against the|If a data manifest file was generated|Please post the error message).*`)
)

// clientWords are Athena's words as a client may have them; empty if he may not.
func clientWords(raw string) string {
	words := strings.TrimSpace(boilerplate.ReplaceAllString(raw, ""))
	if accountWords.MatchString(words) {
		return ""
	}
	if len(words) > maxReason {
		words = strings.ToValidUTF8(words[:maxReason], "") + "…"
	}
	return words
}
