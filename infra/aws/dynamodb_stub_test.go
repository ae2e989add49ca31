package aws

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// call is a request that the stub got: an operation of DynamoDB with its input, or "PUT <path>" and the like of S3.
type call struct {
	op   string
	in   map[string]any
	body []byte
	head http.Header
}

// reply is the stub's answer. lost is one that the client never gets.
type reply struct {
	status int
	body   string
	head   map[string]string
	lost   bool
}

var (
	ok       = reply{status: 200, body: `{}`}
	lost     = reply{lost: true}
	conflict = reply{status: 400, body: `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}`}
	throttle = reply{status: 400, body: `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}`}
	denied   = reply{status: 400, body: `{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"no"}`}
)

// dynamoStub is an HTTP server that answers in the place of DynamoDB and S3, and remembers what it was asked.
type dynamoStub struct {
	Clients
	mu    sync.Mutex
	calls []call
}

// newDynamoStub answers with what answer returns; it is called for one request at a time.
func newDynamoStub(t *testing.T, answer func(call) reply) *dynamoStub {
	t.Helper()
	s := &dynamoStub{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, answer) }))
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	s.Clients = clientsOf(server.URL, &http.Client{Transport: transport})
	return s
}

// nobodyListens is an address without a server. A port that was let go of would not do: another test may have it by then.
const nobodyListens = "http://127.0.0.1:1"

// clientsOf retry as the real ones do, but without long pauses.
func clientsOf(endpoint string, over s3.HTTPClient) Clients {
	creds := credentials.NewStaticCredentialsProvider("id", "secret", "")
	retryer := retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
	return Clients{
		DynamoDB: dynamodb.New(dynamodb.Options{
			BaseEndpoint: &endpoint, Region: "eu-central-1", Credentials: creds, HTTPClient: over, Retryer: retryer,
		}),
		S3: s3.New(s3.Options{
			BaseEndpoint: &endpoint, Region: "eu-central-1", Credentials: creds, HTTPClient: over, Retryer: retryer, UsePathStyle: true,
			DisableLogOutputChecksumValidationSkipped: true,
		}),
		Athena: athena.New(athena.Options{
			BaseEndpoint: &endpoint, Region: "eu-central-1", Credentials: creds, HTTPClient: over, Retryer: retryer,
		}),
		SQS: sqs.New(sqs.Options{
			BaseEndpoint: &endpoint, Region: "eu-central-1", Credentials: creds, HTTPClient: over, Retryer: retryer,
		}),
	}
}

func (s *dynamoStub) serve(w http.ResponseWriter, r *http.Request, answer func(call) reply) {
	c := call{op: r.Method + " " + r.URL.Path, head: r.Header}
	c.body, _ = io.ReadAll(r.Body) // what is cut is no JSON, and has another checksum
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		_, c.op, _ = strings.Cut(target, ".")
		if err := json.Unmarshal(c.body, &c.in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	s.mu.Lock()
	s.calls = append(s.calls, c)
	a := answer(c)
	s.mu.Unlock()
	if a.lost {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	for k, v := range a.head {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body) // the client sees what is missing
}

// ops are the operations asked for so far, in order.
func (s *dynamoStub) ops() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ops []string
	for _, c := range s.calls {
		ops = append(ops, c.op)
	}
	return ops
}

// script answers the n-th request with the n-th reply, and fails the test at more.
func script(t *testing.T, replies ...func(call) reply) func(call) reply {
	n := 0
	return func(c call) reply {
		if n++; n > len(replies) {
			t.Errorf("request %d is one too many: %s", n, c.op)
			return denied
		}
		return replies[n-1](c)
	}
}

func always(r reply) func(call) reply { return func(call) reply { return r } }

// keep answers with r, and takes the item of a PutItem down.
func keep(into *any, r reply) func(call) reply {
	return func(c call) reply { *into = c.in["Item"]; return r }
}

// show answers a GetItem with the item, nil for none.
func show(it *any) func(call) reply {
	return func(call) reply {
		out := map[string]any{}
		if *it != nil {
			out["Item"] = *it
		}
		b, err := json.Marshal(out)
		if err != nil {
			return reply{status: 500}
		}
		return reply{status: 200, body: string(b)}
	}
}

var testTables = Tables{Events: "events", State: "state"}

// attribute is the value of an item in a request, as DynamoDB's JSON has it: {"S": "text"}.
func attribute(it any, name string) string {
	m, _ := it.(map[string]any)
	v, _ := m[name].(map[string]any)
	for _, x := range v {
		s, _ := x.(string)
		return s
	}
	return ""
}
