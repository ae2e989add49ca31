package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
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
	// socketWatches is how many executions a client may watch at a time, until it was told of their end and has their results.
	socketWatches = 256
	// socketShare of all connections may be WebSockets: they stay for long, and events need connections too.
	socketShare = 4
	// socketBuffer is what the kernel keeps for a client, in bytes: more of it would only hide how slowly that reads, and pings wait behind it.
	socketBuffer = 128 << 10
)

// upgrader has a connection of a request become a WebSocket, which has the connection to itself from then on.
func (s *Server) upgrader() fiber.Handler {
	return websocket.New(s.serveSocket, websocket.Config{
		Subprotocols: []string{socketProtocol}, WriteBufferSize: 4 << 10, RecoverHandler: func(*websocket.Conn) { s.socketPanicked() },
	})
}

// getSocket refuses what is no request for a WebSocket, or comes from a page of another site: a browser sends a WebSocket's
// cookies and takes its answers whatever the origin (RFC 6455, section 10.2), and a page may have a ticket that was meant for ours.
func (s *Server) getSocket(upgrade fiber.Handler) func(*exchange) error {
	return func(x *exchange) error {
		if x.framing.hasBody() {
			return refuse(malformedRequest, "A request for a WebSocket has no body.")
		}
		if !websocket.IsWebSocketUpgrade(x.params) {
			x.ctx.Response.Header.Set("Upgrade", "websocket")
			return refuse(upgradeRequired, "Open this URL as a WebSocket, with the subprotocol "+socketProtocol+".")
		}
		if origin := x.header("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host != string(x.ctx.Request.Header.Host()) {
				return refuse(crossSite, "A WebSocket is opened by pages of this server alone.")
			}
		}
		c := s.socketFor(x)
		if c == nil {
			return refuse(overloaded, "Too many WebSockets are open. Try again shortly.")
		}
		if err := upgrade(x.params); err != nil {
			c.socket.Store(false)
			return refuse(malformedRequest, "The WebSocket's handshake is not as RFC 6455, section 4.2.1, wants it.")
		}
		return nil
	}
}

// socketFor marks the connection as one that a WebSocket gets; nil when there are too many.
func (s *Server) socketFor(x *exchange) *conn {
	c, ok := x.ctx.Conn().(*conn)
	if !ok || c.owner.count(isSocket) >= max(1, s.cfg.MaxConnections/socketShare) {
		return nil
	}
	c.socket.Store(true)
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(socketBuffer) // a larger one does no harm
	}
	return c
}

func isSocket(c *conn) bool { return c.socket.Load() }

// socket is one WebSocket. Its reader takes what the client asks for; its writer is the only one to send, so that whoever reads
// slowly holds up nobody else, and nothing is kept for it but its place in results on disk.
type socket struct {
	s       *Server
	c       *websocket.Conn
	watcher *query.Watcher
	replies chan socketError

	mu     sync.Mutex
	over   bool                     // the reader shall end
	wanted map[string]*subscription // by execution, until its end was told and its result is delivered
}

// subscription is one to an execution; another to the same takes its place.
type subscription struct{ delivery }

// delivery is how a client wants to have a result.
type delivery string

const (
	inline delivery = "inline"
	byURL  delivery = "url"
)

// serveSocket runs until the client or the server ends the connection, which whoever called closes.
func (s *Server) serveSocket(c *websocket.Conn) {
	k := &socket{s: s, c: c, watcher: s.deps.Queries.Watcher(), replies: make(chan socketError, socketReplies), wanted: map[string]*subscription{}}
	defer k.watcher.Close()
	c.SetReadLimit(socketMessage)
	c.SetPongHandler(func(string) error { return k.alive() })
	c.SetPingHandler(func(data string) error { // the library would drop the answer while the writer waits
		return errors.Join(k.alive(), c.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(s.cfg.WriteTimeout)))
	})
	ctx, stop := context.WithCancel(s.open)
	read := make(chan struct{})
	defer func() {
		stop()
		k.hangUp()
		<-read
	}()
	go func() {
		defer close(read)
		defer stop()
		defer s.socketPanicked()
		k.read(ctx)
	}()
	k.write(ctx)
}

// socketPanicked keeps a panic of one WebSocket from being that of all.
func (s *Server) socketPanicked() {
	if cause := recover(); cause != nil {
		s.deps.Logger.Error("WebSocket panicked", slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
	}
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
		k.unsubscribe(r.ExecutionID)
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
	own := &subscription{r.Deliver}
	before, err := k.want(r.ExecutionID, own) // before it may be told of
	if err == nil {
		err = k.watcher.Watch(ctx, r.ExecutionID)
	}
	if err == nil {
		return nil
	}
	k.putBack(r.ExecutionID, own, before)
	p := k.s.problemOf(err)
	return &socketError{ExecutionID: r.ExecutionID, Title: p.Title, Detail: p.Detail, Status: p.Status}
}

// want returns the subscription in whose place the new one comes, if there was any.
func (k *socket) want(id string, own *subscription) (before *subscription, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before = k.wanted[id]
	if before == nil && len(k.wanted) >= socketWatches {
		return nil, outOfBounds("the number of executions that a WebSocket watches", 1, socketWatches)
	}
	k.wanted[id] = own
	return before, nil
}

// putBack undoes want.
func (k *socket) putBack(id string, own, before *subscription) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wanted[id] != own {
		return
	}
	if delete(k.wanted, id); before != nil {
		k.wanted[id] = before
	}
}

// unsubscribe is the reader's.
func (k *socket) unsubscribe(id string) {
	k.mu.Lock()
	delete(k.wanted, id)
	k.mu.Unlock()
	k.watcher.Unwatch(id)
}

// forget ends a subscription whose end was told, unless another has taken its place.
func (k *socket) forget(id string, own *subscription) { k.putBack(id, own, nil) }

// wants returns the subscription to an execution, nil when there is none.
func (k *socket) wants(id string) *subscription {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wanted[id]
}
