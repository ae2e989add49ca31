package aws

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"penstock/ingest"
)

const (
	// maxBatch is the most items of a BatchWriteItem. Its other limit, 16 MB, is beyond 25 items of maxItem
	// (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html).
	maxBatch = 25
	// maxItem is the most bytes of an item, with the names of its attributes
	// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html).
	maxItem = 400 << 10
)

// Delays before what DynamoDB left unwritten is sent again; they double while nothing goes through.
const (
	firstDelay = 50 * time.Millisecond
	lastDelay  = 5 * time.Second
)

// writeBatch stores up to maxBatch items with different keys, whatever is there. What DynamoDB throttles, one by one in an
// answer or all together, is sent again until ctx ends.
func (t table) writeBatch(ctx context.Context, items []item) error {
	waiting := make([]types.WriteRequest, len(items))
	for i, it := range items {
		waiting[i].PutRequest = &types.PutRequest{Item: it}
	}
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		left, err := t.sendBatch(ctx, waiting)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		if len(left) < len(waiting) {
			delay = firstDelay
		}
		waiting = left
		select {
		case <-time.After(delay/2 + rand.N(delay/2)):
		case <-ctx.Done():
			return fmt.Errorf("writing to table %s: %d of %d items: %w: %w",
				t.name, len(waiting), len(items), ingest.ErrThrottled, ctx.Err())
		}
	}
}

// sendBatch returns what was not written.
func (t table) sendBatch(ctx context.Context, requests []types.WriteRequest) ([]types.WriteRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := t.client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
		RequestItems: map[string][]types.WriteRequest{t.name: requests},
	})
	switch err = outcome(err); {
	case err == nil:
		return out.UnprocessedItems[t.name], nil
	case errors.Is(err, ingest.ErrThrottled) && statusOf(err) != 0: // not where nobody answers
		return requests, nil
	default:
		return nil, fmt.Errorf("writing to table %s: %w", t.name, err)
	}
}
