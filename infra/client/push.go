package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/fasthttp/websocket"
)

const (
	// pushSilence is after what time without a sign of the server, which sends a ping every 10 s, a WebSocket counts as dead.
	pushSilence = 30 * time.Second
	// pushGap is between two WebSockets when the first one broke while it was in use.
	pushGap = 200 * time.Millisecond
	// pushMessage bounds a message: none has a result in it.
	pushMessage = 64 << 10
)

// FollowQuery calls tell with every state of an execution that the server pushes, and returns when it has ended. A lost connection is
// made again for as long as retry allows. A *QueryError when the execution did not succeed.
func (c *Client) FollowQuery(ctx context.Context, id string, retry Retry, tell func(Execution)) (Execution, error) {
	for {
		f := &following{client: c, id: id, tell: tell}
		_, err := retry.do(ctx, func() error {
			err := f.once(ctx)
			if f.heard && Transient(err) { // it had begun well: what comes is another first try
				return nil
			}
			return err
		})
		switch {
		case ctx.Err() != nil:
			return f.last, context.Cause(ctx)
		case err != nil || f.ended:
			return f.last, err
		case !sleep(ctx, pushGap):
			return f.last, context.Cause(ctx)
		}
	}
}

// following is one execution, over one WebSocket at a time.
type following struct {
	client *Client
	id     string
	tell   func(Execution)
	last   Execution
	heard  bool // of a state
	ended  bool
}

// pushed is a message of the server, as far as it matters here.
type pushed struct {
	Type string
	Execution
	Title, Detail string
	Status        int
}

func (f *following) once(ctx context.Context) error {
	conn, err := f.client.dial(ctx)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // what ends the read below
	defer conn.Close()                                          //nolint:errcheck // nothing is on its way
	conn.SetReadLimit(pushMessage)
	alive := func() error { return conn.SetReadDeadline(time.Now().Add(pushSilence)) }
	pong := conn.PingHandler()
	conn.SetPingHandler(func(data string) error { return errors.Join(alive(), pong(data)) })
	request := map[string]string{"action": "subscribe", "executionId": f.id, "deliver": "url"}
	if err := errors.Join(alive(), conn.WriteJSON(request)); err != nil {
		return f.client.pushError(err)
	}
	for {
		_, text, err := conn.ReadMessage()
		if err == nil {
			err = alive()
		}
		if err != nil {
			return f.client.pushError(err)
		}
		var m pushed
		if err := json.Unmarshal(text, &m); err != nil {
			return fmt.Errorf("the server pushed what is not JSON: is this the URL of Penstock? %w", err)
		}
		if done, err := f.take(&m); done {
			return err
		}
	}
}

// take reports whether that was the last message.
func (f *following) take(m *pushed) (done bool, err error) {
	switch m.Type {
	case "state":
		f.last, f.heard = m.Execution, true
		f.tell(f.last)
		return false, nil
	case "result":
		f.ended = true
		return true, nil
	case "error":
		if f.heard && f.last.Ended() {
			f.last.Error = m.Detail
			return true, &QueryError{ExecutionID: f.id, State: f.last.State, Reason: clean(m.Detail)}
		}
		p := &Problem{Status: m.Status, Title: m.Title, Detail: m.Detail}
		p.clean()
		return true, p
	}
	return false, nil // of a newer server
}

// dial opens a WebSocket. An error is a *Problem, a *TransportError, or the context's.
func (c *Client) dial(ctx context.Context) (*websocket.Conn, error) {
	target := c.base.JoinPath("v1", "ws")
	target.Scheme = map[string]string{"http": "ws", "https": "wss"}[target.Scheme]
	header := http.Header{}
	if c.key != "" {
		header.Set("Authorization", "Bearer "+c.key)
	}
	if c.agent != "" {
		header.Set("User-Agent", c.agent)
	}
	dialer := websocket.Dialer{
		Proxy: http.ProxyFromEnvironment, NetDialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		HandshakeTimeout: c.idle, Subprotocols: []string{"penstock.v1"},
	}
	conn, res, err := dialer.DialContext(ctx, target.String(), header)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case res != nil:
		return nil, readProblem(res)
	}
	return nil, c.pushError(err)
}

func (c *Client) pushError(err error) error {
	return c.transportError(http.MethodGet, c.base.JoinPath("v1", "ws"), err)
}
