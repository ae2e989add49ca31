package aws

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"penstock/consumer/query"
	"penstock/schemas"
)

// provePause is between two looks at a statement that is being proven.
const provePause = 250 * time.Millisecond

// Check fails unless the workgroup is there and takes statements.
func (a *Athena) Check(ctx context.Context) error {
	_, err := a.workgroup(ctx)
	return err
}

func (a *Athena) workgroup(ctx context.Context) (*types.WorkGroup, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := a.client.GetWorkGroup(ctx, &athena.GetWorkGroupInput{WorkGroup: sdk.String(a.cfg.Workgroup)})
	var invalid *types.InvalidRequestException
	switch {
	case errors.As(err, &invalid):
		return nil, fmt.Errorf("workgroup %s is not in region %s: check --workgroup and AWS_REGION: %w",
			a.cfg.Workgroup, a.client.Options().Region, err)
	case err != nil:
		return nil, a.advised(err, "athena:GetWorkGroup")
	case out.WorkGroup == nil:
		return nil, fmt.Errorf("workgroup %s: Athena says nothing of it", a.cfg.Workgroup)
	case out.WorkGroup.State == types.WorkGroupStateDisabled:
		return nil, fmt.Errorf("workgroup %s is disabled: enable it, or name another", a.cfg.Workgroup)
	}
	return out.WorkGroup, nil
}

// Prove fails unless statements can be run, asked for and read: it has Athena read no row of the lake's table, which scans nothing, and
// removes the result. It tells the most bytes that one statement may scan in this workgroup, 0 for no limit.
func (a *Athena) Prove(ctx context.Context) (scanLimit int64, err error) {
	group, err := a.workgroup(ctx)
	if err != nil {
		return 0, err
	}
	if group.Configuration != nil {
		scanLimit = sdk.ToInt64(group.Configuration.BytesScannedCutoffPerQuery)
	}
	e, err := a.Start(ctx, query.Statement{SQL: "SELECT id FROM " + schemas.LakeTable + " LIMIT 0", Token: hex.EncodeToString(append(newToken(), newToken()...))})
	if err != nil {
		return scanLimit, err
	}
	if err := a.proveResult(ctx, e.ID); err != nil {
		cleanCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
		defer cancel()
		if left := a.stop(cleanCtx, e.ID); left != nil {
			err = fmt.Errorf("%w; query %s may still run", err, e.ID)
		}
		return scanLimit, err
	}
	return scanLimit, a.stop(ctx, e.ID) // it has ended, but the permission is proven
}

// proveResult waits for the end of a statement, reads its result and removes it.
func (a *Athena) proveResult(ctx context.Context, id string) error {
	for {
		list, _, err := a.Status(ctx, []string{id})
		if err != nil {
			return err
		}
		if len(list) == 1 && list[0].State.Finished() {
			if list[0].State != query.Succeeded {
				return fmt.Errorf("query %s is %s: %s", id, list[0].State, list[0].Error)
			}
			break
		}
		if err := pause(ctx, provePause); err != nil {
			return fmt.Errorf("query %s has not ended: %w", id, err)
		}
	}
	result, _, err := a.Open(ctx, id)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, result)
	if err := errors.Join(err, result.Close()); err != nil {
		return err
	}
	e, _, err := a.get(ctx, id)
	if err != nil {
		return err
	}
	o, key, err := a.object(outputOf(e))
	if err != nil {
		return err
	}
	return errors.Join(o.remove(ctx, key), o.remove(ctx, key+".metadata"))
}

// ProveEvents fails unless the queue of events can be read and its messages deleted. It deletes none; one that it gets comes to another
// a second later. Without a queue there is nothing to prove.
func (a *Athena) ProveEvents(ctx context.Context) error {
	if a.cfg.EventsQueue == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := a.queue.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: sdk.String(a.cfg.EventsQueue), MaxNumberOfMessages: 1, VisibilityTimeout: 1,
	})
	if err != nil {
		return a.advisedQueue(err, "sqs:ReceiveMessage")
	}
	// A handle that was never given out can't be deleted, which is told entry by entry; that nothing may be deleted is an error.
	_, err = a.queue.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{
		QueueUrl: sdk.String(a.cfg.EventsQueue),
		Entries:  []sqstypes.DeleteMessageBatchRequestEntry{{Id: sdk.String("probe"), ReceiptHandle: sdk.String("probe")}},
	})
	if err != nil && !hasCode(err, "ReceiptHandleIsInvalid") {
		return a.advisedQueue(err, "sqs:DeleteMessage")
	}
	return nil
}
