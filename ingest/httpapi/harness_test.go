package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"go.uber.org/goleak"

	"penstock/ingest"
	"penstock/schemas"
)

// TestMain holds that no goroutine of a test outlives it, but for two of fasthttp's: the clock of the Date header, one in
// the process, and the sweeper of idle workers, which sleeps for up to a second before it sees that its server is gone.
func TestMain(m *testing.M) {
	openapi3filter.RegisterBodyDecoder(mediaLines, openapi3filter.PlainBodyDecoder) // its schema is a string
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// api is openapi.yaml, read once.
var api = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(schemas.OpenAPI)
	if err != nil {
		return nil, err
	}
	doc.Servers = nil // the router would look for the test's port among them
	return doc, doc.Validate(context.Background())
})

var router = sync.OnceValues(func() (routers.Router, error) {
	doc, err := api()
	if err != nil {
		return nil, err
	}
	return legacy.NewRouter(doc)
})

// front is a server on a port of its own, over the real ingest core and fakes behind it.
type front struct {
	t       *testing.T
	server  *Server
	addr    string
	url     string
	stream  *stream
	bodies  *objects
	queries *queries
	budget  *ingest.Budget
	ingest  *ingest.Ingest
	client  *http.Client
	key     string

	mu       sync.Mutex
	covered  map[string]bool // "METHOD path status" of openapi.yaml that do has seen
	observed map[string]int  // "METHOD pattern status" as the server told its observer
}

// start serves until the end of the test. change may adapt configuration and ports.
func start(t *testing.T, change ...func(*Config, *Deps)) *front {
	t.Helper()
	return startWith(t, 256<<20, change...)
}

func startWith(t *testing.T, memory int64, change ...func(*Config, *Deps)) *front {
	t.Helper()
	f := newFront(t, memory, change...)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.serve(ln)
	return f
}

// newFront is a server that does not serve yet.
func newFront(t *testing.T, memory int64, change ...func(*Config, *Deps)) *front {
	t.Helper()
	f := &front{
		t: t, stream: newStream(), bodies: newObjects(), queries: newQueries(t), budget: ingest.NewBudget(memory),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}}, covered: make(map[string]bool), observed: make(map[string]int),
	}
	core, err := ingest.New(context.Background(), ingest.Config{Slots: 2, Calls: 64, LaneBytes: 10 << 20, Large: 8, Now: time.Now}, f.stream, f.bodies,
		&claims{claims: make(map[string]ingest.Claim)}, f.stream, f.budget)
	if err != nil {
		t.Fatal(err)
	}
	f.ingest = core
	cfg := Defaults()
	cfg.MetricsOnMain = true
	deps := Deps{
		Ingest: core, Budget: f.budget, Index: f.stream, Bodies: f.bodies, Ledger: f.stream, Watermarks: f.stream,
		Queries: f.queries, Lake: lake{}, Stats: lake{}, Upkeep: &upkeep{}, Eraser: &eraser{stream: f.stream}, DeadLetters: letters{}, Requeuer: letters{}, Logger: slog.New(slog.NewTextHandler(logs{t}, nil)),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "penstock_up 1\n") }),
		Observe: f.observe,
	}
	for _, c := range change {
		c(&cfg, &deps)
	}
	if f.server, err = New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	return f
}

// serve serves until the end of the test.
func (f *front) serve(ln net.Listener) {
	t := f.t
	f.addr = ln.Addr().String()
	f.url = "http://" + f.addr
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(ln) }()
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := f.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := f.ingest.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		if used := f.budget.Used(); used != 0 {
			t.Errorf("%d bytes of the budget are still held at the end", used)
		}
	})
}

func (f *front) observe(route, method string, status int, _ time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observed[fmt.Sprintf("%s %s %d", method, route, status)]++
}

