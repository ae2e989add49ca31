//go:build !frontend

package aws_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/glue"
)

// glueStub is as much of Glue as a Pointer asks for. Unlike moto it holds to VersionId, as AWS does
// (https://docs.aws.amazon.com/glue/latest/webapi/API_UpdateTable.html).
type glueStub struct {
	url string
	// fault may answer a call in the stub's place, before or after it has called next; nil does nothing.
	fault func(call string, next func() glueAnswer) glueAnswer

	mu        sync.Mutex
	databases map[string]bool
	tables    map[string]map[string]any // what GetTable gives, by database.table
	calls     []string
	bodies    []map[string]any // of the calls
}

type glueAnswer struct {
	status int // 0: the connection is cut
	body   map[string]any
}

func glueError(code string) glueAnswer {
	return glueAnswer{http.StatusBadRequest, map[string]any{"__type": code, "Message": code + " by the stub"}}
}

func newGlueStub(t *testing.T) *glueStub {
	t.Helper()
	s := &glueStub{databases: map[string]bool{}, tables: map[string]map[string]any{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body) // the client sees what is missing
		var body map[string]any
		if err := json.Unmarshal(text, &body); err != nil {
			t.Errorf("request %q: %v", text, err)
		}
		_, call, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		answer := s.answer(call, body)
		if answer.status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(answer.status)
		if err := json.NewEncoder(w).Encode(answer.body); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// client is one of the stub, with the SDK's own retries on.
func (s *glueStub) client() *glue.Client {
	return glue.New(glue.Options{
		BaseEndpoint: &s.url, Region: "eu-central-1", HTTPClient: &http.Client{},
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	})
}

func (s *glueStub) answer(call string, body map[string]any) glueAnswer {
	s.mu.Lock()
	s.calls, s.bodies = append(s.calls, call), append(s.bodies, body)
	fault := s.fault
	s.mu.Unlock()
	next := func() glueAnswer { return s.do(call, body) }
	if fault != nil {
		return fault(call, next)
	}
	return next()
}

func (s *glueStub) do(call string, body map[string]any) glueAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	database, name := text(body["DatabaseName"]), text(body["Name"])
	input, _ := body["TableInput"].(map[string]any)
	if input != nil {
		name = text(input["Name"])
	}
	table := s.tables[database+"."+name]
	ok := glueAnswer{http.StatusOK, map[string]any{}}
	switch call {
	case "CreateDatabase":
		input, _ := body["DatabaseInput"].(map[string]any)
		if s.databases[text(input["Name"])] {
			return glueError("AlreadyExistsException")
		}
		s.databases[text(input["Name"])] = true
	case "CreateTable":
		if !s.databases[database] {
			return glueError("EntityNotFoundException")
		}
		if table != nil {
			return glueError("AlreadyExistsException")
		}
		s.put(database, name, input, 1)
	case "GetTable":
		if table == nil {
			return glueError("EntityNotFoundException")
		}
		ok.body["Table"] = table
	case "UpdateTable":
		if table == nil {
			return glueError("EntityNotFoundException")
		}
		if text(body["VersionId"]) != text(table["VersionId"]) {
			return glueError("ConcurrentModificationException")
		}
		version, _ := strconv.Atoi(text(table["VersionId"])) // it is ours
		s.put(database, name, input, version+1)
	default:
		return glueError("UnknownOperationException")
	}
	return ok
}

// put stores a table. The lock is held.
func (s *glueStub) put(database, name string, input map[string]any, version int) {
	table := maps.Clone(input)
	table["DatabaseName"], table["VersionId"] = database, strconv.Itoa(version)
	s.tables[database+"."+name] = table
}

// change is what somebody else does to a table.
func (s *glueStub) change(table string, do func(table map[string]any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := maps.Clone(s.tables[table])
	parameters, _ := changed["Parameters"].(map[string]any)
	changed["Parameters"] = maps.Clone(parameters)
	do(changed)
	version, _ := strconv.Atoi(text(changed["VersionId"])) // it is ours
	changed["VersionId"] = strconv.Itoa(version + 1)
	s.tables[table] = changed
}

func (s *glueStub) table(name string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tables[name]
}

// seen are the calls so far, and forgets them.
func (s *glueStub) seen() (calls []string, bodies []map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, bodies = slices.Clone(s.calls), slices.Clone(s.bodies)
	s.calls, s.bodies = nil, nil
	return calls, bodies
}

func (s *glueStub) setFault(f func(call string, next func() glueAnswer) glueAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

func text(v any) string { s, _ := v.(string); return s }
