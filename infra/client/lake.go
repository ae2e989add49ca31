package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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
	// CompleteThrough: every event received before it is in the table.
	CompleteThrough time.Time
	Shards          []struct {
		Shard    string
		Position string
		AsOf     time.Time
		End      bool
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
