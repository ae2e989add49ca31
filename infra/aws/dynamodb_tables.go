package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Tables are the names of the two tables. Attribute names are short, since every item pays for them.
//
// Events, key id: one item per event.
//
//	id  S  the event's id
//	e   B  the encoded event in a zstd frame; where o is there, without its data
//	o   S  key of the object that holds the data, in a zstd frame
//
// State, keys pk and sk; '#' ends the first word of pk.
//
//	pk                          sk               is
//	lease#<sink>                <shard>          a lease: o S owner (not there: given back), n N renewal, t B token, w N when it was
//	                                             put (ns), and what was told with it, as far as there is any: p, a, e as of a
//	                                             checkpoint, l N lag (ns), m S last error, y N its age (ns), f N 1 while it lasts
//	checkpoint#<shard>          index            how far the index is: p S place, a N as of (ns; 0: unknown), e N end (0, 1)
//	claim#<SHA-256 of its key>  claim            a claim: i S id, r N received (ns), f B fingerprint, d N 1 when done,
//	                                             x N expiry (s, the table's TTL attribute), t B token
//	try#<its ID's second>       <ID of a claim>  that its events are being put once more: a N since when (ns), x N expiry, t B token
//	secret#<name>               secret           what processes have in common and nobody else knows: s B secret
//	dead#<sink>                 <shard>#<place>  a dead letter: a N arrived (ns), r S reason, s N bytes, o S key of the object
//	query#<id>                  query            an execution of SQL: q S SQL, s S state, k S token, f B fingerprint, a N submitted,
//	                                             b N started, e N ended, c N complete through (ns; 0: not known), n N rows, d N bytes
//	                                             scanned, l N elapsed (ns), o N bytes of the result, m S error; x N expiry
//	started#<token>             query            the execution that it started: i S id; x N expiry
//	queries                     <age>#<id>       that there is the execution; the age, in ns and counted down, sorts the newest first;
//	                                             x N expiry
//
// A place is a position as text that sorts like it; see encodePlace. A token is made for one call, so that a call whose answer was
// lost knows its own item.
type Tables struct {
	Events, State string
}

// expiry is the state table's TTL attribute: seconds since 1970, as TTL wants it
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-before-you-start.html).
const expiry = "x"

// tableTime is how long a new table may take to become active.
const tableTime = 2 * time.Minute

// ErrTableSchema: a table of that name is there, but not with the keys that Penstock needs.
var ErrTableSchema = errors.New("table has other keys")

// errCreating: the table is being made.
var errCreating = errors.New("is being created; wait a moment")

// tableKeys are the names of a table's key attributes, the partition key first. All are strings.
type tableKeys struct {
	table string
	names []string
}

func (t Tables) keys() []tableKeys {
	return []tableKeys{{t.Events, []string{"id"}}, {t.State, []string{"pk", "sk"}}}
}

func (k tableKeys) schema() (schema []types.KeySchemaElement, attributes []types.AttributeDefinition) {
	for i, name := range k.names {
		kind := types.KeyTypeHash
		if i > 0 {
			kind = types.KeyTypeRange
		}
		schema = append(schema, types.KeySchemaElement{AttributeName: sdk.String(name), KeyType: kind})
		attributes = append(attributes, types.AttributeDefinition{
			AttributeName: sdk.String(name), AttributeType: types.ScalarAttributeTypeS,
		})
	}
	return schema, attributes
}

// Check fails unless both tables can be used and have the keys that Penstock needs: ErrTableSchema when one has others.
func (t Tables) Check(ctx context.Context, client *dynamodb.Client) error {
	for _, k := range t.keys() {
		if err := k.check(ctx, client); err != nil {
			return err
		}
	}
	return nil
}

func (k tableKeys) check(ctx context.Context, client *dynamodb.Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: sdk.String(k.table)})
	if err != nil {
		return fmt.Errorf("table %s: %w", k.table, advised(err, client.Options().Region, "dynamodb:DescribeTable"))
	}
	want, _ := k.schema()
	if got, want := keysText(out.Table.KeySchema, out.Table.AttributeDefinitions), keysText(want, nil); got != want {
		return fmt.Errorf("table %s: %w: %s, want %s; name another table, or delete this one if nothing of worth is in it",
			k.table, ErrTableSchema, got, want)
	}
	switch out.Table.TableStatus {
	case types.TableStatusActive, types.TableStatusUpdating:
		return nil
	case types.TableStatusCreating:
		return fmt.Errorf("table %s: %w", k.table, errCreating)
	default:
		return fmt.Errorf("table %s is %s", k.table, out.Table.TableStatus)
	}
}

