package ingest

import (
	"context"
	"errors"
	"time"

	"penstock/schemas"
)

// Errors of Accept, besides *schemas.JSONError and schemas.ErrAttribute for what is wrong with the submission.
var (
	// ErrOverloaded: the in-flight bytes are at their limit; nothing was stored. Worth another try.
	ErrOverloaded = errors.New("too many bytes in flight")
	// ErrNotDurable: the stream or the body store refused, or the deadline came before the stream was asked; the event
	// is not stored. Worth another try.
	ErrNotDurable = errors.New("not stored")
	// ErrUnknownOutcome: the deadline came first; the event may be stored or may yet be. A retry is a new event unless
	// it carries the same Idempotency-Key.
	ErrUnknownOutcome = errors.New("not known to be stored")
	// ErrDraining: this process is shutting down.
	ErrDraining = errors.New("shutting down")
	// ErrKeyReused: the Idempotency-Key belongs to another request.
	ErrKeyReused = errors.New("idempotency key was used for another request")
	// ErrKeyInFlight: the first request with this Idempotency-Key has no answer yet.
	ErrKeyInFlight = errors.New("first request with this idempotency key is in flight")
	// ErrEmpty: the body has no bytes.
	ErrEmpty = errors.New("empty body")
	// ErrTooLarge: the body is larger than schemas.MaxBody.
	ErrTooLarge = errors.New("body is too large")
)

// Submission is one document to accept.
type Submission struct {
	Attributes schemas.Attributes
	// Body is the document. It is not copied when large, so the caller must not reuse it; Hold accounts for it.
	Body []byte
	// Hold is retained by ingest for as long as anything still refers to Body. Required.
	Hold *Hold
}

// Ack says that an event is durable.
type Ack struct {
	ID           string
	ReceivedTime time.Time
	// Via is "stream".
	Via string
}

// Result is the fate of one item of a batch: Ack when Err is nil.
type Result struct {
	Ack Ack
	Err error
}

// Accept validates, stores and acks one submission. ctx carries the deadline (invariant 4): when it ends Accept returns
// ErrUnknownOutcome at once, while the flight goes on without it, or ErrNotDurable when there is no flight yet and will
// be none. idempotencyKey is empty or scoped to the credential by the caller. replayed says that the ack is that of an
// earlier request with the same key: this one stored nothing.
func (in *Ingest) Accept(ctx context.Context, s Submission, idempotencyKey string) (ack Ack, replayed bool, err error) {
	r := in.newRequest([]Submission{s}, nil, false)
	if replayed, err = r.run(ctx, idempotencyKey); err != nil {
		return Ack{}, false, err
	}
	return r.results[0].Ack, replayed, r.results[0].Err
}

// AcceptBatch does the same for every item on its own. An item may come with an error of the caller's in refused (same
// length as items, or nil), e.g. because it could not be cut from the request; it keeps its place in the results. err is
// about the whole request (an idempotency key's state); then there are no results.
func (in *Ingest) AcceptBatch(
	ctx context.Context, items []Submission, refused []error, idempotencyKey string,
) (results []Result, replayed bool, err error) {
	r := in.newRequest(items, refused, true)
	if replayed, err = r.run(ctx, idempotencyKey); err != nil {
		return nil, false, err
	}
	return r.results, replayed, nil
}
