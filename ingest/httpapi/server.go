package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"penstock/ingest"
)

// readBuffer is the most that request line and header fields may take up: 16 KiB of attributes, percent-encoding of
// some of them, and what clients and proxies add.
const readBuffer = 24 << 10

// abortTime is how long Shutdown waits for handlers whose context has ended and whose connection is closed.
const abortTime = 5 * time.Second

// Server is the HTTP front. Make one with New.
type Server struct {
	cfg      Config
	deps     Deps
	app      *fiber.App
	router   fasthttp.RequestHandler
	metrics  fasthttp.RequestHandler
	admin    *Admin
	console  map[string]asset // by file name
	decoders chan *decoder
	answers  *ingest.Budget
	tickets  *tickets

	// base ends when Shutdown stops waiting; every call into the cores descends from it.
	base   context.Context
	cancel context.CancelFunc
	// open ends when Shutdown begins: then WebSockets say goodbye, which no request under way waits for.
	open  context.Context
	leave context.CancelFunc

	ln       atomic.Pointer[listener]
	stopping atomic.Bool
}

// New makes a server that serves nothing yet. It starts no goroutine.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := errors.Join(cfg.Validate(), deps.validate()); err != nil {
		return nil, err
	}
	console, err := consoleAssets()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, deps: deps, console: console, decoders: newDecoders(), answers: ingest.NewBudget(cfg.AnswerBytes),
		tickets: newTickets(&cfg),
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.open, s.leave = context.WithCancel(s.base)
	s.metrics = fasthttpadaptor.NewFastHTTPHandler(deps.Metrics)
	s.app = fiber.New(fiber.Config{
		DisableStartupMessage:        true,
		CaseSensitive:                true,
		StrictRouting:                true,
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		// One byte: how much of a body fasthttp reads before it runs a handler. It limits nothing else when streaming;
		// readBody counts.
		BodyLimit:      1,
		Concurrency:    cfg.MaxConnections + 1, // the listener refuses sooner, and better
		ReadBufferSize: readBuffer,
		// Buffers are given back while a connection is idle, and every answer is flushed at once. Else the answer to one
		// request waits until the next is handled when that is pipelined behind it.
		ReduceMemoryUsage: true,
		ReadTimeout:       cfg.HeaderTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		ErrorHandler: func(c *fiber.Ctx, err error) error {
			writeProblem(c.Context(), s.problemOf(err))
			return nil
		},
	})
	s.routes()
	s.router = s.app.Handler()
	front := s.app.Server()
	front.Handler = s.serve
	front.ErrorHandler = s.onError
	front.HeaderReceived = s.onHeader
	front.ExpectHandler = s.onExpect
	front.CloseOnShutdown = true
	front.MaxIdleWorkerDuration = time.Second // also how long fasthttp's sweeper may outlive Shutdown
	s.admin = NewAdmin(cfg, deps.Dependencies, deps.Metrics, deps.Logger)
	return s, nil
}

// Serve accepts connections until Shutdown, and then returns nil. It may be called once.
func (s *Server) Serve(ln net.Listener) error {
	own := newListener(ln, s.cfg, s.deps.Logger)
	if !s.ln.CompareAndSwap(nil, own) {
		return errors.New("http: Serve was called before")
	}
	if s.stopping.Load() {
		return ln.Close()
	}
	if err := s.app.Server().Serve(own); err != nil {
		return fmt.Errorf("serve http on %s: %w", ln.Addr(), err)
	}
	return nil
}

// ServeAdmin serves /metrics, /healthz and /readyz alone, without a key, until Shutdown, and then returns nil.
func (s *Server) ServeAdmin(ln net.Listener) error {
	return s.admin.Serve(ln)
}

