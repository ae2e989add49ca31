package aws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"penstock/consumer/query"
	"penstock/ingest"
)

const (
	// catalog is that of Glue's databases.
	catalog = "AwsDataCatalog"
	// throughTime is how long a statement waits to learn how fresh the lake is.
	throughTime = 2 * time.Second
	// hints wait in Changed at most.
	hints = 1024
)

// AthenaConfig says where statements run. All fields but EventsQueue are required.
type AthenaConfig struct {
	// Workgroup is the one that statements are started in, which limits what one may scan.
	Workgroup string
	// Database is the one of Glue in which a table without a database is looked for.
	Database string
	// Output is where results go, "s3://bucket/prefix/", unless the workgroup enforces a place of its own.
	Output string
	// MaxResultBytes is the largest result: an execution with a larger one counts as failed.
	MaxResultBytes int64
	// EventsQueue is the URL of an SQS queue to which EventBridge delivers "Athena Query State Change" events; empty for none.
	EventsQueue string
	// CompleteThrough tells before which time everything that was received is in the table; zero while it is not known.
	CompleteThrough func(ctx context.Context) (time.Time, error)
	// Logger gets what clients are not told.
	Logger *slog.Logger
}

// Athena runs statements in Amazon Athena. Its methods are safe for concurrent use.
//
// Every call may be repeated by the SDK: a start carries a token, and all others change nothing that was not so before.
type Athena struct {
	cfg     AthenaConfig
	client  *athena.Client
	s3      *s3.Client
	queue   *sqs.Client
	changed chan string
}

var _ query.Engine = (*Athena)(nil)

// NewAthena makes the engine. It talks to nobody yet.
func NewAthena(c Clients, cfg AthenaConfig) *Athena {
	return &Athena{cfg: cfg, client: c.Athena, s3: c.S3, queue: c.SQS, changed: make(chan string, hints)}
}

// Start implements query.Engine. What was received before CompleteThrough was in the table before Athena was asked. It is zero for
// an execution that the token had started earlier, and so when the table held less; Athena's times tell, to about a second.
//
// An error that Athena has for a statement that it did parse, such as an unknown column, comes with the state FAILED.
func (a *Athena) Start(ctx context.Context, s query.Statement) (query.Execution, error) {
	sql, err := readOnly(s.SQL)
	if err != nil {
		return query.Execution{}, err
	}
	parameters, err := literals(s.Parameters)
	if err != nil {
		return query.Execution{}, err
	}
	through := a.completeThrough(ctx)
	began := time.Now()
	id, err := a.start(ctx, sql, parameters, s.Token)
	if err != nil {
		return query.Execution{}, err
	}
	e, asked, err := a.stands(ctx, id)
	switch {
	case err != nil:
		// It is started all the same, and whoever asks for its state soon gets it, or this error again.
		a.cfg.Logger.Warn("a query was started, but how it stands is not known", "execution", id, "error", err)
		e = query.Execution{ID: id, State: query.Queued, Submitted: began.UTC(), Statistics: query.Statistics{Rows: query.UnknownRows}}
	case !e.Submitted.Before(asked.Add(-time.Since(began))):
		e.CompleteThrough = through
	}
	e.SQL = s.SQL
	return e, nil
}

// stands is how an execution stands, and when that was asked, as by get.
func (a *Athena) stands(ctx context.Context, id string) (query.Execution, time.Time, error) {
	told, asked, err := a.get(ctx, id)
	if err != nil {
		return query.Execution{}, asked, err
	}
	list, err := a.executions(ctx, []types.QueryExecution{told})
	if err != nil {
		return query.Execution{}, asked, err
	}
	return list[0], asked, nil
}

func (a *Athena) completeThrough(ctx context.Context) time.Time {
	ctx, cancel := context.WithTimeout(ctx, throughTime)
	defer cancel()
	through, err := a.cfg.CompleteThrough(ctx)
	if err != nil {
		// The statement has its answer without.
		a.cfg.Logger.Warn("a query is started without knowing how fresh the lake is", "error", err)
	}
	return through
}

func (a *Athena) start(ctx context.Context, sql string, parameters []string, token string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := a.client.StartQueryExecution(ctx, &athena.StartQueryExecutionInput{
		QueryString: sdk.String(sql), ExecutionParameters: parameters, ClientRequestToken: sdk.String(token),
		WorkGroup:             sdk.String(a.cfg.Workgroup),
		QueryExecutionContext: &types.QueryExecutionContext{Catalog: sdk.String(catalog), Database: sdk.String(a.cfg.Database)},
		ResultConfiguration:   &types.ResultConfiguration{OutputLocation: sdk.String(a.cfg.Output)},
	})
	if err != nil {
		return "", a.startError(err)
	}
	return sdk.ToString(out.QueryExecutionId), nil
}

// aboutSetup are words of Athena's about a start that no other SQL would mend.
var aboutSetup = regexp.MustCompile(`(?i)work ?group|output ?location|output bucket|data ?catalog`)

// startError tells the client's errors from the operator's. Athena has one for both
// (https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html).
func (a *Athena) startError(err error) error {
	var invalid *types.InvalidRequestException
	var busy *types.TooManyRequestsException
	switch {
	case errors.As(err, &invalid):
		switch message := clientWords(sdk.ToString(invalid.Message)); {
		case strings.Contains(message, "Idempotent parameters do not match"):
			return query.ErrKeyReused
		case message != "" && !aboutSetup.MatchString(message):
			return refuseSQL("%s", message)
		}
	case errors.As(err, &busy), errors.Is(outcome(err), ingest.ErrThrottled):
		return fmt.Errorf("%w: %w", query.ErrBusy, err)
	}
	return fmt.Errorf("starting a query: %w", a.advised(err, "athena:StartQueryExecution"))
}

