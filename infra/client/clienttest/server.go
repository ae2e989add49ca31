package clienttest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"penstock/schemas"
)

// Fault is what goes wrong with one request.
type Fault struct {
	// Status refuses the request with this status before anything is stored.
	Status int
	// RetryAfter is sent with Status, in seconds.
	RetryAfter int
	// Kind is the problem type of Status.
	Kind string
	// Drop closes the connection before anything is stored, Lose after everything is.
	Drop, Lose bool
	// Items refuses these items of a batch with 503; the others are stored.
	Items []int
	// Hang waits until the client has gone away, after everything is stored.
	Hang bool
}

// Stored is an event that the server has acked, or would have.
type Stored struct {
	ID         string
	Body       []byte
	Attributes url.Values
	// Line says that it came in a batch; Gzipped that it came compressed.
	Line, Gzipped bool
}

// Server is the fake. Set its fields before the first request.
type Server struct {
	*httptest.Server
	// Fault is asked about each POST of events, n counting from 1.
	Fault func(n int) Fault
	// Key, when set, is the bearer key that every request must have.
	Key string
	// Pending is how many lookups of an id are answered with event-pending.
	Pending int
	// Damage changes the last byte of documents that are fetched.
	Damage bool
	// Handle takes every route that is not about events.
	Handle http.HandlerFunc

	t      testing.TB
	mu     sync.Mutex
	posts  int
	claims map[string]*claim
	events []Stored
	byID   map[string]int
	asked  map[string]int
}

type claim struct {
	fingerprint [32]byte
	ids         []string
}

// New starts a server, which ends with the test.
func New(t testing.TB) *Server {
	s := &Server{t: t, claims: make(map[string]*claim), byID: make(map[string]int), asked: make(map[string]int)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", s.post)
	mux.HandleFunc("GET /v1/events/{id}", s.get)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if s.Handle == nil {
			Refuse(w, Fault{Status: http.StatusNotFound, Kind: "not-found"}, "no such path")
			return
		}
		s.Handle(w, r)
	})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Key != "" && r.Header.Get("Authorization") != "Bearer "+s.Key {
			Refuse(w, Fault{Status: http.StatusUnauthorized, Kind: "unauthorized"}, "The API key is not known.")
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// Refuse answers with a problem document.
func Refuse(w http.ResponseWriter, f Fault, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	w.WriteHeader(f.Status)
	problem := map[string]any{"type": "/problems/" + f.Kind, "title": http.StatusText(f.Status), "status": f.Status, "detail": detail}
	_ = json.NewEncoder(w).Encode(problem) // the client may be gone
}

// Answer writes a JSON document.
func Answer(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document) // the client may be gone
}

// Posts is the number of POSTs of events so far.
func (s *Server) Posts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posts
}

// Events are all stored events, in the order of their arrival.
func (s *Server) Events() []Stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Stored(nil), s.events...)
}

// Event returns one by id.
func (s *Server) Event(id string) (Stored, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.byID[id]
	if !ok {
		return Stored{}, false
	}
	return s.events[at], true
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.posts++
	var f Fault
	if s.Fault != nil {
		f = s.Fault(s.posts)
	}
	s.mu.Unlock()
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		Refuse(w, f, "told to refuse")
		return
	}
	body, err := readBody(r)
	if errors.Is(err, errTooLarge) {
		Refuse(w, Fault{Status: http.StatusRequestEntityTooLarge, Kind: "body-too-large"}, err.Error())
		return
	}
	if err != nil {
		Refuse(w, Fault{Status: http.StatusBadRequest, Kind: "malformed-encoding"}, err.Error())
		return
	}
	status, answer := s.accept(r, body, f)
	switch {
	case f.Lose:
		panic(http.ErrAbortHandler)
	case f.Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case status == 0:
		Refuse(w, Fault{Status: http.StatusUnprocessableEntity, Kind: "key-reused"}, "the key belongs to another request")
	default:
		Answer(w, status, answer)
	}
}

var errTooLarge = errors.New("the body is too large")

func readBody(r *http.Request) ([]byte, error) {
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		in = unzipped
	} else if r.ContentLength > schemas.MaxBody {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(in, schemas.MaxBody+1))
	if err == nil && len(body) > schemas.MaxBody {
		err = errTooLarge
	}
	return body, err
}

