package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"penstock/consumer"
	"penstock/consumer/query"
	"penstock/ingest"
	"penstock/schemas"
)

// sentinels maps the errors of the cores, in order: an error that wraps two of them is the first.
var sentinels = []struct {
	is     error
	kind   kind
	detail string // empty: the error's own message, which is written for the client
}{
	{ingest.ErrEmpty, emptyBody, "The body has no bytes; an event is any JSON value."},
	{ingest.ErrTooLarge, bodyTooLarge, "An event holds at most 10485760 bytes."},
	{ingest.ErrKeyReused, keyReused, "This Idempotency-Key was used for a request with another body or other attributes. " +
		"Use a new key for a new event."},
	{ingest.ErrUnsettled, keyInFlight, "What became of the first request with this Idempotency-Key is not settled yet. " +
		"Ask again with the same key and body."},
	{ingest.ErrKeyInFlight, keyInFlight, "The first request with this Idempotency-Key has no answer yet. " +
		"Ask again with the same key and body."},
	// Before those that say "nothing was stored", which it may wrap: a log that fails on a full disk leaves doubt.
	{ingest.ErrUnknownOutcome, outcomeUnknown, "The event was not acknowledged in time: it may be stored, or may yet be. " +
		"Another try is a new event unless it carries the same Idempotency-Key."},
	{ingest.ErrOverloaded, overloaded, "Too many bytes are in flight. Nothing was stored; try again shortly."},
	{ingest.ErrDraining, draining, "This process is shutting down. Nothing was stored; try again."},
	{ingest.ErrStorageFull, storageFull, "The storage is full. Nothing was stored; try again when the operator " +
		"has made room."},
	{ingest.ErrNotDurable, notDurable, "The event could not be stored. Nothing was stored; try again."},
	{schemas.ErrAttribute, unsuitableAttr, ""},
	{query.ErrStatement, invalidQuery, ""},
	{query.ErrLimit, invalidQuery, ""},
	{query.ErrBusy, queriesBusy, "Too many query executions are waiting. Try again shortly."},
	{query.ErrNoResult, resultUnavailable, "The query execution failed or was cancelled, or its result is not kept any more; GET its " +
		"state for the reason, or run it again."},
	{query.ErrKeyReused, keyReused, "This Idempotency-Key was used for another statement or other parameters. Use a new key for a new query."},
	{query.ErrClosed, draining, "This process is shutting down; try again."},
	{query.ErrNotReady, resultNotReady, "The query execution has not ended yet. Ask for its state and try again."},
	{query.ErrNotFound, queryUnknown, "No query execution has this id; old ones are forgotten."},
	{consumer.ErrNotFound, notFound, "There is nothing of this name."},
	{ingest.ErrThrottled, serviceUnavailable, "A dependency can't take more just now. Try again."},
	{ingest.ErrAmbiguous, serviceUnavailable, "A dependency did not answer. Try again."},
	{context.DeadlineExceeded, serviceUnavailable, "A dependency did not answer in time. Try again."},
}

// problemOf is the one place that says what an error looks like from outside. What it doesn't know is internal: the
// client gets a reference, the log gets the error.
func (s *Server) problemOf(err error) Problem {
	var own *refusal
	if errors.As(err, &own) {
		return own.problem()
	}
	var syntax *schemas.JSONError
	if errors.As(err, &syntax) {
		offset := int64(syntax.Offset)
		r := refusal{kind: malformedJSON, detail: fmt.Sprintf("At byte %d: %s.", offset, syntax.Reason), offset: &offset}
		return r.problem()
	}
	for _, known := range sentinels {
		if errors.Is(err, known.is) {
			detail := known.detail
			if detail == "" {
				detail = err.Error()
			}
			return (&refusal{kind: known.kind, detail: detail}).problem()
		}
	}
	var routing *fiber.Error
	if errors.As(err, &routing) {
		return routingProblem(routing)
	}
	return s.internal(err)
}

func routingProblem(err *fiber.Error) Problem {
	switch err.Code {
	case fasthttp.StatusNotFound:
		return (&refusal{kind: notFound, detail: "No such path. GET /openapi.yaml lists what there is."}).problem()
	case fasthttp.StatusMethodNotAllowed:
		return (&refusal{kind: methodNotAllowed, detail: "The header Allow lists the methods of this path."}).problem()
	default:
		return (&refusal{kind: malformedRequest, detail: "The request could not be read."}).problem()
	}
}

func (s *Server) internal(err error) Problem {
	reference := "urn:penstock:error:" + rand.Text()
	s.deps.Logger.Error("request failed", slog.String("instance", reference), slog.Any("error", err))
	p := (&refusal{kind: internalError, detail: "The cause is in the server's log under this instance."}).problem()
	p.Instance = reference
	return p
}

// onError is called by fasthttp when a request can't be read; the connection is closed afterwards.
func (s *Server) onError(ctx *fasthttp.RequestCtx, err error) {
	r := &refusal{kind: malformedRequest, detail: "The request could not be read as HTTP/1.1, or it ended too early."}
	var small *fasthttp.ErrSmallBuffer
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &small):
		r = &refusal{kind: headerTooLarge, limit: readBuffer, detail: "Request line and header fields together are too large."}
	case errors.As(err, &timeout) && timeout.Timeout():
		r = &refusal{kind: slowRequest, detail: "The request was not complete in time."}
	}
	s.closeAfter(ctx)
	writeProblem(ctx, r.problem())
	s.deps.Observe("unreadable", "", r.kind.status, 0)
}
