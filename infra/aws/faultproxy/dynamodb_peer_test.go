package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const dynamodbVariable = "AWS_ENDPOINT_URL_DYNAMODB"

type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

// table makes one with the keys p and s, which ends with the test.
func (p *proxied) table(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("peer-%d", time.Now().UnixNano())
	_, err := p.dynamodb.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: sdk.String("p"), AttributeType: types.ScalarAttributeTypeS}, {AttributeName: sdk.String("s"), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: sdk.String("p"), KeyType: types.KeyTypeHash}, {AttributeName: sdk.String("s"), KeyType: types.KeyTypeRange},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := p.dynamodb.DeleteTable(context.WithoutCancel(t.Context()), &dynamodb.DeleteTableInput{TableName: &name})
		if err != nil {
			t.Error(err)
		}
	})
	exists := dynamodb.NewTableExistsWaiter(p.dynamodb, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	})
	if err := exists.Wait(t.Context(), &dynamodb.DescribeTableInput{TableName: &name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	return name
}

// Conditional writes: one of many wins. The item in the way is not told, though it was asked for.
func TestDynamoDBConditionsConform(t *testing.T) {
	t.Parallel()
	peer := clientsOf(endpointOf(t, dynamodbVariable))
	name := peer.table(t)
	const writers = 16
	errs := make(chan error, writers)
	for i := range writers {
		go func() {
			_, err := peer.dynamodb.PutItem(t.Context(), &dynamodb.PutItemInput{
				TableName: &name, Item: item{"p": text("p"), "s": text("s"), "by": text(fmt.Sprint(i))}, ConditionExpression: sdk.String("attribute_not_exists(p)"),
				ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
			})
			errs <- err
		}()
	}
	won := 0
	for range writers {
		var failed *types.ConditionalCheckFailedException
		switch err := <-errs; {
		case err == nil:
			won++
		case !errors.As(err, &failed):
			t.Error(err)
		case len(failed.Item) != 0:
			t.Error("dynalite tells the item in the way: say so in docs/aws-peers.md")
		}
	}
	if won != 1 {
		t.Errorf("%d writers won, want 1", won)
	}
	put := func(from, to string) error {
		_, err := peer.dynamodb.PutItem(t.Context(), &dynamodb.PutItemInput{
			TableName: &name, Item: item{"p": text("p"), "s": text("v"), "v": text(to)},
			ConditionExpression: sdk.String("attribute_not_exists(v) OR v = :v"), ExpressionAttributeValues: item{":v": text(from)},
		})
		return err
	}
	wantCode(t, "first", put("", "1"), "")
	wantCode(t, "compare and set", put("1", "2"), "")
	wantCode(t, "again", put("1", "3"), "ConditionalCheckFailedException")
}

// Sizes of items and batches. dynalite bounds the items of a batch by table only, and never leaves one unprocessed.
func TestDynamoDBSizesConform(t *testing.T) {
	t.Parallel()
	endpoint := endpointOf(t, dynamodbVariable)
	peer, lawful := clientsOf(endpoint), before(t, endpoint, DynamoDBBatches())
	name, second := peer.table(t), peer.table(t)
	put := func(size int) error {
		_, err := peer.dynamodb.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &name, Item: item{"p": text("p"), "s": text("s"), "v": text(strings.Repeat("x", size))}})
		return err
	}
	const names = 5 // bytes of the names and keys
	wantCode(t, "400 KiB", put(400<<10-names), "")
	wantCode(t, "400 KiB and 1", put(400<<10-names+1), "ValidationException")
	writes := func(count int) []types.WriteRequest {
		var all []types.WriteRequest
		for i := range count {
			all = append(all, types.WriteRequest{PutRequest: &types.PutRequest{Item: item{"p": text("b"), "s": text(fmt.Sprint(i))}}})
		}
		return all
	}
	batch := func(p *proxied, first, second []types.WriteRequest, other string) error {
		items := map[string][]types.WriteRequest{name: first}
		if other != "" {
			items[other] = second
		}
		out, err := p.dynamodb.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: items})
		if err == nil && len(out.UnprocessedItems) != 0 {
			t.Errorf("unprocessed: %v", out.UnprocessedItems)
		}
		return err
	}
	wantCode(t, "25", batch(peer, writes(25), nil, ""), "")
	wantCode(t, "26", batch(peer, writes(26), nil, ""), "ValidationException")
	wantCode(t, "13 + 13, peer", batch(peer, writes(13), writes(13), second), "")
	wantCode(t, "13 + 13, proxy", batch(lawful, writes(13), writes(13), second), "ValidationException")
	wantCode(t, "12 + 13, proxy", batch(lawful, writes(12), writes(13), second), "")
	wantCode(t, "the same twice", batch(peer, append(writes(1), writes(1)...), nil, ""), "ValidationException")
}

