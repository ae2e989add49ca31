package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

type exchangeKey struct{}

// exchange is one request and its answer.
type exchange struct {
	ctx     *fasthttp.RequestCtx
	started time.Time
	framing framing
	// bodyRead: the last byte of the body, and what frames it, has been read from the connection.
	bodyRead bool
	// bodyEnd is when that was.
	bodyEnd time.Time
	// credential is the name of the key, empty when none is needed.
	credential string
	// unsafe: nobody knows where the request ends, or what its handler left undone.
	unsafe bool
	route  string
	params *fiber.Ctx
}

func exchangeOf(ctx *fasthttp.RequestCtx) *exchange {
	return ctx.UserValue(exchangeKey{}).(*exchange) //nolint:forcetypeassert // serve has set it; nothing else uses the key
}

// param copies a path parameter out of request memory.
func (x *exchange) param(name string) string { return strings.Clone(x.params.Params(name)) }

// header copies a header field out of request memory.
func (x *exchange) header(name string) string { return string(x.ctx.Request.Header.Peek(name)) }

// serve is the way of every request: framing, admission, route. Whatever happens, the connection is used again only if
// the request was read to its end.
func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	x := &exchange{ctx: ctx, started: time.Now(), route: "unmatched"}
	ctx.SetUserValue(exchangeKey{}, x)
	s.answer(x)
	if x.unsafe || (x.framing.hasBody() && !x.bodyRead) {
		s.closeAfter(ctx)
	}
	if hasToken(ctx.Request.Header.Peek("Connection"), "close") {
		ctx.SetConnectionClose() // fasthttp knows only the exact value "close"
	}
	s.deps.Observe(x.route, methodLabel(ctx.Method()), ctx.Response.StatusCode(), time.Since(x.started))
}

// answer turns errors and panics into problems.
func (s *Server) answer(x *exchange) {
	defer func() {
		if cause := recover(); cause != nil {
			s.deps.Logger.Error("handler panicked", slog.String("route", x.route), slog.String("stack", string(debug.Stack())))
			writeProblem(x.ctx, s.internal(fmt.Errorf("panic in %s: %v", x.route, cause)))
			x.unsafe = true
		}
	}()
	if err := s.begin(x); err != nil {
		writeProblem(x.ctx, s.problemOf(err))
		return
	}
	s.router(x.ctx)
}

func (s *Server) begin(x *exchange) error {
	var err error
	if x.framing, err = parseFraming(&x.ctx.Request.Header); err != nil {
		x.unsafe = true
		return err
	}
	if x.credential, err = s.credential(x); err != nil {
		return err
	}
	if methodLabel(x.ctx.Method()) == otherMethod {
		return refuse(notImplemented, "This server does not know the method.")
	}
	if expect := x.header("Expect"); expect != "" && expect != "100-continue" {
		return refuse(expectationFailed, "This server knows no expectation but 100-continue.")
	}
	return nil
}

// credential is what the header says, or the ticket of who can't set a header.
func (s *Server) credential(x *exchange) (string, error) {
	h, path := &x.ctx.Request.Header, string(x.ctx.URI().PathOriginal())
	if ticket := x.ctx.QueryArgs().Peek("ticket"); len(ticket) > 0 && path == socketPath && s.cfg.Keys != nil && len(h.Peek("Authorization")) == 0 {
		ctx, cancel := context.WithTimeout(s.base, lookupTimeout)
		defer cancel()
		return s.tickets.redeem(ctx, string(ticket))
	}
	return s.admit(h, path)
}

// closeAfter has the connection closed after the answer, with a FIN that the client can see and a bounded time to read
// the answer in. Without it the rest of an unread body would be run as the next request.
func (s *Server) closeAfter(ctx *fasthttp.RequestCtx) {
	ctx.SetConnectionClose()
	if c, ok := ctx.Conn().(*conn); ok {
		c.linger.Store(true)
	}
}

const otherMethod = "other"

// methodLabel bounds the method to the known ones, so that a client can't make metrics grow.
func methodLabel(method []byte) string {
	for _, known := range fiber.DefaultMethods {
		if string(method) == known {
			return known
		}
	}
	return otherMethod
}

// hasToken reports whether a comma-separated header value holds the token, in any case.
func hasToken(value []byte, token string) bool {
	for part := range strings.SplitSeq(string(value), ",") {
		if strings.EqualFold(strings.TrimSpace(part), token) {
			return true
		}
	}
	return false
}
