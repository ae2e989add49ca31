package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"penstock/consumer/query"
	"penstock/infra/aws/athenatest"
)

// testThrough is how fresh the lake is in these tests.
var testThrough = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

const testToken = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func testAthenaConfig(t *testing.T) AthenaConfig {
	t.Helper()
	return AthenaConfig{
		Workgroup: "analysts", Database: "penstock", Output: "s3://bucket/queries/", MaxResultBytes: 1 << 30,
		CompleteThrough: func(context.Context) (time.Time, error) { return testThrough, nil },
		Logger:          slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// scripted answers SQL by a table: what is not in it is a syntax error. A statement that begins with "wait" runs until it is stopped.
type scripted map[string]string

func (s scripted) Check(_ context.Context, sql string, _ []string) error {
	if _, ok := s[strings.TrimSpace(sql)]; !ok {
		return refuseSQL("line 1:1: syntax error at %.20q", sql)
	}
	return nil
}

func (s scripted) Run(ctx context.Context, sql string, _ []string, result io.Writer) (query.Statistics, error) {
	answer := s[strings.TrimSpace(sql)]
	switch {
	case answer == "wait":
		<-ctx.Done()
		return query.Statistics{}, ctx.Err()
	case strings.HasPrefix(answer, "fail "):
		return query.Statistics{}, refuseSQL("%s", strings.TrimPrefix(answer, "fail "))
	}
	_, err := io.WriteString(result, answer)
	return query.Statistics{Rows: 1, ScannedBytes: 4711}, err
}

var script1 = scripted{
	"SELECT 1": "\"n\"\n\"1\"\n", "SELECT endless": "wait", "SELECT bad": "fail line 1:8: Column 'bad' cannot be resolved",
	"DESCRIBE events":  "\"col_name\",\"data_type\",\"comment\"\n\"id\",\"string\",\"\"\n\"a \"\"b\"\"\",\"map<string,string>\",\"c\"\n",
	"EXPLAIN SELECT 1": "\"explain_key\",\"explain_value\"\n\"plan\",\"one\n  two \"\"2\"\"\n\"\n",
}

// athenaWorld is an engine on servers of its own.
type athenaWorld struct {
	*Athena
	server  *athenatest.Server
	objects *athenatest.Objects
}

func newAthenaWorld(t *testing.T, cfg AthenaConfig, server athenatest.Config) athenaWorld {
	t.Helper()
	w := athenaWorld{objects: athenatest.NewObjects(t)}
	server.S3, server.Workgroup = w.objects.Client(), "analysts"
	if server.SQL == nil {
		server.SQL = script1
	}
	w.server = athenatest.New(t, server)
	w.Athena = NewAthena(Clients{Athena: athenaClient(t, w.server.URL), S3: w.objects.Client(), SQS: sqsClient(t, cfg.EventsQueue)}, cfg)
	return w
}

func athenaClient(t *testing.T, endpoint string) *athena.Client {
	t.Helper()
	return athena.New(athena.Options{
		BaseEndpoint: aws.String(endpoint), Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		Retryer: quick(), HTTPClient: ownTransport(t),
	})
}

func sqsClient(t *testing.T, endpoint string) *sqs.Client {
	t.Helper()
	return sqs.New(sqs.Options{
		BaseEndpoint: aws.String(endpoint), Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		Retryer: quick(), HTTPClient: ownTransport(t),
	})
}

// quick retries as the SDK does, but without long pauses.
func quick() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
}

// ownTransport leaves no connection behind the test.
func ownTransport(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func startStatement(t *testing.T, a *Athena, sql string) query.Execution {
	t.Helper()
	e, err := a.Start(t.Context(), query.Statement{SQL: sql, Token: fmt.Sprintf("%x", append(newToken(), newToken()...))})
	if err != nil {
		t.Fatalf("Start(%s): %v", sql, err)
	}
	return e
}

// untilState asks for an execution until it is in the state.
func untilState(t *testing.T, a *Athena, id string, state query.State) query.Execution {
	t.Helper()
	for {
		list, _, err := a.Status(t.Context(), []string{id})
		if err != nil || len(list) != 1 {
			t.Fatalf("Status: %+v, %v", list, err)
		}
		if list[0].State == state {
			return list[0]
		}
		if list[0].State.Finished() {
			t.Fatalf("%+v, want it %s", list[0], state)
		}
	}
}

// A start says all that Athena has to know, and knows what it has started before.
func TestAthenaStart(t *testing.T) {
	t.Parallel()
	w := newAthenaWorld(t, testAthenaConfig(t), athenatest.Config{SQL: scripted{"SELECT ?": "\"a\"\n"}})
	s := query.Statement{SQL: "SELECT ? -- \n", Parameters: []string{"it's"}, Token: testToken}
	e, err := w.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if e.SQL != s.SQL || e.Statistics.Rows != query.UnknownRows || !e.CompleteThrough.Equal(testThrough) || time.Since(e.Submitted) > time.Minute {
		t.Errorf("%+v", e)
	}
	if again, err := w.Start(t.Context(), s); err != nil || again.ID != e.ID {
		t.Errorf("again: %+v, %v", again, err)
	}
	s.Parameters[0] = "other"
	if other, err := w.Start(t.Context(), s); !errors.Is(err, query.ErrKeyReused) {
		t.Errorf("the token with another parameter: %+v, %v", other, err)
	}
	if n := w.server.Calls("StartQueryExecution"); n != 3 {
		t.Errorf("%d calls", n)
	}
}

// What an execution saw that began earlier nobody knows now.
func TestAthenaStartedEarlier(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 6, 8, 0, 0, 0, time.UTC) // by Athena's clock, whatever this host's says
	for ago, want := range map[time.Duration]time.Time{0: testThrough, time.Hour: {}, 2 * time.Second: {}} {
		s := newDynamoStub(t, func(c call) reply {
			answer := map[string]any{"QueryExecutionId": unknownExecution}
			if c.op == "GetQueryExecution" {
				answer = map[string]any{"QueryExecution": map[string]any{
					"QueryExecutionId": unknownExecution, "WorkGroup": "analysts",
					"Status": map[string]any{"State": "RUNNING", "SubmissionDateTime": now.Add(-ago).Unix()},
				}}
			}
			body, err := json.Marshal(answer)
			if err != nil {
				t.Error(err)
			}
			return reply{status: 200, body: string(body), head: map[string]string{"Date": now.Format(http.TimeFormat)}}
		})
		e, err := NewAthena(s.Clients, testAthenaConfig(t)).Start(t.Context(), query.Statement{SQL: "SELECT 1", Token: testToken})
		if err != nil || !e.CompleteThrough.Equal(want) || e.State != query.Running || !e.Submitted.Equal(now.Add(-ago)) {
			t.Errorf("submitted %s ago: %+v, %v", ago, e, err)
		}
	}
}

const unknownExecution = "00000000-0000-4000-8000-000000000000"

// What is started is told, also when nothing more can be learned of it; and what is not known is not made up.
func TestAthenaStartKnowsLittle(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, func(c call) reply {
		if c.op == "GetQueryExecution" {
			return denied
		}
		return reply{status: 200, body: `{"QueryExecutionId":"` + unknownExecution + `"}`}
	})
	cfg := testAthenaConfig(t)
	cfg.CompleteThrough = func(context.Context) (time.Time, error) { return time.Time{}, errors.New("no table") }
	e, err := NewAthena(s.Clients, cfg).Start(t.Context(), query.Statement{SQL: "SELECT 1", Token: testToken})
	if err != nil || e.ID != unknownExecution || e.State != query.Queued || !e.CompleteThrough.IsZero() || e.Submitted.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
}