// What the proxy leaves undone of a batch is not in the table, and the rest is.
func TestDynamoDBUnprocessedConforms(t *testing.T) {
	t.Parallel()
	p := before(t, endpointOf(t, dynamodbVariable))
	name := p.table(t)
	p.Set(Rule{Service: DynamoDB, Operation: "BatchWriteItem", Resource: name, When: Always(), Do: LeaveUnprocessed(0.5)})
	var writes []types.WriteRequest
	for i := range 25 {
		writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: item{"p": text("b"), "s": text(fmt.Sprint(i))}}})
	}
	out, err := p.dynamodb.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{name: writes}})
	if err != nil {
		t.Fatal(err)
	}
	there, err := p.dynamodb.Scan(t.Context(), &dynamodb.ScanInput{TableName: &name})
	if err != nil {
		t.Fatal(err)
	}
	if left := len(out.UnprocessedItems[name]); left < 5 || len(there.Items) < 5 || left+len(there.Items) != len(writes) {
		t.Errorf("%d left, %d there, of %d", left, len(there.Items), len(writes))
	}
}

// A page of a query ends at 1 MB.
func TestDynamoDBPagesConform(t *testing.T) {
	t.Parallel()
	peer := clientsOf(endpointOf(t, dynamodbVariable))
	name := peer.table(t)
	const items = 10
	for i := range items {
		_, err := peer.dynamodb.PutItem(t.Context(), &dynamodb.PutItemInput{
			TableName: &name, Item: item{"p": text("p"), "s": text(fmt.Sprint(i)), "v": text(strings.Repeat("x", 300<<10))},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	in := &dynamodb.QueryInput{
		TableName: &name, KeyConditionExpression: sdk.String("p = :p"), ExpressionAttributeValues: item{":p": text("p")}, ConsistentRead: sdk.Bool(true),
	}
	got, pages := 0, 0
	for more := true; more; pages++ {
		out, err := peer.dynamodb.Query(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		got += len(out.Items)
		in.ExclusiveStartKey, more = out.LastEvaluatedKey, out.LastEvaluatedKey != nil
	}
	if got != items || pages != 3 {
		t.Errorf("%d items in %d pages, want %d in 3", got, pages, items)
	}
}

// What dynalite does not know at all. The proxy agrees to a time to live.
func TestDynamoDBOperationsConform(t *testing.T) {
	t.Parallel()
	endpoint := endpointOf(t, dynamodbVariable)
	peer, lawful := clientsOf(endpoint), before(t, endpoint, DynamoDBTimeToLive())
	name := peer.table(t)
	live := &dynamodb.UpdateTimeToLiveInput{TableName: &name, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: sdk.String("t"), Enabled: sdk.Bool(true)}}
	_, err := peer.dynamodb.UpdateTimeToLive(t.Context(), live)
	wantCode(t, "UpdateTimeToLive, peer", err, "UnknownOperationException")
	out, err := lawful.dynamodb.UpdateTimeToLive(t.Context(), live)
	wantCode(t, "UpdateTimeToLive, proxy", err, "")
	if err == nil && !*out.TimeToLiveSpecification.Enabled {
		t.Error("the proxy does not say what it has agreed to")
	}
	_, err = peer.dynamodb.TransactWriteItems(t.Context(), &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
		{Put: &types.Put{TableName: &name, Item: item{"p": text("p"), "s": text("s")}}},
	}})
	wantCode(t, "TransactWriteItems", err, "UnknownOperationException")
}
