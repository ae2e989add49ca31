package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"penstock/consumer/query"
	"penstock/ingest"
)

// Every route of the server is in openapi.yaml, and every one in there is served.
func TestRoutesAreTheDocuments(t *testing.T) {
	t.Parallel()
	f := start(t)
	doc, err := api()
	if err != nil {
		t.Fatal(err)
	}
	var documented, served []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	parameter := regexp.MustCompile(`:([a-z]+)`)
	for _, r := range f.server.app.GetRoutes(true) {
		if r.Method != http.MethodHead {
			served = append(served, r.Method+" "+parameter.ReplaceAllString(r.Path, "{$1}"))
		}
	}
	slices.Sort(documented)
	slices.Sort(served)
	if !slices.Equal(documented, served) {
		t.Errorf("documented:\n%s\nserved:\n%s", strings.Join(documented, "\n"), strings.Join(served, "\n"))
	}
}

// Every problem type that the code knows is in the document, and the other way round.
func TestProblemTypesAreTheDocuments(t *testing.T) {
	t.Parallel()
	doc, err := api()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, found := range regexp.MustCompile(`= kind\{"([a-z-]+)", "`).FindAllSubmatch(source, -1) {
		known["/problems/"+string(found[1])] = true
	}
	documented := make(map[string]bool)
	for _, name := range doc.Components.Schemas["Problem"].Value.Properties["type"].Value.Enum {
		documented[name.(string)] = true
	}
	if len(known) < 30 || !maps.Equal(known, documented) {
		t.Errorf("known %v\ndocumented %v", slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(documented)))
	}
}

// The examples of problems are what the server says.
func TestExamplesOfProblems(t *testing.T) {
	t.Parallel()
	f := start(t)
	doc, err := api()
	if err != nil {
		t.Fatal(err)
	}
	example := func(operation *openapi3.Operation, status, media string) any {
		return operation.Responses.Value(status).Value.Content[media].Example
	}
	detail := func(problem any) string { return problem.(map[string]any)["detail"].(string) }
	posted := doc.Paths.Find("/v1/events").Post

	want := detail(example(posted, "400", mediaProblem))
	if p := f.post(`{"order":`).problem(t, 400, "malformed-json"); p.Detail != want {
		t.Errorf("%q, documented is %q", p.Detail, want)
	}
	item := example(posted, "207", mediaJSON).(map[string]any)["items"].([]any)[1]
	want = detail(item.(map[string]any)["problem"])
	b := f.batch(207, "{\"order\":42}\n{\"order\":", lines)
	if p := b.Items[1].Problem; p.Detail != want {
		t.Errorf("%q, documented is %q", p.Detail, want)
	}
	f.stream.set(func(s *stream) { s.hide = true })
	want = detail(example(doc.Paths.Find("/v1/events/{id}").Get, "404", mediaProblem))
	if p := f.do("GET", "/v1/events/"+b.Items[0].ID, nil).problem(t, 404, "event-pending"); p.Detail != want {
		t.Errorf("%q, documented is %q", p.Detail, want)
	}
}

