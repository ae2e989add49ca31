package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

var deniedObject = reply{status: 403, body: "<Error><Code>AccessDenied</Code></Error>"}

// proveEvents is a proof of the events table alone.
func proveEvents(tables Tables) func(context.Context, *dynamodb.Client) error {
	return func(ctx context.Context, client *dynamodb.Client) error { return tables.ProveEvents(ctx, client, true) }
}

// proveAll makes the proofs one after the other, up to the first that fails.
func proveAll(ctx context.Context, c Clients) error {
	for _, proof := range []func() error{
		func() error { return testTables.ProveEvents(ctx, c.DynamoDB, true) },
		func() error { return testTables.ProveState(ctx, c.DynamoDB) },
		func() error { return ProveBucket(ctx, c, "bucket") },
	} {
		if err := proof(); err != nil {
			return err
		}
	}
	return nil
}

// listing is S3's answer to a listing of the bucket.
func listing(objects map[string]string) reply {
	var b strings.Builder
	b.WriteString("<ListBucketResult>")
	for path := range objects {
		fmt.Fprintf(&b, "<Contents><Key>%s</Key></Contents>", strings.TrimPrefix(path, "/bucket/"))
	}
	return reply{status: 200, body: b.String() + "</ListBucketResult>"}
}

// rightTables answers as DynamoDB and S3 would, for one who may do everything.
func rightTables(t *testing.T) func(call) reply {
	objects := map[string]string{}
	return func(c call) reply {
		path := strings.TrimLeft(c.op, "PUTGEDL ")
		switch word, _, _ := strings.Cut(c.op, " "); word {
		case "DescribeTable":
			for _, k := range testTables.keys() {
				if k.table == c.in["TableName"] {
					return tableOf(t, k, "ACTIVE")
				}
			}
		case "GetItem":
			return reply{status: 200, body: `{"Item":{"id":{"S":"x"}}}`}
		case "PUT":
			objects[path] = string(c.body)
		case "GET":
			if body, found := objects[path]; found {
				return reply{status: 200, body: body}
			}
			if path == "/bucket" {
				return listing(objects)
			}
			return reply{status: 404, body: "<Error><Code>NoSuchKey</Code></Error>"}
		case "DELETE":
			delete(objects, path)
		}
		return ok
	}
}

// Proofs need exactly these permissions, and name the one that is missing.
func TestProofsNameWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, rightTables(t))
	if err := proveAll(t.Context(), s.Clients); err != nil {
		t.Fatal(err)
	}
	operations := map[string]string{
		"DescribeTable": "dynamodb:DescribeTable", "BatchWriteItem": "dynamodb:BatchWriteItem", "GetItem": "dynamodb:GetItem",
		"DescribeTimeToLive": "dynamodb:DescribeTimeToLive", "PutItem": "dynamodb:PutItem", "UpdateItem": "dynamodb:UpdateItem", "Query": "dynamodb:Query",
		"DeleteItem": "dynamodb:DeleteItem", "PUT": "s3:PutObject", "GET": "s3:GetObject", "DELETE": "s3:DeleteObject",
	}
	asked := map[string]bool{}
	for _, op := range s.ops() {
		asked[firstWords([]string{op})] = true
	}
	if got, want := slices.Sorted(maps.Keys(asked)), slices.Sorted(maps.Keys(operations)); !slices.Equal(got, want) {
		t.Errorf("the proofs ask for %q, want %q", got, want)
	}
	for op, action := range operations {
		right := rightTables(t)
		s := newDynamoStub(t, func(c call) reply {
			switch {
			case firstWords([]string{c.op}) != op:
				return right(c)
			case strings.Contains(action, "s3:"):
				return deniedObject
			default:
				return denied
			}
		})
		if err := proveAll(t.Context(), s.Clients); err == nil || !strings.Contains(err.Error(), "allow "+action+" ") {
			t.Errorf("without %s: %v", action, err)
		}
	}
	for what, needs := range map[string]func(call, reply) bool{
		"a listing":        func(c call, _ reply) bool { return c.op == "GET /bucket" },
		"an object's lack": func(_ call, a reply) bool { return a.status == 404 },
	} {
		right := rightTables(t)
		s := newDynamoStub(t, func(c call) reply {
			a := right(c)
			if needs(c, a) {
				return deniedObject
			}
			return a
		})
		if err := proveAll(t.Context(), s.Clients); err == nil || !strings.Contains(err.Error(), "allow s3:ListBucket ") {
			t.Errorf("without s3:ListBucket for %s: %v", what, err)
		}
	}
}

// On real peers the proofs succeed, and leave nothing.
func TestProofs(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint, s3Endpoint)
	tables, bucket := newTables(t, c), newBucket(t, c)
	if err := errors.Join(
		tables.ProveEvents(t.Context(), c.DynamoDB, true), tables.ProveState(t.Context(), c.DynamoDB), ProveBucket(t.Context(), c, bucket),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{tables.Events, tables.State} {
		out, err := c.DynamoDB.Scan(t.Context(), &dynamodb.ScanInput{TableName: sdk.String(name), ConsistentRead: sdk.Bool(true)})
		if err != nil || len(out.Items) > 0 {
			t.Errorf("table %s holds %v, %v", name, out.Items, err)
		}
	}
	if keys, err := bucketKeys(t.Context(), c.S3, bucket); err != nil || len(keys) > 0 {
		t.Errorf("bucket holds %q, %v", keys, err)
	}
	if err := ProveBucket(t.Context(), c, peerName()); err == nil || !strings.Contains(err.Error(), "check the name, and that region") {
		t.Errorf("proof of no bucket: %v", err)
	}
}

