package faultproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

const (
	maxBatchItems = 25
	maxBatchBytes = 16 << 20
)

// DynamoDBBatches refuses a BatchWriteItem of more than 25 items or 16 MB
// (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html).
func DynamoDBBatches() Law {
	return func(_ Clock, next deliver) deliver {
		return func(ctx context.Context, r *request) (*answer, error) {
			if r.Service != DynamoDB || r.Operation != "BatchWriteItem" {
				return next(ctx, r)
			}
			var asked batchWrite
			if err := json.Unmarshal(r.body, &asked); err != nil {
				return next(ctx, r) // which says what is wrong with it
			}
			items := 0
			for _, of := range asked.RequestItems {
				items += len(of)
			}
			if items > maxBatchItems || len(r.body) > maxBatchBytes {
				return errorAnswer(DynamoDB, http.StatusBadRequest, "ValidationException", "Too many items or bytes requested for the BatchWriteItem call"), nil
			}
			return next(ctx, r)
		}
	}
}

// DynamoDBTimeToLive agrees to every UpdateTimeToLive, which dynalite does not know. Nothing is deleted for it, as on AWS for
// days.
func DynamoDBTimeToLive() Law {
	return func(_ Clock, next deliver) deliver {
		return func(ctx context.Context, r *request) (*answer, error) {
			if r.Service != DynamoDB || r.Operation != "UpdateTimeToLive" {
				return next(ctx, r)
			}
			var asked struct{ TimeToLiveSpecification json.RawMessage }
			if err := json.Unmarshal(r.body, &asked); err != nil {
				return nil, fmt.Errorf("fault proxy: UpdateTimeToLive: %w", err)
			}
			return jsonAnswer(asked), nil
		}
	}
}
