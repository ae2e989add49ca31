package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const (
	// longPoll is how long SQS waits for a message, and eventsAtOnce how many it gives at most: as long and as many as it may
	// (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html).
	longPoll     = 20 * time.Second
	eventsAtOnce = 10
	// Errors of the queue are tried again after firstEventsPause, then ever later.
	firstEventsPause = time.Second
	lastEventsPause  = time.Minute
)

// stateChange is as much of an event as matters. It may have any other members
// (https://docs.aws.amazon.com/athena/latest/ug/athena-events.html).
type stateChange struct {
	Detail struct {
		ID string `json:"queryExecutionId"`
	} `json:"detail"`
}

// Listen has Changed tell what the queue of events says, until ctx ends. Events are a hint only: they are delivered on a best-effort
// basis, and where several processes listen to one queue each is told to one of them alone. So an error is logged and tried again,
// later each time; and a message that is no event is deleted as any other. Without a queue it only waits.
func (a *Athena) Listen(ctx context.Context) {
	if a.cfg.EventsQueue == "" {
		<-ctx.Done()
		return
	}
	wait := firstEventsPause
	for ctx.Err() == nil {
		err := a.listenOnce(ctx)
		if err == nil {
			wait = firstEventsPause
			continue
		}
		if ctx.Err() != nil {
			return // the error is that of being told to end
		}
		a.cfg.Logger.Warn("the queue of Athena's events can't be read; queries are asked for now and then", "error", err, "retry_in", wait)
		_ = pause(ctx, wait/2+rand.N(wait/2)) // the loop ends with the context
		wait = min(2*wait, lastEventsPause)
	}
}

// listenOnce waits for events, tells of them, and then deletes them.
func (a *Athena) listenOnce(ctx context.Context) error {
	messages, err := a.receive(ctx)
	if err != nil {
		return fmt.Errorf("waiting for events: %w", a.advisedQueue(err, "sqs:ReceiveMessage"))
	}
	malformed := 0
	for _, m := range messages {
		var event stateChange
		if err := json.Unmarshal([]byte(sdk.ToString(m.Body)), &event); err != nil || !executionID.MatchString(event.Detail.ID) {
			malformed++
			continue
		}
		select {
		case a.changed <- event.Detail.ID:
		case <-ctx.Done():
			return ctx.Err() // those that are left come again
		}
	}
	if malformed > 0 {
		a.cfg.Logger.Warn("messages that are no events of Athena's were deleted; see what else is sent to the queue",
			"messages", malformed, "queue", a.cfg.EventsQueue)
	}
	if err := a.forget(ctx, messages); err != nil {
		return fmt.Errorf("deleting events: %w", a.advisedQueue(err, "sqs:DeleteMessage"))
	}
	return nil
}

func (a *Athena) receive(ctx context.Context) ([]types.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, longPoll+callTime)
	defer cancel()
	out, err := a.queue.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: sdk.String(a.cfg.EventsQueue), MaxNumberOfMessages: eventsAtOnce, WaitTimeSeconds: int32(longPoll / time.Second),
	})
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

// forget deletes messages. One that stays comes again, which does no harm.
func (a *Athena) forget(ctx context.Context, messages []types.Message) error {
	if len(messages) == 0 {
		return nil
	}
	entries := make([]types.DeleteMessageBatchRequestEntry, len(messages))
	for i, m := range messages {
		entries[i] = types.DeleteMessageBatchRequestEntry{Id: sdk.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle}
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := a.queue.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: sdk.String(a.cfg.EventsQueue), Entries: entries})
	return err
}

func (a *Athena) advisedQueue(err error, action string) error {
	return fmt.Errorf("queue %s: %w", a.cfg.EventsQueue, advised(err, a.queue.Options().Region, action))
}