// Athena's errors at a start are the client's, the operator's, or of the moment.
func TestAthenaStartErrors(t *testing.T) {
	t.Parallel()
	refusal := func(kind, message string) reply {
		body, err := json.Marshal(map[string]string{"__type": kind, "Message": message, "message": message})
		if err != nil {
			t.Fatal(err)
		}
		return reply{status: 400, body: string(body)}
	}
	for name, test := range map[string]struct {
		answer reply
		want   error
		part   string
	}{
		"parse":       {refusal("InvalidRequestException", "line 1:8: mismatched input 'FORM'. Expecting: ','"), query.ErrStatement, "line 1:8: mismatched"},
		"kind":        {refusal("InvalidRequestException", "Queries of this type are not supported"), query.ErrStatement, "not supported"},
		"token":       {refusal("InvalidRequestException", "Idempotent parameters do not match"), query.ErrKeyReused, ""},
		"workgroup":   {refusal("InvalidRequestException", "WorkGroup analysts is not found."), nil, "workgroup analysts"},
		"output":      {refusal("InvalidRequestException", "Unable to verify/create output bucket x"), nil, "athena:StartQueryExecution"},
		"account":     {refusal("InvalidRequestException", "arn:aws:iam::1:role/x is not authorized to perform: y"), nil, "workgroup analysts"},
		"too many":    {refusal("TooManyRequestsException", "You have exceeded the limit"), query.ErrBusy, "exceeded"},
		"throttled":   {refusal("ThrottlingException", "Rate exceeded"), query.ErrBusy, "Rate"},
		"not allowed": {denied, nil, "allow athena:StartQueryExecution"},
	} {
		s := newDynamoStub(t, always(test.answer))
		e, err := NewAthena(s.Clients, testAthenaConfig(t)).Start(t.Context(), query.Statement{SQL: "SELECT 1", Token: testToken})
		if err == nil || !strings.Contains(err.Error(), test.part) {
			t.Errorf("%s: %+v, %v, want …%s…", name, e, err, test.part)
		}
		for _, kind := range []error{query.ErrStatement, query.ErrKeyReused, query.ErrBusy} {
			if errors.Is(err, kind) != errors.Is(test.want, kind) {
				t.Errorf("%s: %v is %v: %v", name, err, kind, errors.Is(err, kind))
			}
		}
	}
}

