package aws

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/consumer"
	"penstock/ingest"
)

// cleanTime bounds the removal of a probe after a failure.
const cleanTime = 5 * time.Second

// step is one request of a proof, with the IAM action that it needs.
type step struct {
	action string
	do     func(context.Context) error
}

// prove makes each kind of request that the adapters make, on a probe that the first of them writes and the last removes. The
// error says what failed on what, and what to do. Whatever fails, and also when ctx ends, the probe is removed if that is
// permitted; where it is not, the error names it.
func prove(ctx context.Context, what, region, probe string, steps []step, clean func(context.Context) error) error {
	for i, s := range steps {
		err := s.do(ctx)
		if err == nil || errors.Is(err, errConflict) { // a conflict is with ourselves, when an answer was lost
			continue
		}
		err = fmt.Errorf("%s: %w", what, advised(err, region, s.action))
		if i == 0 && !errors.Is(err, ingest.ErrAmbiguous) {
			return err // nothing was written
		}
		cleanCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
		defer cancel()
		if left := clean(cleanCtx); left != nil && !errors.Is(left, errConflict) {
			err = fmt.Errorf("%w; the probe %s may still be there", err, probe)
		}
		return err
	}
	return nil
}

// mustBe is check for who does not make the table.
func (k tableKeys) mustBe(ctx context.Context, client *dynamodb.Client) error {
	err := k.check(ctx, client)
	var missing *types.ResourceNotFoundException
	if errors.As(err, &missing) {
		return fmt.Errorf("table %s is not in region %s: check the name and AWS_REGION, or start a process of the deployment, which "+
			"makes it: %w", k.table, client.Options().Region, missing)
	}
	return err
}

// ProveEvents fails unless the events table is there, has the right keys, and can be read; with writes also unless it can be
// written as the index sink does.
func (t Tables) ProveEvents(ctx context.Context, client *dynamodb.Client, writes bool) error {
	if err := t.keys()[0].mustBe(ctx, client); err != nil {
		return err
	}
	name := probeName()
	events, key := table{client, t.Events}, item{"id": stringValue(name)}
	remove := func(ctx context.Context) error { return events.delete(ctx, key, "attribute_exists(id)", nil) }
	steps := []step{
		{"dynamodb:BatchWriteItem", func(ctx context.Context) error { return events.writeBatch(ctx, []item{key}) }},
		{"dynamodb:GetItem", func(ctx context.Context) error { return events.mustHold(ctx, key) }},
		{"dynamodb:DeleteItem", remove},
	}
	if !writes {
		steps = []step{{"dynamodb:GetItem", func(ctx context.Context) error { _, err := events.get(ctx, key); return err }}}
	}
	return prove(ctx, "table "+t.Events, client.Options().Region, name, steps, remove)
}

// ProveState fails unless the state table is there, has the right keys, and can be used in each way that the adapters use it.
func (t Tables) ProveState(ctx context.Context, client *dynamodb.Client) error {
	if err := t.keys()[1].mustBe(ctx, client); err != nil {
		return err
	}
	name := probeName()
	state, key := table{client, t.State}, stateKey(name, name)
	remove := func(ctx context.Context) error { return state.delete(ctx, key, "attribute_exists(pk)", nil) }
	return prove(ctx, "table "+t.State, client.Options().Region, name, []step{
		{"dynamodb:PutItem", func(ctx context.Context) error { return state.put(ctx, key, "attribute_not_exists(pk)", nil) }},
		{"dynamodb:GetItem", func(ctx context.Context) error { return state.mustHold(ctx, key) }},
		{"dynamodb:UpdateItem", func(ctx context.Context) error {
			_, err := state.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
				TableName: sdk.String(state.name), Key: key, UpdateExpression: sdk.String("SET d = :d"),
				ExpressionAttributeValues: item{":d": numberValue(1)},
			})
			return err
		}},
		{"dynamodb:Query", func(ctx context.Context) error {
			return state.query(ctx, name, "", func(item) (bool, error) { return true, nil })
		}},
		{"dynamodb:DescribeTimeToLive", func(ctx context.Context) error {
			_, err := state.client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: sdk.String(state.name)})
			return err
		}},
		{"dynamodb:DeleteItem", remove},
	}, remove)
}

// probeName is of no event and no state, and no other probe's.
func probeName() string { return "probe#" + hex.EncodeToString(newToken()) }

func (t table) mustHold(ctx context.Context, key item) error {
	found, err := t.get(ctx, key)
	if err == nil && found == nil {
		err = errors.New("what was written is not there: is another process removing it?")
	}
	return err
}

// ProveBucket fails unless the bucket is there and objects can be put, read, listed, missed and deleted in it.
func ProveBucket(ctx context.Context, c Clients, bucket string) error {
	o := objects{c.S3, bucket}
	key, body := "probe/"+hex.EncodeToString(newToken()), []byte("a probe of Penstock's; it can be deleted")
	remove := func(ctx context.Context) error { return o.remove(ctx, key) }
	return prove(ctx, "bucket "+bucket, c.S3.Options().Region, o.ref(key), []step{
		{"s3:PutObject", func(ctx context.Context) error { return o.put(ctx, key, body) }},
		{"s3:GetObject", func(ctx context.Context) error {
			got, err := o.read(ctx, key, int64(len(body)))
			if err == nil && !bytes.Equal(got, body) {
				err = errors.New("what was written reads differently")
			}
			return err
		}},
		{"s3:ListBucket", func(ctx context.Context) error { return o.mustList(ctx, key) }},
		{"s3:DeleteObject", remove},
		// Without it S3 calls an object that is not there forbidden, and a shard would wait for it forever.
		{"s3:ListBucket", func(ctx context.Context) error {
			_, err := o.read(ctx, key, 0)
			if err == nil {
				err = errors.New("what was deleted is still there")
			}
			if errors.Is(err, consumer.ErrNotFound) {
				return nil
			}
			return err
		}},
	}, remove)
}

func (o objects) mustList(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, objectTime)
	defer cancel()
	out, err := o.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: sdk.String(o.bucket), Prefix: sdk.String(key)})
	if err == nil && len(out.Contents) == 0 {
		err = errors.New("what was written is not listed")
	}
	return err
}
