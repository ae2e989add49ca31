package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"penstock/consumer/query"
	"penstock/schemas"
)

const (
	// maxQueryBody leaves room for JSON's escapes and the parameters.
	maxQueryBody = 1 << 20
	// maxParameters is far more than a statement has.
	maxParameters = 1000
	// maxWait is the longest long-poll, in seconds.
	maxWait = 30
	// listed is how many executions a list shows at most.
	listed = 256
)

// startedQuery is the answer to POST /v1/queries.
type startedQuery struct {
	ExecutionID string `json:"executionId"`
	State       string `json:"state"`
	Href        string `json:"href"`
}

// queryState is an execution as the API shows it.
type queryState struct {
	ExecutionID string           `json:"executionId"`
	State       string           `json:"state"`
	SQL         string           `json:"sql"`
	Submitted   string           `json:"submitted"`
	Started     string           `json:"started,omitempty"`
	Ended       string           `json:"ended,omitempty"`
	Statistics  *queryStatistics `json:"statistics,omitempty"`
	// CompleteThrough: every event received before it is in the result.
	CompleteThrough string `json:"completeThrough,omitempty"`
	Error           string `json:"error,omitempty"`
	Href            string `json:"href"`
	ResultHref      string `json:"resultHref,omitempty"`
	ResultBytes     int64  `json:"resultBytes,omitempty"`
}

type queryStatistics struct {
	Rows                *int64 `json:"rows,omitempty"`
	ScannedBytes        int64  `json:"scannedBytes"`
	ElapsedMilliseconds int64  `json:"elapsedMilliseconds"`
}

// queriesHead decides by the header alone whether the body of POST /v1/queries is read.
func queriesHead(h *fasthttp.RequestHeader, f framing) error {
	form, err := bodyFormat(h)
	if err != nil {
		return err
	}
	if form != formatJSON {
		return refuse(unsupportedMedia, "Send the query as application/json.")
	}
	return checkLength(h, f, maxQueryBody)
}

func (s *Server) postQuery(x *exchange) error {
	if err := queriesHead(&x.ctx.Request.Header, x.framing); err != nil {
		return err
	}
	key, err := idempotencyKey(&x.ctx.Request.Header)
	if err != nil {
		return err
	}
	body, err := s.readBody(x, maxQueryBody)
	if err != nil {
		return err
	}
	defer body.release()
	sql, parameters, err := parseQuery(body.bytes)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
	defer cancel()
	execution, replayed, err := s.deps.Queries.Start(ctx, sql, parameters, scopedKey(x.credential, key))
	if err != nil {
		return err
	}
	markReplayed(x, replayed)
	href := queryHref(execution.ID)
	x.ctx.Response.Header.Set("Location", href)
	started := startedQuery{ExecutionID: execution.ID, State: string(execution.State), Href: href}
	writeJSON(x.ctx, http.StatusAccepted, mediaJSON, started)
	return nil
}

func queryHref(id string) string { return "/v1/queries/" + id }

// parseQuery is strict: a misspelt member would be lost without a word.
func parseQuery(body []byte) (sql string, parameters []string, err error) {
	if err := schemas.ValidateJSON(body); err != nil {
		return "", nil, err
	}
	var members map[string]json.RawMessage
	wellFormed := json.Unmarshal(body, &members) == nil && members["sql"] != nil
	for name, value := range members {
		var into any
		switch name {
		case "sql":
			into = &sql
		case "parameters":
			into = &parameters
		}
		wellFormed = wellFormed && into != nil && string(value) != "null" && json.Unmarshal(value, into) == nil
	}
	switch {
	case !wellFormed:
		return "", nil, refuse(invalidParameter,
			`The body must be an object with "sql", a string, perhaps "parameters", an array of strings, and nothing else.`)
	case len(sql) > schemas.MaxSQL:
		return "", nil, &refusal{
			kind: bodyTooLarge, limit: schemas.MaxSQL, detail: fmt.Sprintf("The SQL has %d bytes; at most %d are allowed.", len(sql), schemas.MaxSQL),
		}
	case len(parameters) > maxParameters:
		return "", nil, outOfBounds("the number of parameters", 0, maxParameters)
	}
	return sql, parameters, nil
}