// Shutdown stops accepting, waits until the requests under way are answered, and closes what is left when ctx ends.
// When it returns without an error no handler runs any more. Shut the server down before ingest is drained.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	s.leave()
	defer s.cancel()
	err := s.admin.Shutdown(ctx)
	ln := s.ln.Load()
	if ln == nil {
		return err
	}
	// A connection on which nothing has come yet is not idle to fasthttp before it is 5 s old.
	ln.abort(func(c *conn) bool { return !c.used.Load() })
	if stopErr := s.app.Server().ShutdownWithContext(ctx); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("http: requests were still under way: %w", stopErr))
	}
	s.cancel()
	// fasthttp knows the listener only once its accept loop runs, which may not have begun yet.
	if closeErr := ln.Close(); closeErr != nil && !errors.Is(closeErr, net.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	goodbye, cancelGoodbye := context.WithTimeout(ctx, socketGoodbye)
	defer cancelGoodbye()
	_ = ln.wait(goodbye, isSocket) // whose goodbye is not taken by then goes without
	every := func(*conn) bool { return true }
	ln.abort(every)
	last, cancel := context.WithTimeout(context.Background(), abortTime)
	defer cancel()
	return errors.Join(err, ln.wait(last, every))
}

// Connections is the number of open connections, and of those refused because there were too many.
func (s *Server) Connections() (open int, refused uint64) {
	if ln := s.ln.Load(); ln != nil {
		return ln.open(), ln.rejected.Load()
	}
	return 0, 0
}

func (s *Server) routes() {
	if s.deps.Ingest != nil {
		s.handle(http.MethodPost, "/v1/events", s.postEvents)
	}
	if s.deps.Index != nil {
		s.handle(http.MethodGet, "/v1/events/:id", s.getEvent)
	}
	if s.deps.Eraser != nil {
		s.handle(http.MethodDelete, "/v1/events/:id", s.eraseEvent)
	}
	if s.deps.Queries != nil {
		s.handle(http.MethodPost, "/v1/queries", s.postQuery)
		s.handle(http.MethodGet, "/v1/queries", s.listQueries)
		s.handle(http.MethodGet, "/v1/queries/:id", s.getQuery)
		s.handle(http.MethodDelete, "/v1/queries/:id", s.cancelQuery)
		s.handle(http.MethodGet, "/v1/queries/:id/result", s.getResult)
		s.handle(http.MethodPost, "/v1/tickets", s.postTicket)
		s.handle(http.MethodGet, socketPath, s.getSocket(s.upgrader()))
	}
	if s.deps.Lake != nil {
		s.handle(http.MethodGet, "/v1/lake", s.getLake)
	}
	if s.deps.Stats != nil {
		s.handle(http.MethodGet, "/v1/stats", s.getStats)
	}
	if s.deps.Upkeep != nil {
		s.handle(http.MethodGet, "/v1/lake/:task", s.getUpkeep)
		s.handle(http.MethodPost, "/v1/lake/:task", s.startUpkeep)
	}
	if s.deps.DeadLetters != nil {
		s.handle(http.MethodGet, "/v1/dead-letters", s.listDeadLetters)
		s.handle(http.MethodGet, "/v1/dead-letters/:sink/:shard/:sequence/:sub", s.getDeadLetter)
	}
	if s.deps.Requeuer != nil {
		s.handle(http.MethodPost, "/v1/dead-letters/:sink/:shard/:sequence/:sub/requeue", s.requeueDeadLetter)
	}
	s.handle(http.MethodGet, "/healthz", s.getHealth)
	s.handle(http.MethodGet, "/readyz", s.getReady)
	s.handle(http.MethodGet, "/openapi.yaml", s.getOpenAPI)
	s.handle(http.MethodGet, "/", s.getIndex)
	s.handle(http.MethodGet, consolePath+":file", s.getConsole)
	if s.cfg.MetricsOnMain {
		s.handle(http.MethodGet, "/metrics", s.getMetrics)
	}
}

// handle registers a route; the exchange learns its pattern, which names it in the metrics.
func (s *Server) handle(method, pattern string, h func(*exchange) error) {
	run := func(c *fiber.Ctx) error {
		x := exchangeOf(c.Context())
		x.route, x.params = pattern, c
		return h(x)
	}
	s.app.Add(method, pattern, run)
	if method == http.MethodGet {
		s.app.Add(http.MethodHead, pattern, run)
	}
}
