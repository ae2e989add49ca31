package client

import (
	"context"
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

// StartQuery begins to run one SQL statement. A server that is too busy is asked again for as long as retry allows; an
// answer that got lost is not, since a second execution would be paid for too.
func (c *Client) StartQuery(ctx context.Context, sql string, parameters []string, retry Retry) (Execution, error) {
	var e Execution
	body, err := json.Marshal(struct {
		SQL        string   `json:"sql"`
		Parameters []string `json:"parameters,omitempty"`
	}{sql, parameters})
	if err != nil {
		return e, fmt.Errorf("encode query: %w", err)
	}
	var lost error
	_, err = retry.do(ctx, func() error {
		err := c.read(ctx, request{
			method: http.MethodPost, path: []string{"v1", "queries"}, body: body, header: http.Header{"Content-Type": {mediaJSON}},
		}, &e, http.StatusAccepted)
		var transport *TransportError
		if lost = nil; errors.As(err, &transport) {
			lost, err = err, nil
		}
		return err
	})
	if err = errors.Join(lost, err); err != nil {
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

// Result streams the result of a succeeded execution as the server's CSV.
func (c *Client) Result(ctx context.Context, id string) (io.ReadCloser, error) {
	res, err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "queries", id, "result"}}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}