// What an error is taken for, and what it says to do.
func TestAdvice(t *testing.T) {
	t.Parallel()
	code := func(code string) func(call) reply {
		return always(reply{status: 400, body: fmt.Sprintf(`{"__type":"x#%s"}`, code)})
	}
	for advice, answer := range map[string]func(call) reply{
		"allow dynamodb:DescribeTable to":     code("AccessDeniedException"),
		"expired: renew them":                 code("ExpiredTokenException"),
		"not known in region eu-central-1":    code("UnrecognizedClientException"),
		"check the name, and that region":     code("ResourceNotFoundException"),
		"signature is not accepted":           code("InvalidSignatureException"),
		"asked for dynamodb:DescribeTable in": code("ValidationException"),
	} {
		if err := testTables.Check(t.Context(), newDynamoStub(t, answer).DynamoDB); err == nil || !strings.Contains(err.Error(), advice) {
			t.Errorf("%v, want %q", err, advice)
		}
	}
	moved := newDynamoStub(t, always(reply{status: 301, body: "<Error><Code>PermanentRedirect</Code></Error>"}))
	if err := ProveBucket(t.Context(), moved.Clients, "bucket"); err == nil || !strings.Contains(err.Error(), "the bucket is not in region eu-central-1") {
		t.Errorf("bucket elsewhere: %v", err)
	}
	nobody := clientsOf(nobodyListens, &http.Client{})
	if err := testTables.Check(t.Context(), nobody.DynamoDB); err == nil || !strings.Contains(err.Error(), "there is no connection") {
		t.Errorf("nobody listens: %v", err)
	}
	options := nobody.DynamoDB.Options()
	options.Credentials = sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
		return sdk.Credentials{}, errors.New("none found")
	})
	if err := testTables.Check(t.Context(), dynamodb.New(options)); err == nil || !strings.Contains(err.Error(), "if credentials are missing") {
		t.Errorf("no credentials: %v", err)
	}
}

// Whatever a proof fails at, and also when it is told to stop after a request has landed, no probe is left.
func TestProbesAreRemoved(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, rightTables(t))
	if err := proveAll(t.Context(), s.Clients); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= len(s.ops()); n++ {
		for _, stopped := range []bool{false, true} {
			ctx, stop := context.WithCancel(t.Context())
			right, left, seen := rightTables(t), map[any]bool{}, 0
			failing := newDynamoStub(t, func(c call) reply {
				if seen++; seen == n && !stopped {
					if c.in == nil {
						return deniedObject
					}
					return denied
				}
				switch word := firstWords([]string{c.op}); word {
				case "BatchWriteItem":
					left[testTables.Events] = true
				case "PutItem", "UpdateItem":
					left[c.in["TableName"]] = true
				case "DeleteItem":
					delete(left, c.in["TableName"])
				case "PUT":
					left[c.op[len("PUT "):]] = true
				case "DELETE":
					delete(left, c.op[len("DELETE "):])
				}
				a := right(c)
				if seen == n {
					stop()
					a = lost
				}
				return a
			})
			if err := proveAll(ctx, failing.Clients); err == nil {
				t.Errorf("request %d failed, and nobody was told", n)
			}
			stop()
			if len(left) > 0 {
				t.Errorf("request %d failed (the caller stopped: %v): %v is left", n, stopped, left)
			}
		}
	}
}

// A probe that can't be removed is named; one that was never written is not.
func TestProbeThatStays(t *testing.T) {
	t.Parallel()
	for op, stays := range map[string]bool{"GetItem": true, "BatchWriteItem": false} {
		right := rightTables(t)
		s := newDynamoStub(t, func(c call) reply {
			if c.op == op || c.op == "DeleteItem" {
				return denied
			}
			return right(c)
		})
		err := testTables.ProveEvents(t.Context(), s.DynamoDB, true)
		if err == nil || !strings.Contains(err.Error(), "allow dynamodb:"+op+" ") || strings.Contains(err.Error(), "the probe probe#") != stays {
			t.Errorf("without %s and DeleteItem: %v", op, err)
		}
	}
}

// A front end only reads the events table, and need not be permitted more.
func TestProveReading(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, rightTables(t))
	if err := testTables.ProveEvents(t.Context(), s.DynamoDB, false); err != nil || !slices.Equal(s.ops(), []string{"DescribeTable", "GetItem"}) {
		t.Errorf("%v, after %q", err, s.ops())
	}
}

// A table that is not there is made by whoever starts; a proof makes none.
func TestProveMissingTable(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, always(reply{status: 400, body: `{"__type":"x#ResourceNotFoundException"}`}))
	for name, err := range map[string]error{
		testTables.Events: testTables.ProveEvents(t.Context(), s.DynamoDB, true), testTables.State: testTables.ProveState(t.Context(), s.DynamoDB),
	} {
		mustContain(t, err, "table "+name+" is not in region eu-central-1", "start a process")
	}
	if slices.Contains(s.ops(), "CreateTable") {
		t.Error("a proof made a table")
	}
}
