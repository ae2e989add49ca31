package httpapi

import (
	"context"
	"net/http"
	"time"
)

// upkeepState is a task of lake upkeep as the API shows it; numbers that its kind does not have are absent.
type upkeepState struct {
	Task    string `json:"task"`
	State   string `json:"state"`
	Href    string `json:"href"`
	Started string `json:"started,omitempty"`
	Ended   string `json:"ended,omitempty"`
	Error   string `json:"error,omitempty"`
	*UpkeepCompacted
	*UpkeepExpired
	*UpkeepSwept
}

func upkeepStateOf(t UpkeepTask) upkeepState {
	state := upkeepState{
		Task: t.Task, Href: "/v1/lake/" + t.Task, Started: optionalTime(t.Started), Ended: optionalTime(t.Ended),
		UpkeepCompacted: t.Compacted, UpkeepExpired: t.Expired, UpkeepSwept: t.Swept,
	}
	switch {
	case t.Ended.IsZero() && t.Started.IsZero():
		state.State = "QUEUED"
	case t.Ended.IsZero():
		state.State = "RUNNING"
	case t.Failed:
		state.State = "FAILED"
		state.Error = "The task did not come to its end. It is safe to start it again; the cause is in the server's log."
	default:
		state.State = "SUCCEEDED"
	}
	return state
}

// startUpkeep begins a task, or joins the one of its kind that has not ended.
func (s *Server) startUpkeep(x *exchange) error {
	ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
	defer cancel()
	task, err := s.deps.Upkeep.Start(ctx, x.param("task"))
	if err != nil {
		return err
	}
	state := upkeepStateOf(task)
	x.ctx.Response.Header.Set("Location", state.Href)
	writeJSON(x.ctx, http.StatusAccepted, mediaJSON, state)
	return nil
}

// getUpkeep answers with the newest task of a kind, once it has ended or the time of ?wait= is over.
func (s *Server) getUpkeep(x *exchange) error {
	wait, err := waitParameter(x)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, max(wait, time.Millisecond))
	defer cancel()
	task, err := s.deps.Upkeep.Wait(ctx, x.param("task"))
	if err != nil {
		return err
	}
	writeJSON(x.ctx, http.StatusOK, mediaJSON, upkeepStateOf(task))
	return nil
}
