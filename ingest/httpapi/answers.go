package httpapi

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"

	"penstock/ingest"
	"penstock/schemas"
)

const (
	// itemBytes bounds what an item of a batch takes up beside its bytes: submission, result and fate.
	itemBytes = 1 << 10
	// itemAnswer bounds an item in the answer to a batch; the longest are problems.
	itemAnswer = 768
	// eventAnswer is what reading an inline event takes up: as it is stored, and unpacked or in its envelope.
	eventAnswer = 2 * (schemas.MaxInlineBody + schemas.MaxAttributes)
	// letterAnswer is what reading a dead letter takes up: a record of at most 1 MiB, as it is and in base64.
	letterAnswer = 3 << 20
	// textAnswer bounds a list's item, or a state, without the texts in it; escaped is what a byte of those grows to.
	textAnswer = 1 << 10
	escaped    = len(`\u003c`)
	// largestAnswer is the most that one request takes of Config.AnswerBytes.
	largestAnswer = max(eventAnswer, letterAnswer, schemas.MaxBatchItems*itemAnswer)
	// smallAnswer is a size that every connection may hold without being counted.
	smallAnswer = 16 << 10
)

// answerRoom takes n bytes for an answer that is yet to be made: a client that does not read keeps it in memory until the
// write times out, and there may be as many of those as connections.
func (s *Server) answerRoom(ctx context.Context, n int64) (*ingest.Hold, error) {
	hold := s.answers.Hold()
	err := hold.Grow(ended, n)
	if errors.Is(err, ingest.ErrOverloaded) {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.RoomWait)
		defer cancel()
		err = hold.Grow(ctx, n)
	}
	if err != nil {
		hold.Release()
		return nil, refuse(overloaded, "Too many answers wait for their clients to read them. Nothing was stored; try again "+
			"shortly.")
	}
	return hold, nil
}

// answerJSON answers with a document that takes up at most n bytes when it is encoded.
func (s *Server) answerJSON(x *exchange, n int, document any) error {
	if n <= smallAnswer {
		writeJSON(x.ctx, http.StatusOK, mediaJSON, document)
		return nil
	}
	taken := int64(min(n, largestAnswer))
	hold, err := s.answerRoom(s.base, taken)
	if err != nil {
		return err
	}
	setHead(x.ctx, http.StatusOK, mediaJSON)
	setBody(x, encode(document), hold, taken)
	return nil
}

// setBody answers with body, and gives back the hold of taken bytes once it is written. A small one gives it back at once.
func setBody(x *exchange, body []byte, hold *ingest.Hold, taken int64) {
	if len(body) <= smallAnswer {
		hold.Release()
		x.ctx.Response.SetBodyRaw(body)
		return
	}
	hold.Shrink(max(0, taken-int64(len(body))))
	x.ctx.Response.SetBodyStream(&heldBody{Reader: bytes.NewReader(body), release: sync.OnceFunc(hold.Release)}, len(body))
}

// heldBody is a body in memory; fasthttp closes it when it is written or can't be.
type heldBody struct {
	*bytes.Reader
	release func()
}

func (b *heldBody) Close() error {
	b.release()
	return nil
}