// One request tells of all, whatever each of them is.
func TestAthenaStatusAsksOnce(t *testing.T) {
	t.Parallel()
	w := newAthenaWorld(t, testAthenaConfig(t), athenatest.Config{Slots: 50, Active: 50})
	ids := []string{"no id", unknownExecution}
	for len(ids) < query.MaxStatus {
		ids = append(ids, startStatement(t, w.Athena, "SELECT endless").ID)
	}
	list, unknown, err := w.Status(t.Context(), ids)
	if err != nil || len(list) != len(ids)-2 || !slices.Equal(unknown, ids[:2]) {
		t.Errorf("told of %d, unknown %q, %v", len(list), unknown, err)
	}
	if n := w.server.Calls("BatchGetQueryExecution"); n != 1 {
		t.Errorf("%d requests", n)
	}
	if list, _, err := w.Status(t.Context(), append(ids, unknownExecution)); err == nil {
		t.Errorf("told of %d when asked for %d", len(list), len(ids)+1)
	}
	if list, _, err := w.Status(t.Context(), ids[:1]); err != nil || len(list) != 0 || w.server.Calls("BatchGetQueryExecution") != 1 {
		t.Errorf("of what can't be: %+v, %v", list, err)
	}
}

// Unknown is not failed: what a batch can't tell is asked for by itself, and unknown only if Athena does not know it. What can't be told
// spoils nothing for others.
func TestAthenaStatusUnprocessed(t *testing.T) {
	t.Parallel()
	w := newAthenaWorld(t, testAthenaConfig(t), athenatest.Config{Slots: 3})
	var ids []string
	for range 3 {
		ids = append(ids, startStatement(t, w.Athena, "SELECT endless").ID)
	}
	single := w.server.Calls("GetQueryExecution")
	w.server.Trouble(ids[1], "INTERNAL_FAILURE", "internal")
	list, unknown, err := w.Status(t.Context(), append(ids, unknownExecution))
	if err != nil || len(list) != 3 || !slices.Equal(unknown, []string{unknownExecution}) || w.server.Calls("BatchGetQueryExecution") != 1 || w.server.Calls("GetQueryExecution") != single+2 {
		t.Errorf("%d executions by %d batches and %d more, %v", len(list), w.server.Calls("BatchGetQueryExecution"),
			w.server.Calls("GetQueryExecution")-single, err)
	}
	w.server.Trouble(ids[2], "ThrottlingException", "Rate exceeded")
	w.server.Throttle("GetQueryExecution", 100)
	single = w.server.Calls("GetQueryExecution")
	list, unknown, err = w.Status(t.Context(), ids)
	if err == nil || !strings.Contains(err.Error(), ids[2]) || !strings.Contains(err.Error(), "Rate exceeded") || len(list) != 2 || len(unknown) > 0 {
		t.Errorf("%+v, unknown %q, %v, want two and an error", list, unknown, err)
	}
	if n := w.server.Calls("GetQueryExecution") - single; n > 3 { // one, and the SDK's tries
		t.Errorf("asked %d times more of who wants a pause", n)
	}
}