// getQuery answers with the state, with ?wait= as soon as the execution has ended, or that many seconds have passed.
func (s *Server) getQuery(x *exchange) error {
	wait, err := waitParameter(x)
	if err != nil {
		return err
	}
	execution, err := s.waitFor(x.param("id"), wait)
	if err != nil {
		return err
	}
	return s.answerState(x, execution)
}

func (s *Server) answerState(x *exchange, e query.Execution) error {
	state := stateOf(e)
	return s.answerJSON(x, state.size(), state)
}

func (s *Server) waitFor(id string, wait time.Duration) (query.Execution, error) {
	if wait == 0 {
		ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
		defer cancel()
		return s.deps.Queries.Get(ctx, id)
	}
	ctx, cancel := context.WithTimeout(s.base, wait)
	defer cancel()
	execution, err := s.deps.Queries.Wait(ctx, id)
	if err != nil && execution.ID != "" && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return execution, nil // as it stands
	}
	return execution, err
}

// waitParameter parses ?wait=, the seconds that a client is willing to wait.
func waitParameter(x *exchange) (time.Duration, error) {
	text := string(x.ctx.QueryArgs().Peek("wait"))
	if text == "" {
		return 0, nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 || seconds > maxWait {
		return 0, outOfBounds("wait", 0, maxWait)
	}
	return time.Duration(seconds) * time.Second, nil
}

func (s *Server) listQueries(x *exchange) error {
	ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
	defer cancel()
	executions, err := s.deps.Queries.List(ctx, listed)
	if err != nil {
		return err
	}
	items := make([]queryState, len(executions))
	size := 0
	for i, e := range executions {
		items[i] = stateOf(e)
		size += items[i].size()
	}
	return s.answerJSON(x, size, map[string]any{"items": items})
}

func (s *Server) cancelQuery(x *exchange) error {
	ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
	defer cancel()
	execution, err := s.deps.Queries.Cancel(ctx, x.param("id"))
	if err != nil {
		return err
	}
	return s.answerState(x, execution)
}

// getResult streams the CSV itself, never a redirect: a client needs no credentials for where results lie.
func (s *Server) getResult(x *exchange) error {
	result, size, err := s.deps.Queries.Open(s.base, x.param("id"))
	if err != nil {
		return err
	}
	x.ctx.Response.Header.SetContentType(mediaCSV)
	x.ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	x.ctx.Response.SetBodyStream(result, int(size)) // fasthttp closes it, also after a HEAD
	return nil
}

func stateOf(e query.Execution) queryState {
	state := queryState{
		ExecutionID: e.ID, State: string(e.State), SQL: e.SQL, Submitted: formatTime(e.Submitted),
		Started: optionalTime(e.Started), Ended: optionalTime(e.Ended), CompleteThrough: optionalTime(e.CompleteThrough),
		Error: e.Error, Href: queryHref(e.ID),
	}
	if !e.Ended.IsZero() || e.Statistics.ScannedBytes > 0 { // Athena tells on the way
		state.Statistics = &queryStatistics{
			Rows: rowsOf(e), ScannedBytes: e.Statistics.ScannedBytes,
			ElapsedMilliseconds: e.Statistics.Elapsed.Milliseconds(),
		}
	}
	if e.State == query.Succeeded {
		state.ResultHref, state.ResultBytes = state.Href+"/result", e.ResultBytes
	}
	return state
}

// rowsOf is nil where the engine does not count rows.
func rowsOf(e query.Execution) *int64 {
	if e.Statistics.Rows == query.UnknownRows {
		return nil
	}
	return &e.Statistics.Rows
}

// size bounds the encoded state.
func (q *queryState) size() int { return textAnswer + escaped*(len(q.SQL)+len(q.Error)) }

func optionalTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return formatTime(t)
}
