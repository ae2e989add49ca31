package athenatest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"penstock/consumer/query"
	"penstock/schemas"
)

// Athena's limits (https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html, and service-limits.html of the
// user guide).
const (
	minToken, maxToken = 32, 128
	maxParameter       = 1024
	maxBatch           = 50
)

// execution is one statement. It is guarded by Server.mu, but for what is fixed at its start.
type execution struct {
	id         string
	in         input
	kind       string // DML, DDL or UTILITY
	parameters []string
	stop       context.CancelFunc

	state     query.State
	reason    string
	category  int // of the error: 1 the system's, 2 the user's
	submitted time.Time
	began     time.Time // of the run that counts
	completed time.Time
	scanned   int64
	columns   []string
	sequence  int // of the last event
}

// start is StartQueryExecution.
func (s *Server) start(in input) (any, error) {
	parameters, err := s.accept(in)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.tokens[in.ClientRequestToken]; e != nil {
		if !reflect.DeepEqual(e.in, in) {
			return nil, invalid("INVALID_INPUT", "Idempotent parameters do not match")
		}
		return map[string]any{"QueryExecutionId": e.id}, nil
	}
	active := 0
	for _, e := range s.executions {
		if !e.state.Finished() {
			active++
		}
	}
	if active >= s.cfg.Active {
		return nil, &fault{
			Type: "TooManyRequestsException", Message: "You have exceeded the limit for the number of queries you can run concurrently.",
			Reason: "CONCURRENT_QUERY_LIMIT_EXCEEDED",
		}
	}
	ctx, cancel := context.WithCancel(s.life)
	e := &execution{id: uuid.NewString(), in: in, kind: kindOf(in.QueryString), parameters: parameters, stop: cancel, submitted: now()}
	s.executions[e.id], s.tokens[in.ClientRequestToken] = e, e
	s.move(e, query.Queued)
	s.work.Go(func() {
		defer cancel()
		s.run(ctx, e)
	})
	return map[string]any{"QueryExecutionId": e.id}, nil
}

// now is a time as Athena tells it, in milliseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// accept checks all that Athena checks before it queues a statement, and reads the parameters.
func (s *Server) accept(in input) (parameters []string, err error) {
	s.mu.Lock()
	disabled := s.disabled
	s.mu.Unlock()
	switch n := len(in.ClientRequestToken); {
	case n < minToken || n > maxToken:
		return nil, &fault{Type: "ValidationException", Message: fmt.Sprintf("clientRequestToken has %d characters, want %d to %d", n, minToken, maxToken)}
	case len(in.QueryString) == 0 || len(in.QueryString) > schemas.MaxSQL:
		return nil, &fault{Type: "ValidationException", Message: fmt.Sprintf("queryString has %d bytes", len(in.QueryString))}
	case in.WorkGroup != s.cfg.Workgroup:
		return nil, invalid("INVALID_INPUT", "WorkGroup %s is not found.", in.WorkGroup)
	case disabled:
		return nil, invalid("INVALID_INPUT", "WorkGroup %s is disabled.", in.WorkGroup)
	case !strings.HasPrefix(in.ResultConfiguration.OutputLocation, "s3://"):
		return nil, invalid("INVALID_INPUT", "No output location provided. An output location is required either through the Workgroup result configuration setting or as an API input.")
	case in.ExecutionParameters != nil && len(in.ExecutionParameters) == 0:
		return nil, &fault{Type: "ValidationException", Message: "executionParameters has no members"}
	}
	for _, p := range in.ExecutionParameters {
		if n := len([]rune(p)); n < 1 || n > maxParameter {
			return nil, &fault{Type: "ValidationException", Message: fmt.Sprintf("an execution parameter has %d characters", n)}
		}
		text, err := literal(p)
		if err != nil {
			return nil, err
		}
		parameters = append(parameters, text)
	}
	return parameters, s.parse(in.QueryString, parameters)
}

// literal is the value of a parameter. Athena takes any expression; here it is a text in quotes or a number.
func literal(p string) (string, error) {
	if _, err := strconv.ParseFloat(p, 64); err == nil {
		return p, nil
	}
	inner, opens := strings.CutPrefix(p, "'")
	inner, closes := strings.CutSuffix(inner, "'")
	if !opens || !closes || strings.Contains(strings.ReplaceAll(inner, "''", ""), "'") {
		return "", invalid("MALFORMED_QUERY", "line 1:1: mismatched input %q in an execution parameter", p)
	}
	return strings.ReplaceAll(inner, "''", "'"), nil
}

// parse refuses what can't be parsed, and queues what fails only when names and types are looked at, as Athena does.
func (s *Server) parse(sql string, parameters []string) error {
	err := s.cfg.SQL.Check(s.life, sql, parameters)
	if err == nil || !errors.Is(err, query.ErrStatement) {
		return err
	}
	message := strings.TrimPrefix(err.Error(), query.ErrStatement.Error()+": ")
	if isSyntax(message) {
		return invalid("MALFORMED_QUERY", "%s", message)
	}
	return nil // the run says so
}

// isSyntax goes by the words of what runs the SQL here.
func isSyntax(message string) bool {
	return slices.ContainsFunc([]string{"syntax error", "not allowed", "statements; send one", "no statement", "parser"}, func(words string) bool {
		return strings.Contains(strings.ToLower(message), words)
	})
}

func kindOf(sql string) string {
	first, _, _ := strings.Cut(strings.TrimLeft(strings.ToLower(sql), " \r\n\t("), " ")
	switch strings.TrimSpace(first) {
	case "show", "describe", "explain":
		return "UTILITY"
	default:
		return "DML"
	}
}