// Every status that openapi.yaml lists is driven over TCP at least once, and its body held against the document (do does).
func TestEveryStatus(t *testing.T) {
	t.Parallel()
	notReady := false
	f := start(t, func(_ *Config, d *Deps) {
		d.Dependencies = []Dependency{{"stream", func(context.Context) error {
			if notReady {
				return errors.New("not there")
			}
			return nil
		}}}
	})
	keyed, key, _ := startWithKeys(t)

	driveEvents(t, f)
	driveQueries(t, f)
	f.do("GET", "/v1/lake", nil).must(t, 200)
	f.do("GET", "/v1/stats", nil).must(t, 200)
	driveConsole(t, f)
	driveUpkeep(t, f)
	driveErasure(t, f)
	driveDeadLetters(t, f)
	for _, path := range []string{"/", "/healthz", "/metrics", "/openapi.yaml"} {
		f.do("GET", path, nil).must(t, 200)
		f.do("HEAD", path, nil).must(t, 200)
	}
	f.do("GET", "/v1/ws", nil).problem(t, 426, "upgrade-required")
	f.do("POST", "/v1/tickets", nil).must(t, 201)
	f.connect(t, nil).close()
	f.covered["GET /v1/ws 101"], f.covered["GET /v1/ws 503"] = true, true // TestSocketsAreFew sees 503
	f.do("GET", "/v1/ws", "x").problem(t, 400, "malformed-request")
	f.do("GET", "/readyz", nil).must(t, 200)
	notReady = true
	eventually(t, "readyz looks again", func() bool { return f.do("GET", "/readyz", nil).status == 503 })
	p := f.do("GET", "/readyz", nil).problem(t, 503, "not-ready")
	if len(p.Checks) != 1 || p.Checks[0] != (CheckResult{"stream", false}) || strings.Contains(p.Detail, "not there") {
		t.Errorf("%+v", p)
	}

	doc, err := api()
	if err != nil {
		t.Fatal(err)
	}
	example := strings.NewReplacer("{id}", "x", "{sink}", "lake", "{shard}", "a", "{sequence}", "7", "{sub}", "0", "{task}", "compact", "{file}", "main.js")
	var missing []string
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				switch status {
				case "401":
					keyed.do(method, example.Replace(path), nil).problem(t, 401, "unauthorized")
				case "403":
					f.do(method, example.Replace(path), nil, "Origin: http://evil").problem(t, 403, "cross-site")
				}
				name := fmt.Sprintf("%s %s %s", method, path, status)
				if status != "default" && !f.covered[name] && !keyed.covered[name] {
					missing = append(missing, name)
				}
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("documented but never seen:\n%s", strings.Join(missing, "\n"))
	}
	keyed.do("GET", "/metrics", nil, "Authorization: Bearer "+key).must(t, 200)

	// What is not there, and what is there but not so.
	f.do("GET", "/v1/events/a/b", nil).problem(t, 404, "not-found")
	f.do("GET", "/v1/Lake", nil).problem(t, 404, "not-found")
	f.do("PROPFIND", "/v1/lake", nil).problem(t, 501, "not-implemented")
	for path, allow := range map[string]string{"/v1/lake": "GET, HEAD", "/v1/events": "POST", "/v1/queries/x": "GET, HEAD, DELETE"} {
		a := f.do("PUT", path, `{}`)
		a.problem(t, 405, "method-not-allowed")
		if a.header.Get("Allow") != allow {
			t.Errorf("%s allows %q, want %q", path, a.header.Get("Allow"), allow)
		}
	}
	checkObserved(t, f)
}

// checkObserved: the metrics' labels are the routes' patterns, never what a client sent.
func checkObserved(t *testing.T, f *front) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, want := range []string{"POST /v1/events 202", "GET /v1/events/:id 200", "other unmatched 501", "PUT unmatched 405"} {
		if f.observed[want] == 0 {
			t.Errorf("not observed: %s in %v", want, f.observed)
		}
	}
}

func driveEvents(t *testing.T, f *front) {
	t.Helper()
	id := f.post(`{}`, "Idempotency-Key: k").id(t)
	f.do("GET", "/v1/events/"+id, nil).must(t, 200)
	f.do("GET", "/v1/events/x", nil).problem(t, 400, "invalid-parameter")
	f.do("GET", "/v1/events/"+futureID(), nil).problem(t, 404, "event-unknown")
	f.do("POST", "/v1/events", "1\n{", lines).must(t, 207)
	f.do("POST", "/v1/events", "{", lines).must(t, 400)
	f.post(`{`).problem(t, 400, "malformed-json")
	f.post(strings.Repeat("1", 10_485_761)).problem(t, 413, "body-too-large")
	f.do("POST", "/v1/events", `{}`, "Content-Type: text/html").problem(t, 415, "unsupported-media-type")
	f.post(`[]`, "Idempotency-Key: k").problem(t, 422, "key-reused")

	gate := make(chan struct{})
	f.stream.set(func(s *stream) { s.gate = gate })
	first := make(chan answer, 1)
	go func() { first <- f.post(`{"slow":1}`, "Idempotency-Key: slow") }()
	eventually(t, "the second with the key is told to wait", func() bool {
		return f.post(`{"slow":1}`, "Idempotency-Key: slow").status == 409
	})
	close(gate)
	if a := <-first; a.status != 202 && a.status != 409 {
		t.Errorf("the first with the key: %d %s", a.status, a.body)
	}
	f.stream.set(func(s *stream) { s.gate, s.fail = nil, ingest.ErrStorageFull })
	f.post(`{}`).problem(t, 503, "storage-full")
	f.do("POST", "/v1/events", "{}", lines).must(t, 503)
	f.stream.set(func(s *stream) { s.fail = nil })
}

