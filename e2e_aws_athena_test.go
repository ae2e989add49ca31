//go:build !nolocal

package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"penstock/infra/aws/athenatest"
)

// TestConformQuery: a front end and the lake's fleet on real peers, with SQL in the stand-in for Athena, which puts its results on the same
// S3. Who asks gets them pushed and served, another front end knows the executions too, and completeThrough is what the lake's fleet told.
func TestConformQuery(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, 2)
	queue := athenatest.NewQueue(t)
	athena := athenatest.New(t, athenatest.Config{
		SQL: newDuckDB(t), S3: d.clients.S3, Workgroup: "analysts", ScanLimit: 1 << 30, Slots: 2, Relapses: 1, Event: queue.Send,
	})
	settings := []string{
		"PENSTOCK_ROUTES=ingest,read,query", "PENSTOCK_WORKGROUP=analysts", "AWS_ENDPOINT_URL_ATHENA=" + athena.URL,
	}
	one := d.start("ingest", "stream", "--listen", append(settings, "PENSTOCK_ATHENA_EVENTS_QUEUE="+queue.URL, "AWS_ENDPOINT_URL_SQS="+queue.URL)...)
	other := d.start("ingest", "stream", "--listen", settings...)
	d.consumer("lake")

	stdout, status := one.command("query", "SELECT 'pushed, é' AS s, CAST(NULL AS varchar) AS nothing", "--format", "csv")
	if want := "\"s\",\"nothing\"\n\"pushed, é\",\n"; stdout != want || status != 0 {
		t.Errorf("penstock query: %q, status %d, want %q\n%s", stdout, status, want, one.log())
	}
	if _, status := one.command("query", "DROP TABLE events"); status == 0 {
		t.Error("a statement that writes was run")
	}

	var e executionView
	body := []byte(`{"sql": "SELECT id FROM events WHERE 1 = 0"}`)
	for range 2 { // the second time is told what the first had started
		decode(t, one.must(http.StatusAccepted, "POST", "/v1/queries", body, "Content-Type", "application/json", "Idempotency-Key", "k").body, &e)
	}
	again := e.ExecutionID
	decode(t, other.must(http.StatusAccepted, "POST", "/v1/queries", body, "Content-Type", "application/json", "Idempotency-Key", "k").body, &e)
	if e.ExecutionID != again || again == "" {
		t.Errorf("one key started %q and %q", again, e.ExecutionID)
	}
	decode(t, other.must(http.StatusOK, "GET", "/v1/queries/"+again+"?wait=30", nil).body, &e)
	result := other.must(http.StatusOK, "GET", "/v1/queries/"+again+"/result", nil)
	if e.State != "SUCCEEDED" || string(result.body) != "\"id\"\n" {
		t.Errorf("%+v: %q", e, result.body)
	}
	var list struct{ Items []executionView }
	decode(t, other.must(http.StatusOK, "GET", "/v1/queries", nil).body, &list)
	if len(list.Items) != 2 || list.Items[0].ExecutionID != again {
		t.Errorf("listed: %+v", list.Items)
	}

	id := one.startQuery(endlessSQL)
	one.must(http.StatusOK, "DELETE", "/v1/queries/"+id, nil)
	decode(t, one.must(http.StatusOK, "GET", "/v1/queries/"+id+"?wait=30", nil).body, &e)
	if e.State != "CANCELLED" {
		t.Errorf("%+v", e)
	}
	queue.AwaitEmpty(t)

	// Once the lake's fleet has told of both shards every execution tells how fresh the lake was.
	for begun := time.Now(); ; {
		decode(t, one.must(http.StatusOK, "GET", "/v1/queries/"+one.startQuery("SELECT 1 AS n")+"?wait=30", nil).body, &e)
		if !e.CompleteThrough.IsZero() && e.CompleteThrough.After(begun.Add(-time.Hour)) && e.CompleteThrough.Before(time.Now()) {
			break
		}
		if t.Context().Err() != nil || time.Since(begun) > time.Minute {
			t.Fatalf("%+v", e)
		}
	}

	stdout, stderr, status := d.ended(t, "check", append(settings, "PENSTOCK_FOR=query"), []string{"--json"})
	want := `{"thing":"Athena workgroup analysts","status":"ok","detail":"a statement was run on ` + d.database() + `, and its result read and deleted; one may scan 1.0 GiB"}`
	if !strings.Contains(stdout, want) || status != 0 {
		t.Errorf("check: status %d, %s\n%s\nwant %s", status, stderr, stdout, want)
	}
	one.stop()
	other.stop()
}

// executionView is an execution as a client sees it.
type executionView struct {
	ExecutionID, State, Error string
	CompleteThrough           time.Time
	Statistics                json.RawMessage
}