func (a *Athena) advised(err error, action string) error {
	return fmt.Errorf("workgroup %s: %w", a.cfg.Workgroup, advised(err, a.client.Options().Region, action))
}

// errUnknown: Athena knows no such execution.
var errUnknown = errors.New("no such execution")

// notFound are Athena's words for that. It has the same code for all that is wrong with a request.
var notFound = regexp.MustCompile(`(?i)not found|does not exist`)

// get asks for one execution: errUnknown. asked is when it was answered, by Athena's clock to the second, never later.
func (a *Athena) get(ctx context.Context, id string) (e types.QueryExecution, asked time.Time, err error) {
	if !executionID.MatchString(id) {
		return e, asked, errUnknown
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := a.client.GetQueryExecution(ctx, &athena.GetQueryExecutionInput{QueryExecutionId: sdk.String(id)})
	var invalid *types.InvalidRequestException
	switch {
	case errors.As(err, &invalid) && notFound.MatchString(sdk.ToString(invalid.Message)):
		return e, asked, fmt.Errorf("%w: %w", errUnknown, err)
	case err != nil:
		return e, asked, fmt.Errorf("asking for query %s: %w", id, a.advised(err, "athena:GetQueryExecution"))
	case out.QueryExecution == nil:
		return e, asked, fmt.Errorf("asking for query %s: Athena says nothing of it", id)
	}
	asked, _ = awsmiddleware.GetServerTime(out.ResultMetadata) // without a Date the time is zero: nothing was submitted before that
	return *out.QueryExecution, asked, nil
}

// executionID is the form of Athena's ids: UUIDs.
var executionID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Status implements query.Engine, by one BatchGetQueryExecution. Those of which that does not tell are asked for one by one, so that none
// spoils the answer for others; not any more, though, when Athena asks for a pause. The size of a result that is there it asks S3 for.
func (a *Athena) Status(ctx context.Context, ids []string) (known []query.Execution, unknown []string, err error) {
	if len(ids) > query.MaxStatus {
		return nil, nil, fmt.Errorf("asking for %d queries: at most %d at a time", len(ids), query.MaxStatus)
	}
	var asked []string // what can't be an id would spoil the question
	for _, id := range ids {
		if executionID.MatchString(id) {
			asked = append(asked, id)
		} else {
			unknown = append(unknown, id)
		}
	}
	if len(asked) == 0 {
		return nil, unknown, nil
	}
	told, err := a.batch(ctx, asked)
	if err != nil {
		err = fmt.Errorf("asking for %d queries: %w", len(asked), a.advised(err, "athena:BatchGetQueryExecution"))
		if !isFinal(err) {
			return nil, unknown, err
		}
	}
	told, more, singlyErr := a.singly(ctx, asked, told)
	known, sizesErr := a.executions(ctx, told)
	return known, append(unknown, more...), errors.Join(err, singlyErr, sizesErr)
}

// singly adds those of the ids of which Athena has not told. err is about the first of which nobody knows how it stands.
func (a *Athena) singly(ctx context.Context, ids []string, told []types.QueryExecution) (_ []types.QueryExecution, unknown []string, err error) {
	for _, id := range ids {
		if slices.ContainsFunc(told, func(e types.QueryExecution) bool { return sdk.ToString(e.QueryExecutionId) == id }) {
			continue
		}
		e, _, getErr := a.get(ctx, id)
		switch {
		case getErr == nil:
			told = append(told, e)
		case errors.Is(getErr, errUnknown):
			unknown = append(unknown, id)
		case !isFinal(getErr):
			return told, unknown, errors.Join(err, getErr)
		case err == nil:
			err = getErr
		}
	}
	return told, unknown, err
}

// isFinal reports whether an error is an answer, and one that would be the same soon after.
func isFinal(err error) bool {
	err = outcome(err)
	return statusOf(err) != 0 && !errors.Is(err, ingest.ErrThrottled) && !errors.Is(err, ingest.ErrAmbiguous)
}

// batch tells of those of which it can. What its codes for the others mean is written nowhere.
func (a *Athena) batch(ctx context.Context, ids []string) ([]types.QueryExecution, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := a.client.BatchGetQueryExecution(ctx, &athena.BatchGetQueryExecutionInput{QueryExecutionIds: ids})
	if err != nil {
		return nil, err
	}
	return out.QueryExecutions, nil
}

// Stop implements query.Engine.
func (a *Athena) Stop(ctx context.Context, id string) error {
	if !executionID.MatchString(id) {
		return nil
	}
	return a.stop(ctx, id)
}

func (a *Athena) stop(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := a.client.StopQueryExecution(ctx, &athena.StopQueryExecutionInput{QueryExecutionId: sdk.String(id)})
	var invalid *types.InvalidRequestException
	if err != nil && !errors.As(err, &invalid) { // it has ended, or is not known
		return fmt.Errorf("stopping query %s: %w", id, a.advised(err, "athena:StopQueryExecution"))
	}
	return nil
}

// Changed implements query.Engine. Where no queue is configured it never tells anything; else Listen must run.
func (a *Athena) Changed() <-chan string { return a.changed }
