package aws

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"penstock/infra/aws/athenatest"
)

// proofWorld answers what a proof asks.
func proofWorld(t *testing.T) (athenaWorld, *athenatest.Queue) {
	t.Helper()
	queue := athenatest.NewQueue(t)
	cfg := testAthenaConfig(t)
	cfg.EventsQueue = queue.URL
	return newAthenaWorld(t, cfg, athenatest.Config{ScanLimit: 1 << 30, SQL: scripted{"SELECT id FROM events LIMIT 0": "\"id\"\n"}}), queue
}

// A proof runs a statement to its end, leaves nothing, and tells the limit.
func TestAthenaProof(t *testing.T) {
	t.Parallel()
	w, queue := proofWorld(t)
	queue.Send([]byte("a message"))
	limit, err := w.Prove(t.Context())
	if err != nil || limit != 1<<30 {
		t.Errorf("limit %d, %v", limit, err)
	}
	if keys := w.objects.Keys(); len(keys) != 0 {
		t.Errorf("%q are left", keys)
	}
	for _, operation := range []string{"GetWorkGroup", "StartQueryExecution", "GetQueryExecution", "BatchGetQueryExecution", "StopQueryExecution"} {
		if w.server.Calls(operation) == 0 {
			t.Errorf("%s is not proven", operation)
		}
	}
	if err := w.ProveEvents(t.Context()); err != nil || queue.Left() != 1 {
		t.Errorf("events: %v, %d messages are left of 1", err, queue.Left())
	}
	queue.Break(true)
	if err := w.ProveEvents(t.Context()); err == nil || !strings.Contains(err.Error(), "allow sqs:ReceiveMessage") {
		t.Errorf("a queue that may not be read: %v", err)
	}
}

// A proof names the permission that is missing, and the setting that is wrong.
func TestAthenaProofFails(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"GetWorkGroup":           `{"WorkGroup":{"Name":"analysts","State":"ENABLED","Configuration":{}}}`,
		"StartQueryExecution":    `{"QueryExecutionId":"` + unknownExecution + `"}`,
		"GetQueryExecution":      `{"QueryExecution":` + succeededExecution + `}`,
		"BatchGetQueryExecution": `{"QueryExecutions":[` + succeededExecution + `]}`,
		"StopQueryExecution":     `{}`,
	}
	for _, refused := range slices.Sorted(maps.Keys(answers)) {
		s := newDynamoStub(t, func(c call) reply {
			switch body, ours := answers[c.op]; {
			case c.op == refused:
				return denied
			case ours:
				return reply{status: 200, body: body}
			default:
				return reply{status: 200, body: "\"id\"\n"}
			}
		})
		_, err := NewAthena(s.Clients, testAthenaConfig(t)).Prove(t.Context())
		if err == nil || !strings.Contains(err.Error(), "allow athena:"+refused+" to these credentials") {
			t.Errorf("without %s: %v", refused, err)
		}
		if refused != "GetWorkGroup" && refused != "StartQueryExecution" && !slices.Contains(s.ops(), "StopQueryExecution") {
			t.Errorf("without %s the query is left: %q", refused, s.ops())
		}
	}
	w, _ := proofWorld(t)
	w.server.Disable()
	if err := w.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "analysts is disabled") {
		t.Errorf("disabled: %v", err)
	}
	w.cfg.Workgroup = "none"
	if err := w.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "workgroup none is not in region eu-central-1") {
		t.Errorf("no such workgroup: %v", err)
	}
}

const succeededExecution = `{"QueryExecutionId":"` + unknownExecution + `","WorkGroup":"analysts","Status":{"State":"SUCCEEDED","SubmissionDateTime":1},` +
	`"ResultConfiguration":{"OutputLocation":"s3://bucket/queries/x.csv"}}`