// One execution that nobody may ask for, of which a batch says nothing at all or for which it is refused, spoils nothing.
func TestAthenaStatusDenied(t *testing.T) {
	t.Parallel()
	const bad = "00000000-0000-4000-8000-00000000000b"
	told := func(id string) map[string]any {
		return map[string]any{"QueryExecutionId": id, "WorkGroup": "analysts", "Status": map[string]any{"State": "RUNNING"}}
	}
	leftOut := encodeReply(t, map[string]any{"QueryExecutions": []any{told(unknownExecution)}})
	for name, batch := range map[string]reply{"refused": denied, "left out": leftOut} {
		s := newDynamoStub(t, func(c call) reply {
			switch {
			case c.op == "BatchGetQueryExecution":
				return batch
			case c.in["QueryExecutionId"] == bad:
				return denied
			default:
				return encodeReply(t, map[string]any{"QueryExecution": told(unknownExecution)})
			}
		})
		list, unknown, err := NewAthena(s.Clients, testAthenaConfig(t)).Status(t.Context(), []string{bad, unknownExecution})
		if err == nil || !strings.Contains(err.Error(), bad) || len(unknown) > 0 || len(list) != 1 || list[0].ID != unknownExecution {
			t.Errorf("%s: %+v, unknown %q, %v", name, list, unknown, err)
		}
	}
}

func encodeReply(t *testing.T, v any) reply {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return reply{status: 200, body: string(body)}
}

// A result whose size can't be had at this moment keeps back its own execution alone, and one that can never be read keeps back none.
func TestAthenaSizeUnknown(t *testing.T) {
	t.Parallel()
	w := newAthenaWorld(t, testAthenaConfig(t), athenatest.Config{})
	done, running := startStatement(t, w.Athena, "SELECT 1").ID, startStatement(t, w.Athena, "SELECT endless").ID
	untilState(t, w.Athena, done, query.Succeeded)
	for status, told := range map[int]int{http.StatusServiceUnavailable: 1, http.StatusForbidden: 2, http.StatusMovedPermanently: 2} {
		broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		client := s3.New(s3.Options{
			BaseEndpoint: aws.String(broken.URL), Region: "eu-central-1", UsePathStyle: true, Retryer: quick(), HTTPClient: ownTransport(t),
			Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		})
		a := NewAthena(Clients{Athena: w.client, S3: client}, testAthenaConfig(t))
		list, unknown, err := a.Status(t.Context(), []string{done, running})
		if len(list) != told || len(unknown) > 0 || (err == nil) != (told == 2) {
			t.Errorf("%d: told of %+v, unknown %q, %v", status, list, unknown, err)
		}
		broken.Close()
	}
}