func driveQueries(t *testing.T, f *front) {
	t.Helper()
	start := func(sql string) string {
		a := f.do("POST", "/v1/queries", `{"sql":"`+sql+`","parameters":["a","b"]}`, "Content-Type: application/json").must(t, 202)
		var q startedQuery
		a.decode(t, &q)
		if a.header.Get("Location") != q.Href || q.State != "RUNNING" {
			t.Errorf("%v %s", a.header, a.body)
		}
		return q.Href
	}
	one := start("SELECT 1")
	f.do("GET", one, nil).must(t, 200)
	f.do("GET", one+"/result", nil).problem(t, 409, "result-not-ready")
	var state queryState
	f.do("GET", one+"?wait=1", nil).must(t, 200).decode(t, &state)
	if state.State != "SUCCEEDED" || state.SQL != "SELECT 1a,b" || state.CompleteThrough == "" || state.Statistics == nil {
		t.Errorf("%+v", state)
	}
	result := f.do("GET", state.ResultHref, nil).must(t, 200)
	if string(result.body) != fakeCSV || result.header.Get("Content-Type") != mediaCSV {
		t.Errorf("%v %s", result.header, result.body)
	}
	f.do("HEAD", state.ResultHref, nil).must(t, 200)
	two := start("SELECT 2")
	f.do("DELETE", two, nil).must(t, 200)
	f.do("GET", two+"/result", nil).problem(t, 409, "result-unavailable")
	three := start("SELECT 3")
	f.queries.end(t, "q2", query.Failed, "")
	f.do("GET", three, nil).must(t, 200)
	f.do("GET", "/v1/queries", nil).must(t, 200)
	stuck := start("SELECT stuck")
	f.do("GET", stuck+"?wait=1", nil).must(t, 200).decode(t, &state)
	if state.State != "RUNNING" {
		t.Errorf("after waiting in vain: %+v", state)
	}
	for _, wait := range []string{"x", "-1", "31", "1.5"} {
		f.do("GET", one+"?wait="+wait, nil).problem(t, 400, "invalid-parameter")
	}
	for _, request := range []string{"GET /v1/queries/none", "GET /v1/queries/none/result", "DELETE /v1/queries/none", "GET /v1/queries/none?wait=1"} {
		method, path, _ := strings.Cut(request, " ")
		f.do(method, path, nil).problem(t, 404, "query-unknown")
	}
	f.do("POST", "/v1/queries", `{"sql":"DROP TABLE events"}`).problem(t, 400, "invalid-query")
	for _, bad := range []string{`{}`, `[]`, `"SELECT 1"`, `{"sql":1}`, `{"sql":null}`, `{"sql":"SELECT 1","x":1}`, `{"SQL":"SELECT 1"}`,
		`{"sql":"SELECT 1","parameters":[1]}`, `{"sql":"SELECT 1","parameters":"a"}`, `{"sql":"SELECT 1","parameters":null}`,
		`{"sql":"SELECT 1","parameters":[` + strings.Repeat(`"",`, 1000) + `""]}`} {
		f.do("POST", "/v1/queries", bad).problem(t, 400, "invalid-parameter")
	}
	f.do("POST", "/v1/queries", `{"sql":`).problem(t, 400, "malformed-json")
	f.do("POST", "/v1/queries", nil).problem(t, 400, "empty-body")
	f.do("POST", "/v1/queries", `{"sql":"SELECT `+strings.Repeat("1", 262_144-7)+`"}`).must(t, 202)
	f.do("POST", "/v1/queries", `{"sql":"SELECT `+strings.Repeat("1", 262_144-6)+`"}`).problem(t, 413, "body-too-large")
	f.do("POST", "/v1/queries", strings.Repeat("1", 1<<20+1)).problem(t, 413, "body-too-large")
	f.do("POST", "/v1/queries", `{}`, lines).problem(t, 415, "unsupported-media-type")
	keyed := func(sql string) answer { return f.do("POST", "/v1/queries", `{"sql":"`+sql+`"}`, "Idempotency-Key: k") }
	once, again := keyed("SELECT 4").must(t, 202), keyed("SELECT 4").must(t, 202)
	if !bytes.Equal(once.body, again.body) || once.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s %v, then %s %v", once.body, once.header, again.body, again.header)
	}
	keyed("SELECT 5").problem(t, 422, "key-reused")
	f.do("POST", "/v1/queries", `{"sql":"SELECT 1"}`, "Idempotency-Key: a b").problem(t, 400, "invalid-parameter")
	f.queries.engine.set(func(g *engine) { g.busy = true })
	f.do("POST", "/v1/queries", `{"sql":"SELECT 1"}`).problem(t, 503, "queries-busy")
}

