package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"penstock/ingest"
	"penstock/schemas"
)

// batchAnswer has an item for each of the request, in order.
type batchAnswer struct {
	Accepted int         `json:"accepted"`
	Rejected int         `json:"rejected"`
	Items    []batchItem `json:"items"`
}

type batchItem struct {
	Status  int      `json:"status"`
	ID      string   `json:"id,omitempty"`
	Problem *Problem `json:"problem,omitempty"`
}

// itemsAtOnce is for how many items room is taken at a time.
const itemsAtOnce = 64

// batch is a request cut into items. An item that could not be cut or read has an error in refused.
type batch struct {
	items   []ingest.Submission
	refused []error
	// origins say where in the body an item begins; line is 0 in a JSON array.
	origins []origin
	// room takes memory for items before they are added.
	room func(bytes int64) error
}

type origin struct {
	offset int64
	line   int
}

func (b *batch) add(s ingest.Submission, err error, at origin) error {
	if len(b.items) == schemas.MaxBatchItems {
		return &refusal{kind: tooManyItems, limit: schemas.MaxBatchItems,
			detail: fmt.Sprintf("A batch holds at most %d items. Nothing of it was stored.", schemas.MaxBatchItems)}
	}
	if len(b.items)%itemsAtOnce == 0 {
		if err := b.room(itemsAtOnce * itemBytes); err != nil {
			return err
		}
	}
	b.items, b.refused, b.origins = append(b.items, s), append(b.refused, err), append(b.origins, at)
	return nil
}

func (s *Server) postBatch(ctx context.Context, x *exchange, head *eventsHead, body payload, key string) error {
	cut := cutLines
	if head.format == formatBatch {
		cut = cutArray
	}
	b, err := cut(body, &head.attributes, s.itemRoom(ctx, body.hold))
	if err != nil {
		return err
	}
	if len(b.items) == 0 {
		return refuse(emptyBody, "The batch holds no event.")
	}
	// Before anything is stored, since what is stored must be answered.
	taken := int64(len(b.items)) * itemAnswer
	hold, err := s.answerRoom(ctx, taken)
	if err != nil {
		return err
	}
	results, replayed, err := s.deps.Ingest.AcceptBatch(ctx, b.items, b.refused, key)
	if err != nil {
		hold.Release()
		return err
	}
	answer, status, retryAfter := s.batchAnswer(b, results)
	markReplayed(x, replayed)
	if status == http.StatusServiceUnavailable {
		x.ctx.Response.Header.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	setHead(x.ctx, status, mediaJSON)
	setBody(x, encode(answer), hold, taken)
	return nil
}

// itemRoom adds to the body's hold, which is released with the request.
func (s *Server) itemRoom(ctx context.Context, hold *ingest.Hold) func(int64) error {
	return func(n int64) error {
		err := hold.Grow(ended, n)
		if errors.Is(err, ingest.ErrOverloaded) {
			ctx, cancel := context.WithTimeout(ctx, s.cfg.RoomWait)
			defer cancel()
			err = hold.Grow(ctx, n)
		}
		return err
	}
}

// cutLines takes each line as the data of an event with the request's attributes. Lines end by LF or CR LF; those of
// nothing but blanks are no items. A broken line is the item's problem, not the others'.
func cutLines(body payload, given *schemas.Attributes, room func(int64) error) (*batch, error) {
	b := &batch{room: room}
	at := origin{line: 1}
	for rest := body.bytes; len(rest) > 0; at.line++ {
		line, after, _ := bytes.Cut(rest, []byte{'\n'})
		text := bytes.TrimSuffix(line, []byte{'\r'})
		if len(bytes.Trim(text, " \t\r")) > 0 {
			// The extensions are shared: 10,000 copies of a header's worth of them would be memory that nobody bounds.
			submission := ingest.Submission{Attributes: *given, Body: text[:len(text):len(text)], Hold: body.hold}
			if err := b.add(submission, nil, at); err != nil {
				return nil, err
			}
		}
		at.offset += int64(len(rest) - len(after))
		rest = after
	}
	return b, nil
}

// cutArray takes each element as a structured CloudEvent. An array that is not well-formed is refused as a whole.
func cutArray(body payload, given *schemas.Attributes, room func(int64) error) (*batch, error) {
	// An element has a table of extensions of its own, with the request's in it.
	const extensionBytes = 64
	extensions := int64(len(given.Extensions)) * extensionBytes * itemsAtOnce
	b := &batch{room: func(n int64) error { return room(n + extensions) }}
	err := schemas.SplitArray(body.bytes, func(element []byte) error {
		attributes, data, err := schemas.ParseStructured(element)
		if err == nil {
			err = merge(&attributes, given, "the request")
		}
		return b.add(ingest.Submission{Attributes: attributes, Body: data, Hold: body.hold}, err, origin{})
	})
	return b, err
}

// batchAnswer renders the results. The status of the whole is 202 when every item is durable, 207 when some are, and if
// none is, 503 when another try may help some, else 400. retryAfter is the longest that an item asks for, in seconds.
func (s *Server) batchAnswer(b *batch, results []ingest.Result) (answer batchAnswer, status, retryAfter int) {
	answer.Items = make([]batchItem, len(results))
	for i := range results {
		if results[i].Err == nil {
			answer.Accepted++
			answer.Items[i] = batchItem{Status: http.StatusAccepted, ID: results[i].Ack.ID}
			continue
		}
		answer.Rejected++
		p := s.itemProblem(results[i].Err, b.origins[i])
		retryAfter = max(retryAfter, p.RetryAfter)
		answer.Items[i] = batchItem{Status: p.Status, Problem: &p}
	}
	switch {
	case answer.Rejected == 0:
		status = http.StatusAccepted
	case answer.Accepted > 0:
		status = http.StatusMultiStatus
	case retryAfter > 0:
		status = http.StatusServiceUnavailable
	default:
		status = http.StatusBadRequest
	}
	return answer, status, retryAfter
}

// itemProblem is the problem of an item; in a batch of lines its offset is that in the whole body.
func (s *Server) itemProblem(err error, at origin) Problem {
	p := s.problemOf(err)
	p.Line = at.line
	var syntax *schemas.JSONError
	if at.line > 0 && errors.As(err, &syntax) {
		offset := at.offset + int64(syntax.Offset)
		p.Offset = &offset
		p.Detail = fmt.Sprintf("Line %d, byte %d of the body: %s.", at.line, offset, syntax.Reason)
	}
	return p
}