// A running execution may be queued again; nothing is made of it.
func TestAthenaStatesGoBack(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var states []string
	w := newAthenaWorld(t, testAthenaConfig(t), athenatest.Config{Relapses: 1, Event: func(event []byte) {
		var e struct{ Detail struct{ CurrentState string } }
		if err := json.Unmarshal(event, &e); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		states = append(states, e.Detail.CurrentState)
	}})
	e := untilState(t, w.Athena, startStatement(t, w.Athena, "SELECT 1").ID, query.Succeeded)
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"QUEUED", "RUNNING", "QUEUED", "RUNNING", "SUCCEEDED"}; !slices.Equal(states, want) {
		t.Errorf("states %q, want %q", states, want)
	}
	if e.Statistics.ScannedBytes != 4711 || e.Statistics.Elapsed <= 0 || e.Started.IsZero() || e.ResultBytes != 8 {
		t.Errorf("%+v", e)
	}
}

// What was started in another workgroup, before the server was given this one, is told of, read and stopped all the same.
func TestAthenaOtherWorkgroup(t *testing.T) {
	t.Parallel()
	w := newAthenaWorld(t, testAthenaConfig(t), athenatest.Config{})
	running, done := startStatement(t, w.Athena, "SELECT endless"), startStatement(t, w.Athena, "SELECT 1")
	cfg := testAthenaConfig(t)
	cfg.Workgroup = "others"
	other := NewAthena(Clients{Athena: w.client, S3: w.s3}, cfg)
	if err := other.Stop(t.Context(), running.ID); err != nil {
		t.Fatal(err)
	}
	untilState(t, other, running.ID, query.Cancelled)
	untilState(t, other, done.ID, query.Succeeded)
	result, size, err := other.Open(t.Context(), done.ID)
	if err != nil || size != int64(len(script1["SELECT 1"])) {
		t.Fatalf("Open: %d bytes, %v", size, err)
	}
	if err := result.Close(); err != nil {
		t.Error(err)
	}
}

// Why an execution failed is told in words for a client, and no others.
func TestAthenaReasons(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"SYNTAX_ERROR: line 1:8: Column 'x' cannot be resolved. This query ran against the \"penstock\" database, unless qualified by the query. Please post": "SYNTAX_ERROR: line 1:8: Column 'x' cannot be resolved",
		"Query exhausted resources at this scale factor":                               "query limit exceeded: Query exhausted resources at this scale factor",
		"Insufficient permissions to execute the query. Error: User: x":                "the query failed inside Athena; the server's log says why, under this execution's id",
		"HIVE_CANNOT_OPEN_SPLIT: Error opening s3://bucket/lake/events/data/x.parquet": "the query failed inside Athena; the server's log says why, under this execution's id",
		"":                        "the query failed inside Athena; the server's log says why, under this execution's id",
		strings.Repeat("é", 1000): strings.Repeat("é", 500) + "…",
	} {
		body, err := json.Marshal(map[string]any{"QueryExecutions": []any{map[string]any{
			"QueryExecutionId": unknownExecution, "WorkGroup": "analysts", "Status": map[string]any{"State": "FAILED", "StateChangeReason": raw},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		s := newDynamoStub(t, always(reply{status: 200, body: string(body)}))
		list, _, err := NewAthena(s.Clients, testAthenaConfig(t)).Status(t.Context(), []string{unknownExecution})
		if err != nil || len(list) != 1 || list[0].Error != want || list[0].State != query.Failed {
			t.Errorf("%.60q:\ngot  %+v, %v\nwant %q", raw, list, err, want)
		}
	}
}

func TestAthenaScanLimit(t *testing.T) {
	t.Parallel()
	w := newAthenaWorld(t, testAthenaConfig(t), athenatest.Config{ScanLimit: 4000})
	e := untilState(t, w.Athena, startStatement(t, w.Athena, "SELECT 1").ID, query.Failed)
	if !strings.HasPrefix(e.Error, query.ErrLimit.Error()) || !strings.Contains(e.Error, "reads more") {
		t.Errorf("%+v", e)
	}
}