func driveErasure(t *testing.T, f *front) {
	t.Helper()
	id := f.post(`{"secret":1}`).id(t)
	for range 2 { // again changes nothing
		var done erasure
		f.do("DELETE", "/v1/events/"+id, nil).must(t, 200).decode(t, &done)
		if done.ID != id || done.Erased == "" || len(done.HeldBy) != 2 || done.HeldBy[0].Until == "" {
			t.Errorf("%+v", done)
		}
		f.do("GET", "/v1/events/"+id, nil).problem(t, 404, "event-erased")
	}
	f.do("DELETE", "/v1/events/"+futureID(), nil).problem(t, 404, "event-unknown")
	f.do("DELETE", "/v1/events/x", nil).problem(t, 400, "invalid-parameter")
}

func driveUpkeep(t *testing.T, f *front) {
	t.Helper()
	f.do("GET", "/v1/lake/compact", nil).problem(t, 404, "not-found")
	f.do("POST", "/v1/lake/polish", nil).problem(t, 404, "not-found")
	for task, want := range map[string]string{"compact": "SUCCEEDED", "expire": "SUCCEEDED", "orphans": "FAILED"} {
		var state upkeepState
		a := f.do("POST", "/v1/lake/"+task, nil).must(t, 202)
		a.decode(t, &state)
		if a.header.Get("Location") != "/v1/lake/"+task || state.State != "QUEUED" || state.Task != task {
			t.Errorf("%v %s", a.header, a.body)
		}
		f.do("GET", state.Href, nil).must(t, 200).decode(t, &state)
		if state.State != "RUNNING" {
			t.Errorf("%+v", state)
		}
		f.do("GET", state.Href+"?wait=1", nil).must(t, 200).decode(t, &state)
		if state.State != want || (state.Error != "") != (want == "FAILED") || state.Ended == "" {
			t.Errorf("%+v", state)
		}
	}
	f.do("GET", "/v1/lake/compact?wait=x", nil).problem(t, 400, "invalid-parameter")
}

func driveDeadLetters(t *testing.T, f *front) {
	t.Helper()
	type page struct {
		Items []deadLetter
		Next  string
	}
	var first, second page
	f.do("GET", "/v1/dead-letters?sink=lake&limit=2", nil).must(t, 200).decode(t, &first)
	f.do("GET", "/v1/dead-letters?sink=lake&limit=2&after="+first.Next, nil).must(t, 200).decode(t, &second)
	if len(first.Items) != 2 || len(second.Items) != 1 || second.Next != "" || second.Items[0].Position != "7/2" {
		t.Fatalf("%+v %+v", first, second)
	}
	f.do("GET", "/v1/dead-letters?sink=index", nil).must(t, 200)
	for _, bad := range []string{"", "?sink=other", "?sink=lake&limit=0", "?sink=lake&limit=1001", "?sink=lake&after=x", "?sink=lake&after=a/b/c"} {
		f.do("GET", "/v1/dead-letters"+bad, nil).problem(t, 400, "invalid-parameter")
	}
	var one deadLetter
	f.do("GET", second.Items[0].Href, nil).must(t, 200).decode(t, &one)
	if string(one.Raw) != "\x00\xff" || one.Size != 2 {
		t.Errorf("%+v", one)
	}
	f.do("GET", "/v1/dead-letters/lake/b/7/2", nil).problem(t, 404, "dead-letter-unknown")
	f.do("GET", "/v1/dead-letters/other/a/7/2", nil).problem(t, 400, "invalid-parameter")
	f.do("GET", "/v1/dead-letters/lake/a/x/2", nil).problem(t, 400, "invalid-parameter")
	if a := f.do("POST", second.Items[0].Href+"/requeue", nil).must(t, 204); len(a.body) != 0 {
		t.Errorf("204 with a body: %s", a.body)
	}
	f.do("POST", "/v1/dead-letters/lake/a/7/1/requeue", nil).problem(t, 422, "refused-again")
	f.do("POST", "/v1/dead-letters/lake/a/7/0/requeue", nil).problem(t, 422, "refused-again")
	f.do("POST", "/v1/dead-letters/lake/b/7/2/requeue", nil).problem(t, 404, "dead-letter-unknown")
	f.do("POST", "/v1/dead-letters/lake/a/x/2/requeue", nil).problem(t, 400, "invalid-parameter")
}
