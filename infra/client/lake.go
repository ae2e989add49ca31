package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// LakeStatus is the state of the table that SQL reads.
type LakeStatus struct {
	Table      string
	SnapshotID int64 `json:"snapshotId,string"`
	Snapshots  int
	// Committed is when the current snapshot was; zero: there is none.
	Committed time.Time
	Rows      int64
	DataFiles int64
	DataBytes int64
	// SmallFiles of the data files are worth merging.
	SmallFiles int64
	// LastCompaction and OrphansRemoved are since the start of the server.
	LastCompaction time.Time
	OrphansRemoved int64
	// CompleteThrough: every event received before it is in the table.
	CompleteThrough time.Time
	Shards          []struct {
		Shard    string
		Position string
		AsOf     time.Time
		End      bool
	}
	Stream struct {
		Bytes int64
		// HeldBytes are past retention and still there for the slowest sink.
		HeldBytes int64
		// SlowestSink is empty when all sinks hold everything.
		SlowestSink string
		Sinks       []struct {
			Sink         string
			BacklogBytes int64
			Oldest       time.Time
		}
	}
	// Disk is that of the server's data directory; sizes of 0 are not known.
	Disk struct {
		StateBytes, IndexBytes, FreeBytes, SizeBytes int64
	}
}

// Lake asks for the state of the table; raw is the server's answer itself.
func (c *Client) Lake(ctx context.Context) (status LakeStatus, raw []byte, err error) {
	res, err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "lake"}}, http.StatusOK)
	if err != nil {
		return status, nil, err
	}
	if raw, err = readAnswer(res); err != nil {
		return status, nil, err
	}
	if err := json.Unmarshal(raw, &status); err != nil {
		return status, raw, fmt.Errorf("the answer about the lake is not the expected JSON: is this the URL of Penstock? (%w)", err)
	}
	return status, raw, nil
}

// UpkeepTask is the state of a task of lake upkeep. Numbers that its kind does not have are 0.
type UpkeepTask struct {
	Task               string    `json:"task"`
	State              string    `json:"state"`
	Started            time.Time `json:"started,omitzero"`
	Ended              time.Time `json:"ended,omitzero"`
	Error              string    `json:"error,omitempty"`
	FilesBefore        int64     `json:"filesBefore"`
	FilesAfter         int64     `json:"filesAfter"`
	BytesBefore        int64     `json:"bytesBefore"`
	BytesAfter         int64     `json:"bytesAfter"`
	SnapshotsForgotten int64     `json:"snapshotsForgotten"`
	FilesRemoved       int64     `json:"filesRemoved"`
	BytesRemoved       int64     `json:"bytesRemoved"`
	FilesKept          int64     `json:"filesKept"`
	BytesKept          int64     `json:"bytesKept"`
}

// Queued reports whether it waits for its turn.
func (t *UpkeepTask) Queued() bool { return t.State == stateQueued }

// Done reports whether the state will not change any more.
func (t *UpkeepTask) Done() bool { return !t.Queued() && t.State != stateRunning }

// Succeeded reports whether it came to its end.
func (t *UpkeepTask) Succeeded() bool { return t.State == stateSucceeded }

// StartUpkeep begins a task of lake upkeep, or joins the one of its kind that has not ended.
func (c *Client) StartUpkeep(ctx context.Context, task string) (t UpkeepTask, err error) {
	err = c.read(ctx, request{method: http.MethodPost, path: []string{"v1", "lake", url.PathEscape(task)}}, &t, http.StatusAccepted)
	return t, err
}

// WaitUpkeep asks for the state of a task; the server answers once it has ended, or after about a second.
func (c *Client) WaitUpkeep(ctx context.Context, task string) (t UpkeepTask, err error) {
	err = c.read(ctx, request{
		method: http.MethodGet, path: []string{"v1", "lake", url.PathEscape(task)}, query: url.Values{"wait": {"1"}},
	}, &t, http.StatusOK)
	return t, err
}

// Erasure is what became of an erased event.
type Erasure struct {
	ID     string    `json:"id"`
	Erased time.Time `json:"erased"`
	// HeldBy says where its bytes may still lie, and until when at the latest.
	HeldBy []struct {
		Holder string    `json:"holder"`
		Until  time.Time `json:"until,omitzero"`
		Detail string    `json:"detail"`
	} `json:"heldBy"`
}

// Erase removes an event for good.
func (c *Client) Erase(ctx context.Context, id string) (e Erasure, err error) {
	err = c.read(ctx, request{method: http.MethodDelete, path: []string{"v1", "events", url.PathEscape(id)}}, &e, http.StatusOK)
	if err != nil {
		return e, fmt.Errorf("erase event %s: %w", id, err)
	}
	return e, nil
}
