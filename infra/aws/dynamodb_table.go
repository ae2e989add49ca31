package aws

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"penstock/ingest"
	"penstock/schemas"
)

// callTime bounds a call to DynamoDB with the SDK's retries, so that a server that says nothing is an error.
const callTime = 20 * time.Second

// errConflict: the condition of a write does not hold.
var errConflict = errors.New("condition does not hold")

// errCorrupt is wrapped in every error about an item or object that is not what this package writes.
var errCorrupt = fmt.Errorf("stored state: %w", schemas.ErrCorrupt)

// table is one of the Tables. All its reads are strongly consistent.
type table struct {
	client *dynamodb.Client
	name   string
}

type item map[string]types.AttributeValue

func stringValue(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func bytesValue(b []byte) types.AttributeValue  { return &types.AttributeValueMemberB{Value: b} }
func numberValue(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// timeValue is a time in nanoseconds, 0 for the zero time, and timeOf the way back.
func timeValue(t time.Time) types.AttributeValue {
	if t.IsZero() {
		return numberValue(0)
	}
	return numberValue(t.UnixNano())
}

func timeOf(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// text of an attribute; errCorrupt when it is not there or no text.
func (it item) text(name string) (string, error) {
	v, ok := it[name].(*types.AttributeValueMemberS)
	if !ok {
		return "", fmt.Errorf("attribute %s: %w", name, errCorrupt)
	}
	return v.Value, nil
}

func (it item) blob(name string) ([]byte, error) {
	v, ok := it[name].(*types.AttributeValueMemberB)
	if !ok {
		return nil, fmt.Errorf("attribute %s: %w", name, errCorrupt)
	}
	return v.Value, nil
}

func (it item) number(name string) (int64, error) {
	v, ok := it[name].(*types.AttributeValueMemberN)
	if !ok {
		return 0, fmt.Errorf("attribute %s: %w", name, errCorrupt)
	}
	n, err := strconv.ParseInt(v.Value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("attribute %s: %w: %w", name, errCorrupt, err)
	}
	return n, nil
}

// optional is 0 when the number is not there.
func (it item) optional(name string) (int64, error) {
	if it[name] == nil {
		return 0, nil
	}
	return it.number(name)
}

// stateKey is the key of an item of the state table.
func stateKey(pk, sk string) item { return item{"pk": stringValue(pk), "sk": stringValue(sk)} }

// get returns nil when there is no such item.
func (t table) get(ctx context.Context, key item) (item, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: sdk.String(t.name), Key: key, ConsistentRead: sdk.Bool(true),
	})
	if err != nil {
		return nil, fmt.Errorf("reading table %s: %w", t.name, outcome(err))
	}
	if len(out.Item) == 0 {
		return nil, nil
	}
	return out.Item, nil
}

// put stores the item if the condition holds, else errConflict, whoever made it false: after a lost answer the SDK tries
// again, and is told of a conflict with itself.
func (t table) put(ctx context.Context, it item, condition string, values item) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: sdk.String(t.name), Item: it, ConditionExpression: sdk.String(condition), ExpressionAttributeValues: values,
	})
	return t.written(err)
}

// update changes the item if the condition holds, else errConflict, as put, and returns it as it is then.
func (t table) update(ctx context.Context, key item, change, condition string, values item) (item, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: sdk.String(t.name), Key: key, UpdateExpression: sdk.String(change), ConditionExpression: sdk.String(condition),
		ExpressionAttributeValues: values, ReturnValues: types.ReturnValueAllNew,
	})
	if err := t.written(err); err != nil {
		return nil, err
	}
	return out.Attributes, nil
}

// delete removes the item if the condition holds, else errConflict, as put.
func (t table) delete(ctx context.Context, key item, condition string, values item) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	_, err := t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: sdk.String(t.name), Key: key, ConditionExpression: sdk.String(condition), ExpressionAttributeValues: values,
	})
	return t.written(err)
}

func (t table) written(err error) error {
	switch {
	case err == nil:
		return nil
	case hasCode(err, "ConditionalCheckFailedException"):
		return fmt.Errorf("table %s: %w: %w", t.name, errConflict, err)
	default:
		return fmt.Errorf("writing to table %s: %w", t.name, outcome(err))
	}
}

// putOwn stores the item with a token of its own if the condition holds. Where that failed, or nobody knows, it reads back:
// won says that the item there is this very one; else found is what is there, nil for nothing. An error means that nobody
// knows, and that the item may still come to be there.
func (t table) putOwn(ctx context.Context, it item, condition string, values item) (found item, won bool, err error) {
	token := newToken()
	it["t"] = bytesValue(token)
	err = t.put(ctx, it, condition, values)
	if err == nil {
		return nil, true, nil
	}
	if !errors.Is(err, errConflict) && !errors.Is(err, ingest.ErrAmbiguous) {
		return nil, false, err
	}
	found, readErr := t.get(ctx, item{"pk": it["pk"], "sk": it["sk"]})
	if readErr != nil {
		return nil, false, errors.Join(err, readErr)
	}
	if theirs, ok := found["t"].(*types.AttributeValueMemberB); ok && bytes.Equal(theirs.Value, token) {
		return nil, true, nil
	}
	if !errors.Is(err, errConflict) {
		return nil, false, err
	}
	return found, false, nil
}

func newToken() []byte {
	token := make([]byte, 16)
	_, _ = rand.Read(token) // it never fails: https://pkg.go.dev/crypto/rand#Read
	return token
}

// query calls each with the items of one pk whose sk comes after the given one, in their order, until it returns false.
func (t table) query(ctx context.Context, pk, after string, each func(item) (bool, error)) error {
	const pageItems = 100
	in := &dynamodb.QueryInput{
		TableName: sdk.String(t.name), ConsistentRead: sdk.Bool(true), Limit: sdk.Int32(pageItems),
		KeyConditionExpression:    sdk.String("pk = :pk"),
		ExpressionAttributeValues: item{":pk": stringValue(pk)},
	}
	if after != "" {
		in.KeyConditionExpression = sdk.String("pk = :pk AND sk > :sk")
		in.ExpressionAttributeValues[":sk"] = stringValue(after)
	}
	for {
		out, err := t.queryPage(ctx, in)
		if err != nil {
			return err
		}
		for _, it := range out.Items {
			if more, err := each(it); err != nil || !more {
				return err
			}
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

func (t table) queryPage(ctx context.Context, in *dynamodb.QueryInput) (*dynamodb.QueryOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := t.client.Query(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("reading table %s: %w", t.name, outcome(err))
	}
	return out, nil
}
