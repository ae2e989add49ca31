package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"

	"penstock/consumer/query"
)

const (
	socketPath     = "/v1/ws"
	socketProtocol = "penstock.v1"
	// socketMessage is the longest message of a client.
	socketMessage = 4 << 10
	// socketReplies are answers to a client's messages that may wait for it to read; then no more of its messages are read.
	socketReplies = 16
	// socketPing is how often a client must show that it is there, and socketSilence after what time without a sign of it the
	// connection is closed: a dead one is noticed within 30 s.
	socketPing    = 10 * time.Second
	socketSilence = 25 * time.Second
	// socketGoodbye bounds the last message.
	socketGoodbye = time.Second
)

// upgrader has a connection of a request become a WebSocket, which has the connection to itself from then on.
func (s *Server) upgrader() fiber.Handler {
	return websocket.New(s.serveSocket, websocket.Config{
		Subprotocols: []string{socketProtocol}, WriteBufferSize: 4 << 10, RecoverHandler: func(*websocket.Conn) {
			if cause := recover(); cause != nil {
				s.deps.Logger.Error("WebSocket panicked", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			}
		},
	})
}

// getSocket refuses what is no request for a WebSocket, or comes from a page of another site: a browser sends a WebSocket's
// cookies and takes its answers whatever the origin (RFC 6455, section 10.2), and a page may have a ticket that was meant for ours.
func (s *Server) getSocket(upgrade fiber.Handler) func(*exchange) error {
	return func(x *exchange) error {
		if !websocket.IsWebSocketUpgrade(x.params) {
			x.ctx.Response.Header.Set("Upgrade", "websocket")
			return refuse(upgradeRequired, "Open this URL as a WebSocket, with the subprotocol "+socketProtocol+".")
		}
		if origin := x.header("Origin"); origin != "" && s.cfg.Keys != nil {
			if u, err := url.Parse(origin); err != nil || u.Host != string(x.ctx.Request.Header.Host()) {
				return refuse(crossSite, "A WebSocket is opened by pages of this server alone.")
			}
		}
		if err := upgrade(x.params); err != nil {
			return refuse(malformedRequest, "The WebSocket's handshake is not as RFC 6455, section 4.2.1, wants it.")
		}
		return nil
	}
}

// socket is one WebSocket. Its reader takes what the client asks for; its writer is the only one to send, so that whoever reads
// slowly holds up nobody else, and nothing is kept for it but its place in results on disk.
type socket struct {
	s       *Server
	c       *websocket.Conn
	watcher *query.Watcher
	replies chan socketError

	mu     sync.Mutex
	over   bool                // the reader shall end
	wanted map[string]delivery // executions that the client has subscribed to, until their end was told
}

// delivery is how a client wants to have a result.
type delivery string

const (
	inline delivery = "inline"
	byURL  delivery = "url"
)

// serveSocket runs until the client or the server ends the connection, which whoever called closes.
func (s *Server) serveSocket(c *websocket.Conn) {
	k := &socket{s: s, c: c, watcher: s.deps.Queries.Watcher(), replies: make(chan socketError, socketReplies), wanted: map[string]delivery{}}
	defer k.watcher.Close()
	c.SetReadLimit(socketMessage)
	c.SetPongHandler(func(string) error { return k.alive() })
	ctx, stop := context.WithCancel(s.open)
	defer stop()
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer stop()
		k.read(ctx)
	}()
	k.write(ctx)
	stop()
	k.hangUp()
	<-read
}

// errOver ends a reader.
var errOver = errors.New("the WebSocket is given up")

// alive gives the client more time.
func (k *socket) alive() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over {
		return errOver
	}
	return k.c.SetReadDeadline(time.Now().Add(socketSilence))
}

// hangUp ends the reader. The connection can't be closed before whoever called serveSocket does: fasthttp keeps it open until then.
func (k *socket) hangUp() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	_ = k.c.SetReadDeadline(time.Unix(1, 0)) // it fails on a connection that is closed
}

// read takes messages until the connection ends, by either side.
func (k *socket) read(ctx context.Context) {
	for k.alive() == nil {
		kind, message, err := k.c.ReadMessage()
		if err != nil {
			return // closed, dead, or a message that is too long: the library has told the client
		}
		if err := k.take(ctx, kind, message); err != nil {
			select {
			case k.replies <- *err:
			case <-ctx.Done():
				return
			}
		}
	}
}

// socketRequest is a message of a client.
type socketRequest struct {
	Action      string   `json:"action"`
	ExecutionID string   `json:"executionId"`
	Deliver     delivery `json:"deliver"`
}

// take does what a message asks for.
func (k *socket) take(ctx context.Context, kind int, message []byte) *socketError {
	var r socketRequest
	if kind != websocket.TextMessage || json.Unmarshal(message, &r) != nil || r.ExecutionID == "" {
		return &socketError{Title: "The message is not understood", Detail: `Send text such as {"action":"subscribe","executionId":"…"}.`}
	}
	switch {
	case r.Action == "unsubscribe":
		k.forget(r.ExecutionID)
		k.watcher.Unwatch(r.ExecutionID)
		return nil
	case r.Action != "subscribe":
		return &socketError{ExecutionID: r.ExecutionID, Title: "The action is not known", Detail: "There are subscribe and unsubscribe."}
	case r.Deliver == "":
		r.Deliver = inline
	case r.Deliver != inline && r.Deliver != byURL:
		return &socketError{ExecutionID: r.ExecutionID, Title: "The delivery is not known", Detail: "There are inline and url."}
	}
	return k.subscribe(ctx, r)
}

func (k *socket) subscribe(ctx context.Context, r socketRequest) *socketError {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	k.want(r.ExecutionID, r.Deliver) // before it may be told of
	err := k.watcher.Watch(ctx, r.ExecutionID)
	if err == nil {
		return nil
	}
	k.forget(r.ExecutionID)
	p := k.s.problemOf(err)
	return &socketError{ExecutionID: r.ExecutionID, Title: p.Title, Detail: p.Detail}
}

func (k *socket) want(id string, d delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted[id] = d
}

func (k *socket) forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.wanted, id)
}

func (k *socket) wants(id string) (delivery, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, ok := k.wanted[id]
	return d, ok
}
