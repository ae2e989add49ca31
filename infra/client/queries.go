package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// States of an execution; they are Athena's.
const (
	stateQueued    = "QUEUED"
	stateRunning   = "RUNNING"
	stateSucceeded = "SUCCEEDED"
)

// Execution is a running or finished SQL statement.
type Execution struct {
	ExecutionID string
	State       string
	// Statistics of a finished one.
	Statistics struct {
		Rows                int64
		ScannedBytes        int64
		ElapsedMilliseconds int64
	}
	// CompleteThrough: everything received before it is in the result. Zero when not told.
	CompleteThrough time.Time
	// Error says why it failed.
	Error string
}

// Ended reports whether the state will not change any more.
func (e *Execution) Ended() bool { return e.State != stateQueued && e.State != stateRunning }

// QueryError: the execution did not succeed.
type QueryError struct {
	ExecutionID, State, Reason string
}

func (e *QueryError) Error() string {
	if e.Reason == "" {
		return "the query ended as " + e.State
	}
	return fmt.Sprintf("the query ended as %s: %s", e.State, e.Reason)
}

// StartQuery begins to run one SQL statement, once: a server that is too busy, or whose answer got lost, is asked again for as long as
// retry allows, with the same Idempotency-Key.
func (c *Client) StartQuery(ctx context.Context, sql string, parameters []string, retry Retry) (Execution, error) {
	var e Execution
	body, err := json.Marshal(struct {
		SQL        string   `json:"sql"`
		Parameters []string `json:"parameters,omitempty"`
	}{sql, parameters})
	if err != nil {
		return e, fmt.Errorf("encode query: %w", err)
	}
	header := http.Header{"Content-Type": {mediaJSON}, "Idempotency-Key": {rand.Text()}}
	_, err = retry.do(ctx, func() error {
		return c.read(ctx, request{method: http.MethodPost, path: []string{"v1", "queries"}, body: body, header: header}, &e, http.StatusAccepted)
	})
	if err != nil {
		return e, err
	}
	if e.ExecutionID == "" {
		return e, errors.New("the server answered without an execution id: is this the URL of Penstock?")
	}
	return e, nil
}

// CancelQuery stops an execution; harmless on one that has ended.
func (c *Client) CancelQuery(ctx context.Context, id string) error {
	res, err := c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "queries", id}},
		http.StatusOK, http.StatusAccepted, http.StatusNoContent)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// Result streams the result of a succeeded execution as the server's CSV. It is asked for again for as long as retry allows, until it
// comes; what breaks off later is an error.
func (c *Client) Result(ctx context.Context, id string, retry Retry) (result io.ReadCloser, err error) {
	_, err = retry.do(ctx, func() error {
		res, err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "queries", id, "result"}}, http.StatusOK) //nolint:bodyclose // the caller closes it
		if err == nil {
			result = res.Body
		}
		return err
	})
	return result, err
}
