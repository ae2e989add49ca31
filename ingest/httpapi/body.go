package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"penstock/ingest"
	"penstock/schemas"
)

// deadlineStep is how many bytes are read before the read deadline is moved on.
const deadlineStep = 64 << 10

// wireReader reads the body of a request from the connection, and is what everything else reads bodies through: fasthttp
// does not limit a streamed body, calls a fixed-length one that breaks off complete, calls a chunked one complete when
// the client goes away between two chunks, and runs on into the next request when read again after its end.
type wireReader struct {
	s     *Server
	x     *exchange
	read  int64
	next  int64 // bytes read at which the deadline moves
	err   error // sticky
	begun time.Time
}

func (s *Server) newWireReader(x *exchange) *wireReader {
	return &wireReader{s: s, x: x, begun: time.Now()}
}

func (w *wireReader) Read(p []byte) (int, error) {
	if w.err != nil || len(p) == 0 {
		return 0, w.err
	}
	n, err := w.readSome(p)
	w.read += int64(n)
	switch length := w.x.framing.length; {
	case length >= 0 && w.read == length:
		w.end()
	case err == nil:
	case errors.Is(err, io.EOF) && length < 0 && !w.clientGone():
		w.end()
	default:
		w.err = w.broken(err)
	}
	return n, w.err
}

func (w *wireReader) end() {
	w.err, w.x.bodyRead, w.x.bodyEnd = io.EOF, true, time.Now()
}

func (w *wireReader) readSome(p []byte) (int, error) {
	stream := w.x.ctx.Request.BodyStream()
	if stream == nil {
		return 0, io.ErrUnexpectedEOF
	}
	if w.read >= w.next {
		w.next = w.read + deadlineStep
		patience := w.s.cfg.BodyGrace + time.Duration(float64(w.read)/float64(w.s.cfg.MinBodyRate)*float64(time.Second))
		if err := w.x.ctx.Conn().SetReadDeadline(w.begun.Add(patience)); err != nil {
			return 0, err
		}
	}
	return stream.Read(p)
}

// clientGone reports whether the client has closed its side and more was wanted of it.
func (w *wireReader) clientGone() bool {
	c, ok := w.x.ctx.Conn().(*conn)
	return ok && c.ended.Load()
}

func (w *wireReader) broken(err error) error {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return refuse(slowRequest, fmt.Sprintf("The body came more slowly than %d bytes a second after the first %v.",
			w.s.cfg.MinBodyRate, w.s.cfg.BodyGrace))
	case w.clientGone() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(truncatedBody, fmt.Sprintf("The body ended after %d bytes, before its announced end.", w.read))
	default:
		return malformed("a chunked body that is not well-formed")
	}
}

func tooLarge(limit int64) error {
	detail := fmt.Sprintf("A body holds at most %d bytes here, after content decoding.", limit)
	if limit == schemas.MaxBody {
		detail += " Send a batch in several requests, and split a larger document into several events: with one partitionkey " +
			"they stay in order."
	}
	return &refusal{kind: bodyTooLarge, limit: limit, detail: detail}
}

// room is the right to a number of bytes of memory, taken from the budget before they are used, and to a decoder.
type room struct {
	s *Server
	// ctx bounds all the waiting of one request, made when it first has to wait.
	ctx    context.Context
	cancel context.CancelFunc
}

func (s *Server) newRoom() *room { return &room{s: s} }

func (r *room) close() {
	if r.cancel != nil {
		r.cancel()
	}
}

// waiting ends when the request has waited long enough, for whatever it was, since it first asked.
func (r *room) waiting() context.Context {
	if r.ctx == nil {
		r.ctx, r.cancel = context.WithTimeout(r.s.base, r.s.cfg.RoomWait)
	}
	return r.ctx
}

// take opens a hold of n bytes. ingest.ErrOverloaded when there is no room in time.
func (r *room) take(n int64) (*ingest.Hold, error) {
	hold := r.s.deps.Budget.Hold()
	err := hold.Grow(ended, n) // without a timer when there is room, which is the rule
	if errors.Is(err, ingest.ErrOverloaded) {
		err = hold.Grow(r.waiting(), n)
	}
	if err != nil {
		hold.Release()
		return nil, err
	}
	return hold, nil
}

// ended tells Grow not to wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// payload is a body in memory, with the hold that accounts for it. The bytes are never request memory.
type payload struct {
	bytes []byte
	hold  *ingest.Hold
}

func (p *payload) release() {
	if p.hold != nil {
		p.hold.Release()
		p.hold = nil
	}
}

// readBody reads and decodes the body, at most limit decoded bytes. After an error nothing is held.
func (s *Server) readBody(x *exchange, limit int64) (payload, error) {
	r := s.newRoom()
	defer r.close()
	coding, err := contentCoding(&x.ctx.Request.Header)
	if err != nil {
		return payload{}, err
	}
	if coding == identity {
		return s.readWire(r, x, limit, limit)
	}
	// The packed bytes are read first, so that a slow client never holds a decoder.
	packed, err := s.readWire(r, x, packedLimit(limit), limit)
	if err != nil {
		return payload{}, err
	}
	defer packed.release()
	return s.decode(r, coding, packed.bytes, limit)
}

// packedLimit is the most that limit bytes may be on the wire: incompressible data grows a little by its framing.
func packedLimit(limit int64) int64 { return limit + limit/256 + 1024 }

// readWire reads the body as it is on the wire, at most atMost bytes; limit is what a refusal names.
func (s *Server) readWire(r *room, x *exchange, atMost, limit int64) (payload, error) {
	length := x.framing.length
	switch {
	case length == 0:
		return payload{}, ingest.ErrEmpty
	case length > atMost:
		return payload{}, tooLarge(limit)
	case length < 0:
		return readGrowing(r, s.newWireReader(x), 16<<10, atMost, limit)
	}
	hold, err := r.take(length)
	if err != nil {
		return payload{}, err
	}
	p := payload{bytes: make([]byte, length), hold: hold}
	if _, err := io.ReadFull(s.newWireReader(x), p.bytes); err != nil {
		p.release()
		return payload{}, err
	}
	return p, nil
}

// readGrowing reads to the end of something whose size nobody knows, doubling its buffer. Both buffers of a step are
// accounted for, so at most three times the bytes read are held for a moment, and twice at the end.
func readGrowing(r *room, from io.Reader, first, atMost, limit int64) (p payload, err error) {
	defer func() {
		if err != nil {
			p.release()
		}
	}()
	if err := p.grow(r, min(first, atMost)); err != nil {
		return p, err
	}
	var beyond [1]byte
	for {
		into := p.bytes[len(p.bytes):cap(p.bytes)]
		full := len(into) == 0
		if full && int64(cap(p.bytes)) < atMost {
			if err := p.grow(r, min(2*int64(cap(p.bytes)), atMost)); err != nil {
				return p, err
			}
			continue
		}
		if full {
			into = beyond[:]
		}
		n, err := from.Read(into)
		if full && n > 0 {
			return p, tooLarge(limit)
		}
		p.bytes = p.bytes[:len(p.bytes)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return p, err
		}
	}
	if len(p.bytes) == 0 {
		return p, ingest.ErrEmpty
	}
	return p, nil
}

// grow moves the bytes into a buffer of n bytes.
func (p *payload) grow(r *room, n int64) error {
	hold, err := r.take(n)
	if err != nil {
		return err
	}
	bigger := make([]byte, len(p.bytes), n)
	copy(bigger, p.bytes)
	p.release()
	p.bytes, p.hold = bigger, hold
	return nil
}
