package faultproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// batchWrite is a BatchWriteItem, and by its second member the answer to one.
type batchWrite struct {
	RequestItems     map[string][]json.RawMessage `json:",omitempty"`
	UnprocessedItems map[string][]json.RawMessage
}

// LeaveUnprocessed leaves each item of a BatchWriteItem undone with the probability, and forwards the others.
func LeaveUnprocessed(probability float64) Fault {
	return Fault{"leave unprocessed", func(ctx context.Context, x *exchange) (*answer, error) {
		var asked batchWrite
		var whole object
		if err := json.Unmarshal(x.body, &asked); err != nil {
			return nil, fmt.Errorf("fault proxy: BatchWriteItem: %w", err)
		}
		if err := json.Unmarshal(x.body, &whole); err != nil {
			return nil, fmt.Errorf("fault proxy: BatchWriteItem: %w", err)
		}
		kept, left := map[string][]json.RawMessage{}, map[string][]json.RawMessage{}
		for _, table := range slices.Sorted(maps.Keys(asked.RequestItems)) {
			for _, item := range asked.RequestItems[table] {
				to := kept
				if x.random.Float64() < probability {
					to = left
				}
				to[table] = append(to[table], item)
			}
		}
		if len(kept) == 0 {
			return jsonAnswer(batchWrite{UnprocessedItems: left}), nil
		}
		whole["RequestItems"] = mustJSON(kept)
		a, err := x.proxy.land(ctx, x.with(mustJSON(whole)))
		if err != nil || a.status != http.StatusOK {
			return a, err
		}
		var told batchWrite
		if err := json.Unmarshal(a.body, &told); err != nil {
			return nil, fmt.Errorf("fault proxy: answer of BatchWriteItem: %w", err)
		}
		for table, items := range told.UnprocessedItems {
			left[table] = append(left[table], items...)
		}
		return a.with(mustJSON(batchWrite{UnprocessedItems: left})), nil
	}}
}
