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
	Stream          streamState `json:"stream"`
	Disk            diskState   `json:"disk"`
}

type streamState struct {
	Bytes       int64         `json:"bytes"`
	HeldBytes   int64         `json:"heldBytes"`
	SlowestSink string        `json:"slowestSink,omitempty"`
	Sinks       []sinkBacklog `json:"sinks"`
}

type sinkBacklog struct {
	Sink   string `json:"sink"`
	Bytes  int64  `json:"backlogBytes"`
	Oldest string `json:"oldest,omitempty"`
}

type diskState struct {
	StateBytes int64 `json:"stateBytes"`
	IndexBytes int64 `json:"indexBytes"`
	FreeBytes  int64 `json:"freeBytes,omitempty"`
	SizeBytes  int64 `json:"sizeBytes,omitempty"`
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
		Stream: streamState{
			Bytes: status.Stream.Bytes, HeldBytes: status.Stream.HeldBytes, SlowestSink: status.Stream.Slowest,
			Sinks: make([]sinkBacklog, len(status.Stream.Sinks)),
		},
		Disk: diskState{
			StateBytes: status.Disk.State, IndexBytes: status.Disk.Index, FreeBytes: status.Disk.Free, SizeBytes: status.Disk.Size,
		},
	}
	for i, s := range status.Stream.Sinks {
		state.Stream.Sinks[i] = sinkBacklog{Sink: s.Sink, Bytes: s.Bytes, Oldest: optionalTime(s.Oldest)}
	}
	for i, shard := range status.Shards {
		state.Shards[i] = lakeShard{
			Shard: shard.Shard, Position: shard.Position.String(), AsOf: optionalTime(shard.AsOf), End: shard.End,
		}
	}
	return s.answerJSON(x, textAnswer*(1+len(state.Shards)), state)
}
