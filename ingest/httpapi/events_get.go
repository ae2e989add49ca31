package httpapi

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

// futureTolerance is how far an id's time may be ahead of our clock before nobody waits for the index to pass it.
const futureTolerance = time.Minute

// proofTime is how long a GET waits for the index to catch up with the stream, to prove that there is no such event.
const proofTime = 250 * time.Millisecond

// lookupTimeout bounds the reads behind a GET, but not the streaming of a body.
const lookupTimeout = 10 * time.Second

// getEvent answers with the posted bytes, or with the event as structured CloudEvents JSON when the client asks for it.
func (s *Server) getEvent(x *exchange) error {
	id := x.param("id")
	made, err := schemas.IDTime(id)
	if err != nil {
		return refuse(invalidParameter, "This is "+err.Error()+".")
	}
	ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
	defer cancel()
	hold, err := s.answerRoom(ctx, eventAnswer)
	if err != nil {
		return err
	}
	event, err := s.find(ctx, id, made)
	if err != nil || event.DataRef != "" {
		hold.Release()
	}
	if err != nil {
		return err
	}
	x.ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	// The body is a stranger's: should a browser show it, it may do nothing.
	x.ctx.Response.Header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	x.ctx.Response.Header.Set("Vary", "Accept")
	if accepts(x.header("Accept"), mediaEvent) {
		return s.writeEnvelope(x, &event, hold)
	}
	for _, a := range binaryAttributes(&event) {
		x.ctx.Response.Header.Add(a.header, encodeHeader(a.value))
	}
	x.ctx.Response.Header.SetContentType(event.ContentType)
	if event.DataRef == "" {
		setBody(x, event.Data, hold, eventAnswer)
		return nil
	}
	body, err := s.openBody(x, &event)
	if err != nil {
		return err
	}
	x.ctx.Response.SetBodyStream(body, int(event.Size))
	return nil
}

// find looks the event up. When it is not there, only the ledger can tell "never" from "not yet": an id says nothing
// about when its event came to the stream, since a retry with an Idempotency-Key takes the first one's id, and clocks go
// wrong.
func (s *Server) find(ctx context.Context, id string, made time.Time) (schemas.Event, error) {
	event, err := s.deps.Index.Get(ctx, id)
	if !errors.Is(err, consumer.ErrNotFound) {
		return event, err
	}
	if s.deps.Eraser != nil && s.deps.Eraser.Erased(id) {
		return event, refuse(eventErased, "The event was erased on purpose.")
	}
	if s.comesSoon(ctx, made) {
		return event, pending()
	}
	proof, cancel := context.WithTimeout(ctx, proofTime)
	defer cancel()
	stored, err := s.deps.Ledger.Stored(proof, []string{id})
	if err == nil && !stored[0] {
		return event, refuse(eventUnknown, "No event has this id: the index holds everything that was acked before you asked.")
	}
	event, err = s.deps.Index.Get(ctx, id) // the ledger may have waited for it
	if errors.Is(err, consumer.ErrNotFound) {
		return event, pending()
	}
	return event, err
}

// comesSoon spares the stream those who poll for an id that they were just given: the index has not passed its time yet.
func (s *Server) comesSoon(ctx context.Context, made time.Time) bool {
	if made.After(s.cfg.Now().Add(futureTolerance)) {
		return false
	}
	watermark, err := s.deps.Watermarks.Index(ctx)
	return err != nil || !watermark.After(made.Add(time.Second)) // an id holds no more than its second
}

func pending() error {
	return refuse(eventPending, "The index has not come so far yet. If the id came from an ack the event is durable and "+
		"will appear; ask again.")
}

// openBody opens a body in object storage for streaming; fasthttp closes it. A HEAD reads nothing.
func (s *Server) openBody(x *exchange, e *schemas.Event) (io.Reader, error) {
	if methodIsHead(&x.ctx.Request.Header) {
		return bytes.NewReader(nil), nil
	}
	body, err := s.deps.Bodies.Open(s.base, e.DataRef)
	if err != nil {
		// Not "not found" to the client: the event is there, and its body must be.
		return nil, fmt.Errorf("open the body of event %s: %v", e.ID, err) //nolint:errorlint // see above
	}
	return body, nil
}

// writeEnvelope answers with the event as it is on the stream; a body from object storage takes the place of dataref. hold
// is for an inline one.
func (s *Server) writeEnvelope(x *exchange, e *schemas.Event, hold *ingest.Hold) error {
	x.ctx.Response.Header.SetContentType(mediaEvent)
	if e.DataRef == "" {
		setBody(x, schemas.AppendEvent(nil, e), hold, eventAnswer)
		return nil
	}
	inline := *e
	inline.DataRef, inline.Data = "", []byte("0")
	head, ok := bytes.CutSuffix(schemas.AppendEvent(nil, &inline), []byte("0}")) // data is the last member
	if !ok {
		return fmt.Errorf("event %s does not end with its data", e.ID)
	}
	body, err := s.openBody(x, e)
	if err != nil {
		return err
	}
	size := len(head) + int(e.Size) + len("}")
	stream := io.MultiReader(bytes.NewReader(head), body, strings.NewReader("}"))
	x.ctx.Response.SetBodyStream(&closing{Reader: stream, inner: body}, size)
	return nil
}

// closing is a reader that closes the one inside of it, if that can be closed.
type closing struct {
	io.Reader
	inner io.Reader
}

func (c *closing) Close() error {
	if closer, ok := c.inner.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

type attribute struct{ header, value string }

// binaryAttributes are the headers of an event; the Content-Type stands for datacontenttype.
func binaryAttributes(e *schemas.Event) []attribute {
	list := append(make([]attribute, 0, 16), // most events have no more
		attribute{"Ce-Specversion", "1.0"},
		attribute{"Ce-Id", e.ID},
		attribute{"Ce-Source", e.Source},
		attribute{"Ce-Type", e.Type},
		attribute{"Ce-Time", e.Time.Format(time.RFC3339Nano)},
		attribute{"Ce-Receivedtime", formatTime(e.ReceivedTime)},
		attribute{"Ce-Size", strconv.FormatInt(e.Size, 10)},
		attribute{"Ce-Sha256", hex.EncodeToString(e.SHA256[:])},
	)
	for _, optional := range [...]attribute{
		{"Ce-Subject", e.Subject}, {"Ce-Dataschema", e.DataSchema}, {"Ce-Partitionkey", e.PartitionKey}, {"Ce-Dataref", e.DataRef},
		{"Ce-Originid", e.OriginID}, {"Ce-Tenant", e.Tenant},
	} {
		if optional.value != "" {
			list = append(list, optional)
		}
	}
	if e.Redelivered {
		list = append(list, attribute{"Ce-Redelivered", "true"})
	}
	for name, value := range e.Extensions {
		list = append(list, attribute{"Ce-" + name, value})
	}
	return list
}