type item struct {
	Status  int            `json:"status"`
	ID      string         `json:"id,omitempty"`
	Problem map[string]any `json:"problem,omitempty"`
}

// accept stores what can be stored. A status of 0 means that the key was used for something else.
func (s *Server) accept(r *http.Request, body []byte, f Fault) (status int, answer any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := r.Header.Get("Content-Type") == "application/x-ndjson"
	parts := [][]byte{body}
	if lines {
		parts = bytes.Split(bytes.TrimSuffix(body, []byte{'\n'}), []byte{'\n'})
	}
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		s.t.Error("a POST without an Idempotency-Key")
	}
	fingerprint := sha256.Sum256(append([]byte(r.URL.RawQuery+"\n"), body...))
	c := s.claims[key]
	if c == nil {
		c = &claim{fingerprint: fingerprint, ids: make([]string, len(parts))}
		for i := range c.ids {
			c.ids[i] = schemas.NewID(time.Now())
		}
		s.claims[key] = c
	}
	if c.fingerprint != fingerprint {
		return 0, nil
	}
	items, accepted, busy := make([]item, len(parts)), 0, false
	refused := make(map[int]bool)
	for _, i := range f.Items {
		refused[i] = true
	}
	offset := 0
	for i, part := range parts {
		var syntax *json.SyntaxError
		switch err := json.Unmarshal(part, new(any)); {
		case refused[i]:
			busy = true
			items[i] = item{Status: 503, Problem: problem(503, "not-durable", "told to refuse")}
		case errors.As(err, &syntax):
			at := offset + int(syntax.Offset)
			items[i] = item{Status: 400, Problem: problem(400, "malformed-json", fmt.Sprintf("At byte %d: broken.", at))}
			if lines {
				items[i].Problem = problem(400, "malformed-json", fmt.Sprintf("Line %d, byte %d of the body: broken.", i+1, at))
				items[i].Problem["line"] = i + 1
			}
			items[i].Problem["offset"] = at
		default:
			accepted++
			items[i] = item{Status: 202, ID: c.ids[i]}
			s.store(Stored{
				ID: c.ids[i], Body: bytes.Clone(part), Attributes: r.URL.Query(), Line: lines,
				Gzipped: r.Header.Get("Content-Encoding") == "gzip",
			})
		}
		offset += len(part) + 1
	}
	if !lines {
		if items[0].ID == "" {
			return items[0].Status, items[0].Problem
		}
		return 202, map[string]string{"id": items[0].ID, "via": "stream"}
	}
	status = 202
	switch {
	case accepted == len(items):
	case accepted > 0:
		status = 207
	case busy:
		status = 503
	default:
		status = 400
	}
	return status, map[string]any{"accepted": accepted, "rejected": len(items) - accepted, "items": items}
}

func problem(status int, kind, detail string) map[string]any {
	return map[string]any{"type": "/problems/" + kind, "title": http.StatusText(status), "status": status, "detail": detail}
}

func (s *Server) store(e Stored) {
	if _, twice := s.byID[e.ID]; twice {
		return
	}
	s.byID[e.ID] = len(s.events)
	s.events = append(s.events, e)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	s.mu.Lock()
	s.asked[id]++
	pending := s.asked[id] <= s.Pending
	s.mu.Unlock()
	event, ok := s.Event(id)
	switch {
	case pending:
		Refuse(w, Fault{Status: http.StatusNotFound, Kind: "event-pending", RetryAfter: 1}, "not there yet")
	case !ok:
		Refuse(w, Fault{Status: http.StatusNotFound, Kind: "event-unknown"}, "No event has this id.")
	case r.Header.Get("Accept") == "application/cloudevents+json":
		w.Header().Set("Content-Type", "application/cloudevents+json")
		_, _ = fmt.Fprintf(w, `{"specversion":"1.0","id":%q,"data":%s}`, id, event.Body) // the client may be gone
	default:
		sum := sha256.Sum256(event.Body)
		w.Header().Set("Ce-Sha256", hex.EncodeToString(sum[:]))
		body := bytes.Clone(event.Body)
		if s.Damage {
			body[len(body)-1] ^= 1
		}
		_, _ = w.Write(body) // the client may be gone
	}
}
