package aws

import (
	"context"
	"fmt"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

// clockLife is how long the time of one answer is carried on by this host's monotonic clock.
const clockLife = time.Minute

// clock tells DynamoDB's time, from the Date of its answers, to about a second. A host's own clock may be hours wrong, and
// nobody would notice: the SDK corrects what it signs by the same Date.
type clock struct {
	table table

	mu   sync.Mutex
	told time.Time // by DynamoDB
	at   time.Time // when, by the monotonic clock
}

func (c *clock) now(ctx context.Context) (time.Time, error) {
	if now, ok := c.known(); ok {
		return now, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := c.table.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: sdk.String(c.table.name), Key: stateKey("clock", "clock"), // of no item: any answer will do
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("asking table %s for the time: %w", c.table.name, outcome(err))
	}
	told, ok := awsmiddleware.GetServerTime(out.ResultMetadata)
	if !ok {
		return time.Time{}, fmt.Errorf("asking table %s for the time: its answer has no Date", c.table.name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told, c.at = told, time.Now()
	return told, nil
}

func (c *clock) known() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := time.Since(c.at)
	return c.told.Add(passed), !c.at.IsZero() && passed < clockLife
}