// answer is a response, read to its end and held against openapi.yaml.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do does a request; headers are "Name: value".
func (f *front) do(method, path string, body any, headers ...string) answer {
	f.t.Helper()
	var from io.Reader
	switch b := body.(type) {
	case string:
		from = strings.NewReader(b)
	case []byte:
		from = bytes.NewReader(b)
	case io.Reader:
		from = b
	}
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, from)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.key != "" {
		req.Header.Set("Authorization", "Bearer "+f.key)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	res, err := f.client.Do(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	read, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	if err := res.Body.Close(); err != nil {
		f.t.Fatal(err)
	}
	a := answer{res.StatusCode, res.Header, read}
	if path := checkAgainstAPI(f.t, req, a); path != "" {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.covered[fmt.Sprintf("%s %s %d", method, path, a.status)] = true
	}
	return a
}

// checkAgainstAPI validates the answer, and returns the path as the document has it. What is not in the document must be
// answered by a problem.
func checkAgainstAPI(t *testing.T, req *http.Request, a answer) string {
	t.Helper()
	router, err := router()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	method := req.Method
	if method == http.MethodHead {
		req = req.Clone(req.Context())
		req.Method = http.MethodGet
	}
	route, params, err := router.FindRoute(req)
	if err != nil {
		if a.status < 400 || a.header.Get("Content-Type") != mediaProblem {
			t.Errorf("%s %s is not in openapi.yaml (%v) but answers %d %.300s", method, req.URL.Path, err, a.status, a.body)
		}
		return ""
	}
	if method == http.MethodHead {
		return route.Path
	}
	input := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route}
	if a.status < 300 && a.status != http.StatusMultiStatus {
		checkRequest(t, *input)
	}
	err = openapi3filter.ValidateResponse(req.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input,
		Status:                 a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)),
		// Any JSON is a good body of an event; validating megabytes of it takes seconds.
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: len(a.body) > 1<<20},
	})
	if err != nil {
		t.Errorf("%s %s: the answer %d is not as in openapi.yaml: %v\n%.600s", req.Method, req.URL.Path, a.status, err, a.body)
	}
	if retry := a.header.Get("Retry-After"); a.status == 503 && retry == "" {
		t.Errorf("%s %s: a 503 without Retry-After: %s", req.Method, req.URL.Path, a.body)
	}
	return route.Path
}

// check holds an answer to a request that was sent by hand against openapi.yaml.
func (f *front) check(method, path string, a rawAnswer) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	checkAgainstAPI(f.t, req, a.answer)
}

// checkRequest validates a request that the server took as a whole: the document must allow for it.
func checkRequest(t *testing.T, input openapi3filter.RequestValidationInput) {
	t.Helper()
	req := input.Request.Clone(input.Request.Context())
	readable := req.GetBody != nil && req.ContentLength <= 1<<20 && req.Header.Get("Content-Encoding") == ""
	if readable {
		req.Body, _ = req.GetBody() // of bytes in memory
	}
	// OpenAPI has no words for no type and application/*+json, nor for all spellings of a coding.
	if media := req.Header.Get("Content-Type"); media == "" || strings.Contains(media, "+json") && !strings.Contains(media, "cloudevents") {
		req.Header.Set("Content-Type", mediaJSON)
	}
	req.Header.Del("Content-Encoding")
	input.Request = req
	input.Options = &openapi3filter.Options{
		ExcludeRequestBody: !readable, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
	}
	if err := openapi3filter.ValidateRequest(req.Context(), &input); err != nil {
		t.Errorf("%s %s was taken, but is not as in openapi.yaml: %v", req.Method, req.URL, err)
	}
}

// post posts JSON.
func (f *front) post(body any, headers ...string) answer {
	f.t.Helper()
	return f.do("POST", "/v1/events", body, append([]string{"Content-Type: application/json"}, headers...)...)
}

// store posts JSON until it is durable, as a client does that honours 503: a machine under load may miss the deadline
// for 10 MiB. It returns the id.
func (f *front) store(body func() io.Reader, headers ...string) (id string) {
	f.t.Helper()
	eventually(f.t, "the document is durable", func() bool {
		a := f.post(body(), headers...)
		if a.status != 503 {
			id = a.id(f.t)
		}
		return id != ""
	})
	return id
}

// of gives a body again and again.
func of[T string | []byte](body T) func() io.Reader {
	return func() io.Reader { return bytes.NewReader([]byte(body)) }
}

// chunked gives a body whose length net/http doesn't know.
func chunked[T string | []byte](body T) func() io.Reader {
	return func() io.Reader { return io.MultiReader(bytes.NewReader([]byte(body))) }
}

// must requires a status.
func (a answer) must(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %v %.600s", a.status, status, a.header, a.body)
	}
	return a
}

// problem requires a problem of the given name.
func (a answer) problem(t *testing.T, status int, name string) Problem {
	t.Helper()
	a.must(t, status)
	var p Problem
	a.decode(t, &p)
	if a.header.Get("Content-Type") != mediaProblem || p.Type != "/problems/"+name || p.Status != status {
		t.Fatalf("want the problem %s: %v %.600s", name, a.header, a.body)
	}
	return p
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal(a.body, into); err != nil {
		t.Fatalf("%v in %.300s", err, a.body)
	}
}

// id is the id of an accepted event.
func (a answer) id(t *testing.T) string {
	t.Helper()
	var ack ackDocument
	a.must(t, http.StatusAccepted).decode(t, &ack)
	if _, err := schemas.IDTime(ack.ID); err != nil || a.header.Get("Location") != "/v1/events/"+ack.ID || ack.Href != a.header.Get("Location") {
		t.Fatalf("odd ack: %v %s", a.header, a.body)
	}
	return ack.ID
}

// ackDocument is the answer to one event.
type ackDocument struct {
	ID           string `json:"id"`
	ReceivedTime string `json:"receivedTime"`
	Via          string `json:"via"`
	Href         string `json:"href"`
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("it never came: %s", what)
		}
	}
}
