package iceberg

import (
	"encoding/json"
	"fmt"
	"time"
)

// clockSkew is how far in the future the table's last update may lie; Iceberg itself allows a minute.
const clockSkew = 30 * time.Second

// inFuture says whether a version that was written at lastUpdated (Unix milliseconds) would refuse a commit of now.
func inFuture(lastUpdated int64, now time.Time) bool {
	return time.UnixMilli(lastUpdated).After(now.Add(clockSkew))
}

// clampFuture takes times after now in a table's metadata for now, if there are such: Iceberg refuses a commit whose
// time lies more than a minute before the last one's, so a host whose clock was wrong for a while would stop the lake
// until that time came (invariant 10). Only times are changed, and no rule of exactly-once looks at them.
func clampFuture(metadata []byte, now time.Time) ([]byte, error) {
	limit := now.UnixMilli()
	var times struct {
		LastUpdated int64 `json:"last-updated-ms"`
	}
	if err := json.Unmarshal(metadata, &times); err != nil {
		return nil, err
	}
	if !inFuture(times.LastUpdated, now) {
		return metadata, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(metadata, &fields); err != nil {
		return nil, err
	}
	if err := clampField(fields, "last-updated-ms", limit); err != nil {
		return nil, err
	}
	for _, name := range []string{"snapshots", "snapshot-log", "metadata-log"} {
		raw, ok := fields[name]
		if !ok {
			continue
		}
		var entries []map[string]json.RawMessage
		if err := json.Unmarshal(raw, &entries); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, entry := range entries {
			if err := clampField(entry, "timestamp-ms", limit); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		encoded, err := json.Marshal(entries)
		if err != nil {
			return nil, err
		}
		fields[name] = encoded
	}
	return json.Marshal(fields)
}

func clampField(fields map[string]json.RawMessage, name string, limit int64) error {
	raw, ok := fields[name]
	if !ok {
		return nil
	}
	var t int64
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if t <= limit {
		return nil
	}
	encoded, err := json.Marshal(limit)
	fields[name] = encoded
	return err
}
