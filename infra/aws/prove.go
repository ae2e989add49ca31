package aws

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"penstock/consumer"
)

// step is one request of a proof, with the IAM action that it needs.
type step struct {
	action string
	do     func(context.Context) error
}

// prove makes each kind of request that the adapters make, on a probe that the last of them removes. The error says what
// failed on what, and what to do; the probe is removed then if that is permitted.
func prove(ctx context.Context, what, region string, steps []step, clean func(context.Context) error) (err error) {
	defer func() {
		if err != nil { // with an error of its own it has told enough
			_ = clean(context.WithoutCancel(ctx))
		}
	}()
	for _, s := range steps {
		err := s.do(ctx)
		if err != nil && !errors.Is(err, errConflict) { // a conflict is with ourselves, when an answer was lost
			return fmt.Errorf("%s: %w", what, advised(err, region, s.action))
		}
	}
	return nil
}

// Prove fails unless both tables are there, have the right keys, and can be used in each way that the adapters use them.
func (t Tables) Prove(ctx context.Context, client *dynamodb.Client) error {
	if err := t.Check(ctx, client); err != nil {
		return err
	}
	region := client.Options().Region
	name := "probe#" + hex.EncodeToString(newToken())
	events, state := table{client, t.Events}, table{client, t.State}
	key := item{"id": stringValue(name)}
	remove := func(ctx context.Context) error { return events.delete(ctx, key, "attribute_exists(id)", nil) }
	err := prove(ctx, "table "+t.Events, region, []step{
		{"dynamodb:BatchWriteItem", func(ctx context.Context) error { return events.writeBatch(ctx, []item{key}) }},
		{"dynamodb:GetItem", func(ctx context.Context) error { return events.mustHold(ctx, key) }},
		{"dynamodb:DeleteItem", remove},
	}, remove)
	if err != nil {
		return err
	}
	key = stateKey(name, name)
	remove = func(ctx context.Context) error { return state.delete(ctx, key, "attribute_exists(pk)", nil) }
	return prove(ctx, "table "+t.State, region, []step{
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
		{"dynamodb:DeleteItem", remove},
	}, remove)
}

func (t table) mustHold(ctx context.Context, key item) error {
	found, err := t.get(ctx, key)
	if err == nil && found == nil {
		err = errors.New("what was written is not there: is another process removing it?")
	}
	return err
}

// ProveBucket fails unless the bucket is there and objects can be put, read, missed and deleted in it.
func ProveBucket(ctx context.Context, c Clients, bucket string) error {
	o := objects{c.S3, bucket}
	key, body := "probe/"+hex.EncodeToString(newToken()), []byte("a probe of Penstock's; it can be deleted")
	remove := func(ctx context.Context) error { return o.remove(ctx, key) }
	return prove(ctx, "bucket "+bucket, c.S3.Options().Region, []step{
		{"s3:PutObject", func(ctx context.Context) error { return o.put(ctx, key, body) }},
		{"s3:GetObject", func(ctx context.Context) error {
			got, err := o.read(ctx, key, int64(len(body)))
			if err == nil && !bytes.Equal(got, body) {
				err = errors.New("what was written reads differently")
			}
			return err
		}},
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
