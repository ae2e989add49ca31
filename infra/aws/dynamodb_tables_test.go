package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Any number of processes may make the tables at once, and again.
func TestEnsureTables(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint)
	name := peerName()
	tables := Tables{Events: name + "-events", State: name + "-state"}
	cleanup(t, func(ctx context.Context) error { return removeTables(ctx, c.DynamoDB, tables.Events, tables.State) })
	if err := tables.Check(t.Context(), c.DynamoDB); !hasCode(err, "ResourceNotFoundException") || !strings.Contains(err.Error(), tables.Events) {
		t.Errorf("Check without tables: %v", err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			err := tables.Ensure(t.Context(), c.DynamoDB)
			if err == nil {
				err = errors.Join(tables.ProveEvents(t.Context(), c.DynamoDB, true), tables.ProveState(t.Context(), c.DynamoDB))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(tables.Ensure(t.Context(), c.DynamoDB), tables.Check(t.Context(), c.DynamoDB)); err != nil {
		t.Error(err)
	}
}

// A table that is somebody else's is not used.
func TestTableWithOtherKeys(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint)
	name := peerName()
	cleanup(t, func(ctx context.Context) error { return removeTables(ctx, c.DynamoDB, name) })
	_, err := c.DynamoDB.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: sdk.String(name), BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: sdk.String("id"), KeyType: types.KeyTypeHash}, {AttributeName: sdk.String("at"), KeyType: types.KeyTypeRange}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: sdk.String("at"), AttributeType: types.ScalarAttributeTypeN}, {AttributeName: sdk.String("id"), AttributeType: types.ScalarAttributeTypeS}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := waitActive(t.Context(), c.DynamoDB, name); err != nil { // it can't be deleted before
		t.Fatal(err)
	}
	tables := Tables{Events: name, State: name}
	for what, do := range map[string]func(context.Context, *dynamodb.Client) error{"Check": tables.Check, "Ensure": tables.Ensure, "ProveEvents": proveEvents(tables)} {
		if err := do(t.Context(), c.DynamoDB); !errors.Is(err, ErrTableSchema) || !strings.Contains(err.Error(), "id S hash, at N range, want id S hash") {
			t.Errorf("%s: %v, want ErrTableSchema", what, err)
		}
	}
}

func TestKeysText(t *testing.T) {
	t.Parallel()
	want, _ := Tables{Events: "e", State: "s"}.keys()[1].schema()
	right := keysText(want, nil)
	for text, attributes := range map[string][]types.AttributeDefinition{
		"pk S hash, sk S range": nil,
		"pk N hash, sk S range": {{AttributeName: sdk.String("pk"), AttributeType: types.ScalarAttributeTypeN}},
		"pk S hash, sk B range": {{AttributeName: sdk.String("sk"), AttributeType: types.ScalarAttributeTypeB}},
	} {
		if got := keysText([]types.KeySchemaElement{want[1], want[0]}, attributes); got != text || (got == right) != (attributes == nil) {
			t.Errorf("%q, want %q", got, text)
		}
	}
}

// tableOf is DescribeTable's answer for a table with the right keys.
func tableOf(t *testing.T, k tableKeys, status string) reply {
	t.Helper()
	var schema, attributes []map[string]string
	for i, name := range k.names {
		schema = append(schema, map[string]string{"AttributeName": name, "KeyType": []string{"HASH", "RANGE"}[i]})
		attributes = append(attributes, map[string]string{"AttributeName": name, "AttributeType": "S"})
	}
	b, err := json.Marshal(map[string]any{"Table": map[string]any{"TableStatus": status, "KeySchema": schema, "AttributeDefinitions": attributes}})
	if err != nil {
		t.Fatal(err)
	}
	return reply{status: 200, body: string(b)}
}

// The state table's expiry is turned on once, and an attribute that is somebody else's is not taken over.
func TestEnsureExpiry(t *testing.T) {
	t.Parallel()
	describe := func(status, attribute string) reply {
		return reply{status: 200, body: fmt.Sprintf(`{"TimeToLiveDescription":{"TimeToLiveStatus":%q,"AttributeName":%q}}`, status, attribute)}
	}
	for name, test := range map[string]struct {
		now, update reply
		asks        bool
		err         string
	}{
		"off":               {describe("DISABLED", ""), ok, true, ""},
		"on":                {describe("ENABLED", "x"), denied, false, ""},
		"on by another":     {describe("ENABLED", "ttl"), ok, false, `TTL attribute is "ttl"`},
		"not permitted":     {describe("DISABLED", ""), denied, true, "allow dynamodb:UpdateTimeToLive"},
		"a stand-in":        {describe("DISABLED", ""), reply{status: 400, body: `{"__type":"x#UnknownOperationException"}`}, true, ""},
		"turned on by now":  {describe("DISABLED", ""), reply{status: 400, body: `{"__type":"x#ValidationException","message":"TimeToLive is already enabled"}`}, true, ""},
		"another complaint": {describe("DISABLED", ""), reply{status: 400, body: `{"__type":"x#ValidationException","message":"no"}`}, true, "turning on the expiry"},
	} {
		right := rightTables(t)
		s := newDynamoStub(t, func(c call) reply {
			switch c.op {
			case "DescribeTimeToLive":
				return test.now
			case "UpdateTimeToLive":
				return test.update
			default:
				return right(c)
			}
		})
		err := testTables.Ensure(t.Context(), s.DynamoDB)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, want %q", name, err, test.err)
		}
		if got := slices.Contains(s.ops(), "UpdateTimeToLive"); got != test.asks {
			t.Errorf("%s: turned on: %v", name, got)
		}
	}
}

// A table that another process is making is waited for, and nothing else uses it before.
func TestTableBeingCreated(t *testing.T) {
	t.Parallel()
	right, described := rightTables(t), 0
	s := newDynamoStub(t, func(c call) reply {
		if c.op == "DescribeTable" && c.in["TableName"] == testTables.Events {
			if described++; described <= 3 {
				return tableOf(t, testTables.keys()[0], "CREATING")
			}
		}
		return right(c)
	})
	if err := testTables.Check(t.Context(), s.DynamoDB); !errors.Is(err, errCreating) {
		t.Errorf("Check: %v, want errCreating", err)
	}
	if err := testTables.Ensure(t.Context(), s.DynamoDB); err != nil || described < 4 {
		t.Errorf("Ensure: %v, after it asked %d times", err, described)
	}
	s = newDynamoStub(t, func(call) reply { return tableOf(t, testTables.keys()[0], "DELETING") })
	if err := testTables.Ensure(t.Context(), s.DynamoDB); err == nil || !strings.Contains(err.Error(), "table events is DELETING") {
		t.Errorf("Ensure of a table that is going: %v", err)
	}
}

// Where tables may not be made, it is said which.
func TestEnsureNotPermitted(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, func(c call) reply {
		if c.op == "DescribeTable" {
			return reply{status: 400, body: `{"__type":"x#ResourceNotFoundException"}`}
		}
		return denied
	})
	err := testTables.Ensure(t.Context(), s.DynamoDB)
	if err == nil || !strings.Contains(err.Error(), "table events is not there, and making it (id S hash) failed: allow dynamodb:CreateTable to") {
		t.Error(err)
	}
}
