package athenatest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/consumer/query"
)

// Config shapes a Server. SQL, S3 and Workgroup are required.
type Config struct {
	// SQL runs the statements.
	SQL query.SQL
	// S3 is where results are put. The bucket must be there.
	S3 *s3.Client
	// Workgroup is the one that there is.
	Workgroup string
	// ScanLimit is the workgroup's, in bytes; 0 for none.
	ScanLimit int64
	// Slots is how many statements run at once, and Active how many may run and wait together; 1 and 20 if zero.
	Slots, Active int
	// Delay is how long a statement is queued, and how long it runs at least.
	Delay time.Duration
	// Relapses is how often a running statement goes back to be queued, as it does when a host fails.
	Relapses int
	// Event is told of each change of state, by what EventBridge would deliver; nil for nobody.
	Event func(event []byte)
}

// Server is an Athena of one workgroup. Its methods are safe for concurrent use.
type Server struct {
	// URL is its endpoint.
	URL string

	cfg   Config
	slots chan struct{}
	life  context.Context
	work  sync.WaitGroup

	mu         sync.Mutex
	calls      map[string]int
	executions map[string]*execution // by id
	tokens     map[string]*execution
	troubles   map[string][]trouble // by id
	throttled  map[string]int       // by operation: how many calls more are
	disabled   bool
}

// trouble is what a batch says of an execution instead of how it stands.
type trouble struct{ code, message string }

// New starts a server that goes with the test.
func New(t testing.TB, cfg Config) *Server {
	t.Helper()
	if cfg.Slots == 0 {
		cfg.Slots = 1
	}
	if cfg.Active == 0 {
		cfg.Active = 20
	}
	life, cancel := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, slots: make(chan struct{}, cfg.Slots), life: life, calls: map[string]int{}, executions: map[string]*execution{},
		tokens: map[string]*execution{}, troubles: map[string][]trouble{}, throttled: map[string]int{},
	}
	server := httptest.NewServer(s)
	s.URL = server.URL
	t.Cleanup(func() {
		server.Close()
		cancel()
		s.work.Wait()
	})
	return s
}

// Calls is how often an operation was asked for, such as "BatchGetQueryExecution".
func (s *Server) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

// Throttle has the next calls of an operation refused.
func (s *Server) Throttle(operation string, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.throttled[operation] = calls
}

// Disable turns the workgroup off.
func (s *Server) Disable() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disabled = true
}

// Trouble has the next batch that asks for the execution say this of it instead.
func (s *Server) Trouble(id, code, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.troubles[id] = append(s.troubles[id], trouble{code, message})
}

// fault is an error as it is answered (https://docs.aws.amazon.com/athena/latest/APIReference/CommonErrors.html).
type fault struct {
	Type    string `json:"__type"`
	Message string `json:"Message"`
	// Code is Athena's own, Reason that of a TooManyRequestsException.
	Code   string `json:"AthenaErrorCode,omitempty"`
	Reason string `json:"Reason,omitempty"`
}

func (f *fault) Error() string { return f.Type + ": " + f.Message }

func invalid(code, format string, args ...any) error {
	return &fault{Type: "InvalidRequestException", Message: fmt.Sprintf(format, args...), Code: code}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation, isAthena := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AmazonAthena.")
	answer, err := any(nil), error(&fault{Type: "UnknownOperationException"})
	if isAthena {
		answer, err = s.answer(operation, r.Body)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	var f *fault
	switch {
	case errors.As(err, &f):
		w.WriteHeader(http.StatusBadRequest)
		answer = f
	case err != nil:
		w.WriteHeader(http.StatusInternalServerError)
		answer = &fault{Type: "InternalServerException", Message: err.Error()}
	}
	_ = json.NewEncoder(w).Encode(answer) // the client sees what is missing
}

func (s *Server) answer(operation string, body io.Reader) (any, error) {
	s.mu.Lock()
	s.calls[operation]++
	throttled := s.throttled[operation] > 0
	if throttled {
		s.throttled[operation]--
	}
	s.mu.Unlock()
	if throttled {
		return nil, &fault{Type: "ThrottlingException", Message: "Rate exceeded"}
	}
	var in input
	if err := json.NewDecoder(body).Decode(&in); err != nil {
		return nil, &fault{Type: "SerializationException", Message: err.Error()}
	}
	switch operation {
	case "StartQueryExecution":
		return s.start(in)
	case "GetQueryExecution":
		return s.get(in.QueryExecutionId)
	case "BatchGetQueryExecution":
		return s.batch(in.QueryExecutionIds)
	case "StopQueryExecution":
		return s.stop(in.QueryExecutionId)
	case "GetQueryResults":
		return s.results(in.QueryExecutionId)
	case "GetWorkGroup":
		return s.workgroup(in.WorkGroup)
	}
	return nil, &fault{Type: "UnknownOperationException"}
}

// input has the members of all requests.
type input struct {
	QueryExecutionId      string
	QueryExecutionIds     []string
	QueryString           string
	ExecutionParameters   []string
	ClientRequestToken    string
	WorkGroup             string
	QueryExecutionContext struct{ Catalog, Database string }
	ResultConfiguration   struct{ OutputLocation string }
}

func (s *Server) workgroup(name string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name != s.cfg.Workgroup {
		return nil, invalid("INVALID_INPUT", "WorkGroup %s is not found.", name)
	}
	state := "ENABLED"
	if s.disabled {
		state = "DISABLED"
	}
	configuration := map[string]any{"EnforceWorkGroupConfiguration": false}
	if s.cfg.ScanLimit > 0 {
		configuration["BytesScannedCutoffPerQuery"] = s.cfg.ScanLimit
	}
	return map[string]any{"WorkGroup": map[string]any{"Name": name, "State": state, "Configuration": configuration}}, nil
}