// move takes an execution to a state, and tells of it. s.mu is held.
func (s *Server) move(e *execution, to query.State) {
	from := e.state
	e.state = to
	if to.Finished() {
		e.completed = now()
	}
	if s.cfg.Event == nil {
		return
	}
	event, err := json.Marshal(map[string]any{
		"version": "0", "id": uuid.NewString(), "detail-type": "Athena Query State Change", "source": "aws.athena",
		"account": "123456789012", "time": now().Format(time.RFC3339), "region": "us-east-1", "resources": []string{},
		"detail": map[string]string{
			"versionId": "0", "currentState": string(to), "previousState": string(from), "statementType": e.kind,
			"queryExecutionId": e.id, "workgroupName": e.in.WorkGroup, "sequenceNumber": strconv.Itoa(e.sequence),
		},
	})
	e.sequence++
	if err == nil { // it is made of texts and can't fail
		s.cfg.Event(event)
	}
}

// run takes an execution through its states to its end.
func (s *Server) run(ctx context.Context, e *execution) {
	for relapse := 0; ; relapse++ {
		if !wait(ctx, s.cfg.Delay) || !s.enter(ctx) {
			break
		}
		s.mu.Lock()
		e.began = now()
		s.move(e, query.Running)
		s.mu.Unlock()
		if wait(ctx, s.cfg.Delay) && relapse < s.cfg.Relapses {
			<-s.slots
			s.mu.Lock()
			s.move(e, query.Queued)
			s.mu.Unlock()
			continue
		}
		err := s.execute(ctx, e)
		<-s.slots
		s.end(ctx, e, err)
		return
	}
	s.end(ctx, e, context.Canceled)
}

func (s *Server) enter(ctx context.Context) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func (s *Server) end(ctx context.Context, e *execution, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		e.reason = "Query cancelled by user"
		s.move(e, query.Cancelled)
	case err == nil:
		s.move(e, query.Succeeded)
	case errors.Is(err, errScanLimit):
		e.reason = "Bytes scanned limit was exceeded"
		s.move(e, query.Cancelled)
	default:
		e.reason, e.category = strings.TrimPrefix(err.Error(), query.ErrStatement.Error()+": "), 2
		if !errors.Is(err, query.ErrStatement) && !errors.Is(err, query.ErrLimit) {
			e.category = 1
		}
		s.move(e, query.Failed)
	}
}

// find returns an execution. s.mu is held.
func (s *Server) find(id string) (*execution, error) {
	e := s.executions[id]
	if e == nil {
		return nil, invalid("INVALID_INPUT", "QueryExecution %s was not found", id)
	}
	return e, nil
}

// stop is StopQueryExecution.
func (s *Server) stop(id string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(id)
	if err != nil {
		return nil, err
	}
	e.stop()
	return struct{}{}, nil
}

// get is GetQueryExecution.
func (s *Server) get(id string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return map[string]any{"QueryExecution": e.show()}, nil
}

// batch is BatchGetQueryExecution.
func (s *Server) batch(ids []string) (any, error) {
	if len(ids) < 1 || len(ids) > maxBatch {
		return nil, invalid("INVALID_INPUT", "queryExecutionIds has %d members, want 1 to %d", len(ids), maxBatch)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, not := []any{}, []any{}
	for _, id := range ids {
		e, err := s.find(id)
		var f *fault
		switch troubles := s.troubles[id]; {
		case len(troubles) > 0:
			s.troubles[id] = troubles[1:]
			not = append(not, map[string]string{"QueryExecutionId": id, "ErrorCode": troubles[0].code, "ErrorMessage": troubles[0].message})
		case errors.As(err, &f):
			not = append(not, map[string]string{"QueryExecutionId": id, "ErrorCode": f.Code, "ErrorMessage": f.Message})
		default:
			found = append(found, e.show())
		}
	}
	return map[string]any{"QueryExecutions": found, "UnprocessedQueryExecutionIds": not}, nil
}

// show is an execution as Athena tells of it. Server.mu is held.
func (e *execution) show() any {
	status := map[string]any{"State": e.state, "SubmissionDateTime": seconds(e.submitted)}
	statistics := map[string]any{}
	if e.reason != "" {
		status["StateChangeReason"] = e.reason
	}
	if e.state == query.Failed {
		status["AthenaError"] = map[string]any{"ErrorCategory": e.category, "ErrorMessage": e.reason, "Retryable": e.category == 1}
	}
	if e.state.Finished() {
		status["CompletionDateTime"] = seconds(e.completed)
		statistics["TotalExecutionTimeInMillis"] = e.completed.Sub(e.submitted).Milliseconds()
	}
	if !e.began.IsZero() {
		until := e.completed
		if !e.state.Finished() {
			until = now()
		}
		statistics["QueryQueueTimeInMillis"] = e.began.Sub(e.submitted).Milliseconds()
		statistics["EngineExecutionTimeInMillis"] = max(until.Sub(e.began).Milliseconds(), 1)
		statistics["DataScannedInBytes"] = e.scanned
	}
	return map[string]any{
		"QueryExecutionId": e.id, "Query": e.in.QueryString, "StatementType": e.kind, "WorkGroup": e.in.WorkGroup,
		"ResultConfiguration":   map[string]string{"OutputLocation": e.output()},
		"QueryExecutionContext": map[string]string{"Catalog": e.in.QueryExecutionContext.Catalog, "Database": e.in.QueryExecutionContext.Database},
		"ExecutionParameters":   e.in.ExecutionParameters, "Status": status, "Statistics": statistics,
	}
}

// seconds is a time as JSON has it on the wire.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
