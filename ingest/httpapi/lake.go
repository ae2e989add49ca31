package httpapi

import (
	"context"
	"strconv"
)

// lakeState is the lake as the API shows it.
type lakeState struct {
	Table           string      `json:"table"`
	SnapshotID      string      `json:"snapshotId"` // 64 bits, which a JSON number can't hold everywhere
	Snapshots       int         `json:"snapshots"`
	Committed       string      `json:"committed,omitempty"`
	Rows            int64       `json:"rows"`
	DataFiles       int64       `json:"dataFiles"`
	DataBytes       int64       `json:"dataBytes"`
	SmallFiles      int64       `json:"smallFiles"`
	LastCompaction  string      `json:"lastCompaction,omitempty"`
	OrphansRemoved  uint64      `json:"orphansRemoved"`
	CompleteThrough string      `json:"completeThrough,omitempty"`
	Shards          []lakeShard `json:"shards"`
}

type lakeShard struct {
	Shard    string `json:"shard"`
	Position string `json:"position"`
	AsOf     string `json:"asOf,omitempty"`
	End      bool   `json:"end"`
}

func (s *Server) getLake(x *exchange) error {
	ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
	defer cancel()
	status, err := s.deps.Lake.Status(ctx)
	if err != nil {
		return err
	}
	state := lakeState{
		Table: status.Table, SnapshotID: strconv.FormatInt(status.SnapshotID, 10), Snapshots: status.Snapshots,
		Committed: optionalTime(status.Committed), Rows: status.Rows, DataFiles: status.DataFiles, DataBytes: status.DataBytes,
		SmallFiles: status.SmallFiles, LastCompaction: optionalTime(status.LastCompaction), OrphansRemoved: status.OrphansRemoved,
		CompleteThrough: optionalTime(status.CompleteThrough), Shards: make([]lakeShard, len(status.Shards)),
	}
	for i, shard := range status.Shards {
		state.Shards[i] = lakeShard{
			Shard: shard.Shard, Position: shard.Position.String(), AsOf: optionalTime(shard.AsOf), End: shard.End,
		}
	}
	return s.answerJSON(x, textAnswer*(1+len(state.Shards)), state)
}