// keysText tells a key schema as "pk S hash, sk S range"; what attributes does not define is a string.
func keysText(schema []types.KeySchemaElement, attributes []types.AttributeDefinition) string {
	var parts []string
	for _, e := range schema {
		name, kind := sdk.ToString(e.AttributeName), types.ScalarAttributeTypeS
		for _, a := range attributes {
			if sdk.ToString(a.AttributeName) == name {
				kind = a.AttributeType
			}
		}
		parts = append(parts, fmt.Sprintf("%s %s %s", name, kind, strings.ToLower(string(e.KeyType))))
	}
	slices.SortFunc(parts, func(a, b string) int { // hash before range
		return strings.Compare(a[strings.LastIndexByte(a, ' '):], b[strings.LastIndexByte(b, ' '):])
	})
	return strings.Join(parts, ", ")
}

// Ensure makes the tables that are not there, billed by request, and has the state table's expired claims deleted. It
// returns once both can be used and have the right keys, as by Check. Any number of processes may do it at a time.
func (t Tables) Ensure(ctx context.Context, client *dynamodb.Client) error {
	for _, k := range t.keys() {
		if err := k.ensure(ctx, client); err != nil {
			return err
		}
	}
	return t.ensureExpiry(ctx, client)
}

func (k tableKeys) ensure(ctx context.Context, client *dynamodb.Client) error {
	err := k.check(ctx, client)
	if hasCode(err, "ResourceNotFoundException") {
		err = k.create(ctx, client)
	}
	if !errors.Is(err, errCreating) {
		return err
	}
	if err := waitActive(ctx, client, k.table); err != nil {
		return err
	}
	return k.check(ctx, client)
}

func waitActive(ctx context.Context, client *dynamodb.Client, table string) error {
	active := dynamodb.NewTableExistsWaiter(client, func(o *dynamodb.TableExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 100*time.Millisecond, 5*time.Second
	})
	if err := active.Wait(ctx, &dynamodb.DescribeTableInput{TableName: sdk.String(table)}, tableTime); err != nil {
		return fmt.Errorf("waiting for the new table %s: %w", table, err)
	}
	return nil
}

// create returns errCreating, also when another process is at it.
func (k tableKeys) create(ctx context.Context, client *dynamodb.Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	schema, attributes := k.schema()
	_, err := client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: sdk.String(k.table), BillingMode: types.BillingModePayPerRequest,
		KeySchema: schema, AttributeDefinitions: attributes,
	})
	if err != nil && !hasCode(err, "ResourceInUseException") {
		return fmt.Errorf("table %s is not there, and making it (%s) failed: %w",
			k.table, keysText(schema, attributes), advised(err, client.Options().Region, "dynamodb:CreateTable"))
	}
	return errCreating
}

// ensureExpiry turns the TTL on. It only gives space back: an expired claim is ignored with or without it.
func (t Tables) ensureExpiry(ctx context.Context, client *dynamodb.Client) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	now, err := client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: sdk.String(t.State)})
	if err != nil {
		return fmt.Errorf("expiry of table %s: %w", t.State, advised(err, client.Options().Region, "dynamodb:DescribeTimeToLive"))
	}
	if d := now.TimeToLiveDescription; d != nil {
		switch d.TimeToLiveStatus {
		case types.TimeToLiveStatusEnabled, types.TimeToLiveStatusEnabling:
			if name := sdk.ToString(d.AttributeName); name != expiry {
				return fmt.Errorf("table %s: its TTL attribute is %q: turn that off, wait an hour, and start again", t.State, name)
			}
			return nil
		}
	}
	_, err = client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName:               sdk.String(t.State),
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: sdk.String(expiry), Enabled: sdk.Bool(true)},
	})
	// A stand-in for DynamoDB may not know the operation. And two processes may be at it at once: DynamoDB takes one change
	// an hour.
	if err == nil || hasCode(err, "UnknownOperationException") {
		return nil
	}
	if hasCode(err, "ValidationException") && strings.Contains(err.Error(), "already enabled") {
		return nil
	}
	return fmt.Errorf("turning on the expiry of table %s by attribute %s: %w", t.State, expiry, advised(err, client.Options().Region, "dynamodb:UpdateTimeToLive"))
}
