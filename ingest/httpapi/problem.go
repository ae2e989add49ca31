package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"
)

const (
	mediaProblem = "application/problem+json"
	mediaJSON    = "application/json"
	mediaCSV     = "text/csv; charset=utf-8"
	mediaPlain   = "text/plain; charset=utf-8"
)

// Problem is an RFC 9457 problem document. openapi.yaml lists the types.
type Problem struct {
	// Type is a URI reference, "/problems/" and a name that never changes.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what is wrong here and what to do about it. It never quotes a body, a key or internals.
	Detail string `json:"detail,omitempty"`
	// Instance is set on internal errors, and in the server's log beside the cause.
	Instance string `json:"instance,omitempty"`
	// Offset is the 0-based byte at which a body is wrong; Line the 1-based line of a batch.
	Offset *int64 `json:"offset,omitempty"`
	Line   int    `json:"line,omitempty"`
	// Limit is the bound that was exceeded.
	Limit int64 `json:"limit,omitempty"`
	// RetryAfter is in seconds, as in the header of that name.
	RetryAfter int `json:"retryAfter,omitempty"`
	// Checks are the dependencies, when the server is not ready.
	Checks []CheckResult `json:"checks,omitempty"`
}

// kind is a type of problem; a retryAfter of 0 means that another try will not help.
type kind struct {
	name, title string
	status      int
	retryAfter  int
}

// The problem types of this API.
var (
	malformedRequest   = kind{"malformed-request", "The request is not well-formed HTTP", http.StatusBadRequest, 0}
	invalidParameter   = kind{"invalid-parameter", "A parameter is not suitable", http.StatusBadRequest, 0}
	unsuitableAttr     = kind{"unsuitable-attribute", "An event attribute is not suitable", http.StatusBadRequest, 0}
	malformedJSON      = kind{"malformed-json", "The body is not acceptable JSON", http.StatusBadRequest, 0}
	emptyBody          = kind{"empty-body", "The body is empty", http.StatusBadRequest, 0}
	truncatedBody      = kind{"truncated-body", "The body ended too early", http.StatusBadRequest, 0}
	malformedEncoding  = kind{"malformed-encoding", "The body does not decode by its Content-Encoding", http.StatusBadRequest, 0}
	invalidQuery       = kind{"invalid-query", "The SQL is not suitable", http.StatusBadRequest, 0}
	unauthorized       = kind{"unauthorized", "An API key is needed", http.StatusUnauthorized, 0}
	crossSite          = kind{"cross-site", "Requests from other web sites are refused", http.StatusForbidden, 0}
	notFound           = kind{"not-found", "There is nothing here", http.StatusNotFound, 0}
	eventPending       = kind{"event-pending", "The event is not in the index yet", http.StatusNotFound, 1}
	eventUnknown       = kind{"event-unknown", "There is no such event", http.StatusNotFound, 0}
	eventErased        = kind{"event-erased", "The event was erased", http.StatusNotFound, 0}
	queryUnknown       = kind{"query-unknown", "There is no such query execution", http.StatusNotFound, 0}
	deadLetterUnknown  = kind{"dead-letter-unknown", "There is no such dead letter", http.StatusNotFound, 0}
	methodNotAllowed   = kind{"method-not-allowed", "The method is not allowed here", http.StatusMethodNotAllowed, 0}
	slowReader         = kind{"slow-reader", "The result is read too slowly", http.StatusRequestTimeout, 0}
	slowRequest        = kind{"slow-request", "The request came too slowly", http.StatusRequestTimeout, 1}
	keyInFlight        = kind{"key-in-flight", "The first request with this key has no answer yet", http.StatusConflict, 1}
	resultNotReady     = kind{"result-not-ready", "The query has no result yet", http.StatusConflict, 1}
	resultUnavailable  = kind{"result-unavailable", "The query has no result", http.StatusConflict, 0}
	bodyTooLarge       = kind{"body-too-large", "The body is too large", http.StatusRequestEntityTooLarge, 0}
	tooManyItems       = kind{"too-many-items", "The batch has too many items", http.StatusRequestEntityTooLarge, 0}
	unsupportedMedia   = kind{"unsupported-media-type", "The body is not declared as JSON", http.StatusUnsupportedMediaType, 0}
	unsupportedCoding  = kind{"unsupported-encoding", "The Content-Encoding is not supported", http.StatusUnsupportedMediaType, 0}
	expectationFailed  = kind{"expectation-failed", "The expectation can't be met", http.StatusExpectationFailed, 0}
	upgradeRequired    = kind{"upgrade-required", "This is a WebSocket", http.StatusUpgradeRequired, 0}
	keyReused          = kind{"key-reused", "The Idempotency-Key belongs to another request", http.StatusUnprocessableEntity, 0}
	refusedAgain       = kind{"refused-again", "The sink refused the record again", http.StatusUnprocessableEntity, 0}
	headerTooLarge     = kind{"header-too-large", "The header is too large", http.StatusRequestHeaderFieldsTooLarge, 0}
	internalError      = kind{"internal-error", "Something went wrong inside the server", http.StatusInternalServerError, 0}
	notImplemented     = kind{"not-implemented", "The method is not known", http.StatusNotImplemented, 0}
	overloaded         = kind{"overloaded", "The server is busy", http.StatusServiceUnavailable, 1}
	notDurable         = kind{"not-durable", "The event could not be stored", http.StatusServiceUnavailable, 1}
	storageFull        = kind{"storage-full", "The storage is full", http.StatusServiceUnavailable, 30}
	outcomeUnknown     = kind{"outcome-unknown", "The event may or may not be stored", http.StatusServiceUnavailable, 1}
	draining           = kind{"draining", "The server is shutting down", http.StatusServiceUnavailable, 1}
	queriesBusy        = kind{"queries-busy", "Too many queries are waiting", http.StatusServiceUnavailable, 2}
	notReady           = kind{"not-ready", "A dependency is not ready", http.StatusServiceUnavailable, 1}
	serviceUnavailable = kind{"service-unavailable", "A dependency does not answer", http.StatusServiceUnavailable, 1}
)

