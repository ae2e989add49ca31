package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"penstock/ingest"
	"penstock/schemas"
)

// timeFormat is RFC 3339 in UTC with microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// accepted is the answer to one event. Its texts hold nothing that JSON escapes: they are an id, a time, and our own.
func accepted(ack ingest.Ack) []byte {
	b := make([]byte, 0, 192)
	b = append(append(b, `{"id":"`...), ack.ID...)
	b = ack.ReceivedTime.UTC().AppendFormat(append(b, `","receivedTime":"`...), timeFormat)
	b = append(append(b, `","via":"`...), ack.Via...)
	b = append(append(append(b, `","href":"`...), eventsPath...), ack.ID...)
	return append(b, "\"}\n"...)
}

// eventsPath is before the id in an event's own path.
const eventsPath = "/v1/events/"

// postEvents takes one event or a batch, and answers once it is durable.
func (s *Server) postEvents(x *exchange) error {
	head, err := parseEventsHead(&x.ctx.Request.Header, x.framing)
	if err != nil {
		return err
	}
	key := scopedKey(x.credential, head.key)
	body, err := s.readBody(x, schemas.MaxBody)
	if err != nil {
		return err
	}
	defer body.release()
	ctx, cancel := context.WithDeadline(s.base, x.bodyEnd.Add(s.cfg.AckDeadline))
	defer cancel()
	switch head.format {
	case formatLines, formatBatch:
		return s.postBatch(ctx, x, &head, body, key)
	case formatStructured:
		return s.postStructured(ctx, x, &head, body, key)
	default:
		return s.postOne(ctx, x, ingest.Submission{Attributes: head.attributes, Body: body.bytes, Hold: body.hold}, key)
	}
}

func (s *Server) postStructured(ctx context.Context, x *exchange, head *eventsHead, body payload, key string) error {
	attributes, data, err := schemas.ParseStructured(body.bytes)
	if err != nil {
		return err
	}
	if err := merge(&attributes, &head.attributes, "the request"); err != nil {
		return err
	}
	return s.postOne(ctx, x, ingest.Submission{Attributes: attributes, Body: data, Hold: body.hold}, key)
}

func (s *Server) postOne(ctx context.Context, x *exchange, submission ingest.Submission, key string) error {
	ack, replayed, err := s.deps.Ingest.Accept(ctx, submission, key)
	if err != nil {
		return err
	}
	setHead(x.ctx, http.StatusAccepted, mediaJSON)
	x.ctx.Response.Header.Set("Location", eventsPath+ack.ID)
	markReplayed(x, replayed)
	x.ctx.Response.SetBodyRaw(accepted(ack))
	return nil
}

func markReplayed(x *exchange, replayed bool) {
	if replayed {
		x.ctx.Response.Header.Set("Idempotency-Replayed", "true")
	}
}

func formatTime(t time.Time) string { return t.UTC().Format(timeFormat) }

// eventsHead is what the header of a POST /v1/events says. Nothing in it is request memory.
type eventsHead struct {
	format     format
	attributes schemas.Attributes
	key        string
}

// parseEventsHead reads the header, or refuses the request by the header alone.
func parseEventsHead(h *fasthttp.RequestHeader, f framing) (head eventsHead, err error) {
	if head.format, err = bodyFormat(h); err != nil {
		return head, err
	}
	if err = checkLength(h, f, schemas.MaxBody); err != nil {
		return head, err
	}
	if head.attributes, err = requestAttributes(h, head.format); err != nil {
		return head, err
	}
	if head.attributes.ID != "" && (head.format == formatLines || head.format == formatBatch) {
		return head, fmt.Errorf("%w \"id\": a batch can't have one id for all of its events", schemas.ErrAttribute)
	}
	head.key, err = idempotencyKey(h)
	return head, err
}

func idempotencyKey(h *fasthttp.RequestHeader) (string, error) {
	values := h.PeekAll("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	wellFormed := len(values) == 1 && len(key) >= 1 && len(key) <= 255
	for _, c := range key {
		wellFormed = wellFormed && c > ' ' && c < 0x7F
	}
	if !wellFormed {
		return "", refuse(invalidParameter,
			"Idempotency-Key must be there once, with 1 to 255 visible ASCII characters; a UUID is a good one.")
	}
	return string(key), nil
}

// scopedKey makes a key the credential's own, so that no client can learn another's ids. An empty key stays empty.
func scopedKey(credential, key string) string {
	if key == "" {
		return ""
	}
	scope := sha256.New()
	scope.Write(binary.BigEndian.AppendUint32(nil, uint32(len(credential)))) // the name of a key
	scope.Write([]byte(credential))
	scope.Write([]byte(key))
	return hex.EncodeToString(scope.Sum(nil))
}