// refusal is an error of this package: a problem about to be written.
type refusal struct {
	kind   kind
	detail string
	limit  int64
	offset *int64
	line   int
}

func (r *refusal) Error() string { return r.kind.title + ": " + r.detail }

func refuse(k kind, detail string) error { return &refusal{kind: k, detail: detail} }

// outOfBounds refuses a number.
func outOfBounds(name string, low, high int64) error {
	return &refusal{
		kind: invalidParameter, limit: high, detail: fmt.Sprintf("%s must be a number from %d to %d.", name, low, high),
	}
}

func (r *refusal) problem() Problem {
	return Problem{
		Type: "/problems/" + r.kind.name, Title: r.kind.title, Status: r.kind.status, Detail: r.detail,
		Offset: r.offset, Line: r.line, Limit: r.limit, RetryAfter: r.kind.retryAfter,
	}
}

// writeProblem replaces whatever the response holds.
func writeProblem(ctx *fasthttp.RequestCtx, p Problem) {
	allow := string(ctx.Response.Header.Peek("Allow")) // the router sets it beside a 405
	ctx.Response.Reset()
	if allow != "" {
		ctx.Response.Header.Set("Allow", allow)
	}
	if p.RetryAfter > 0 {
		ctx.Response.Header.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		ctx.Response.Header.Set("WWW-Authenticate", `Bearer realm="penstock"`)
	}
	writeJSON(ctx, p.Status, mediaProblem, p)
}

// refusedConnection is the whole answer to a connection that is not even read.
func refusedConnection() []byte {
	r := refusal{kind: overloaded, detail: "Too many connections are open. Try again shortly."}
	body, err := json.Marshal(r.problem())
	if err != nil {
		panic(err) // a type of our own that can't be encoded
	}
	return fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: %s\r\nRetry-After: %d\r\n"+
		"Connection: close\r\nContent-Length: %d\r\n\r\n%s", mediaProblem, overloaded.retryAfter, len(body), body)
}

// writeJSON answers with a document of this package's own types, which always encode.
func writeJSON(ctx *fasthttp.RequestCtx, status int, media string, document any) {
	setHead(ctx, status, media)
	ctx.Response.SetBodyRaw(encode(document))
}

func setHead(ctx *fasthttp.RequestCtx, status int, media string) {
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetContentType(media)
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
}

func encode(document any) []byte {
	body, err := json.Marshal(document)
	if err != nil {
		panic(err) // a type of our own that can't be encoded; recovered into a 500
	}
	return append(body, '\n')
}
