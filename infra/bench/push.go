package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/fasthttp/websocket"
	"golang.org/x/sync/errgroup"
)

const (
	pushClients    = 1000
	pushExecutions = 50
	pushRows       = 1_000_000
	// pushIdle bounds the wait for a message.
	pushIdle = time.Minute
	// endless is a statement that keeps one of the server's runs until it is cancelled, in little memory.
	endless = "SELECT count(*) FROM range(1000000000000000) WHERE range % 7 = 8"
)

// pushed is a message of the server.
type pushed struct {
	Type, ExecutionID, State, Detail, Data string

	Ended time.Time
	Rows  int64
}

// socket is a client on a WebSocket.
type socket struct{ c *websocket.Conn }

func (p *process) socket(ctx context.Context) (*socket, error) {
	dialer := websocket.Dialer{Subprotocols: []string{"penstock.v1"}, HandshakeTimeout: pushIdle}
	c, _, err := dialer.DialContext(ctx, "ws://"+p.address+"/v1/ws", nil) //nolint:bodyclose // a WebSocket has none
	if err != nil {
		return nil, fmt.Errorf("open a WebSocket: %w", err)
	}
	return &socket{c}, nil
}

func (k *socket) subscribe(id string) error {
	return k.c.WriteJSON(map[string]string{"action": "subscribe", "executionId": id})
}

func (k *socket) next() (m pushed, err error) {
	if err := k.c.SetReadDeadline(time.Now().Add(pushIdle)); err != nil {
		return m, err
	}
	_, text, err := k.c.ReadMessage()
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err == nil && m.Type == "error" {
		err = errors.New(m.Detail)
	}
	return m, err
}

// end reads until the end of a result, and returns when its execution ended, its rows and its bytes.
func (k *socket) end() (ended time.Time, rows, bytes int64, err error) {
	for {
		m, err := k.next()
		if err != nil || m.Type == "end" {
			return ended, rows, bytes, err
		}
		switch m.Type {
		case "state":
			ended = m.Ended
		case "result":
			rows = m.Rows
		case "chunk":
			bytes += int64(len(m.Data))
		}
	}
}

// start submits a statement and returns its id.
func (p *process) start(ctx context.Context, sql string) (string, error) {
	body, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		return "", fmt.Errorf("encode a statement: %w", err)
	}
	var started struct{ ExecutionID string }
	text, err := p.ask(ctx, http.MethodPost, "/v1/queries", body, http.StatusAccepted)
	if err == nil {
		err = json.Unmarshal(text, &started)
	}
	if err != nil {
		return "", fmt.Errorf("post a statement: %w", err)
	}
	return started.ExecutionID, nil
}

// push is how long after its end a result is with those who wait for it, and what they take up.
func (b *bench) push(ctx context.Context) (_ []measure, err error) {
	server, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = server.end(err) }()
	if _, err := postOne(ctx, server.address, document(1, kilobyte)); err != nil {
		return nil, err
	}
	sockets := make([]*socket, pushClients)
	for i := range sockets {
		if sockets[i], err = server.socket(ctx); err != nil {
			return nil, err
		}
		defer sockets[i].c.Close() //nolint:errcheck // end of the row
	}
	blocked, err := server.block(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for i := range pushExecutions {
		id, err := server.start(ctx, fmt.Sprintf("SELECT %d AS i, count(*) AS n FROM events", i))
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	for i, k := range sockets {
		if err := k.subscribe(ids[i%len(ids)]); err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		if m, err := k.next(); err != nil || m.State != "QUEUED" {
			return nil, fmt.Errorf("%+v is not the state of an execution that waits: %w", m, errors.Join(err, io.EOF))
		}
	}
	delays := make([]time.Duration, len(sockets))
	var clients errgroup.Group
	for i, k := range sockets {
		clients.Go(func() error {
			ended, _, bytes, err := k.end()
			if err == nil && bytes == 0 {
				err = io.ErrUnexpectedEOF
			}
			delays[i] = time.Since(ended)
			return err
		})
	}
	for _, id := range blocked {
		if _, err := server.ask(ctx, http.MethodDelete, "/v1/queries/"+id, nil, http.StatusOK); err != nil {
			return nil, err
		}
	}
	if err := clients.Wait(); err != nil {
		return nil, fmt.Errorf("wait for results: %w", err)
	}
	peak, err := server.peakMemory()
	if err != nil {
		return nil, err
	}
	all, err := server.peakWithWorkers()
	if err != nil {
		return nil, err
	}
	slices.Sort(delays)
	told := sample{latencies: delays}
	in := func(q float64) float64 { return millis(q)(&told) }
	return []measure{
		bounded("from an execution's end to its result, p50", "ms", 100, in(0.5), nil),
		bounded("from an execution's end to its result, longest", "ms", 100, in(1), atMost(1)),
		bounded("peak of memory", "MiB", 300, peak, atMost(1)),
		bounded("peak of memory, with the worker for SQL", "MiB", 300, all, nil),
	}, nil
}

// block keeps all of the server's runs busy.
func (p *process) block(ctx context.Context) (ids []string, err error) {
	for {
		id, err := p.start(ctx, endless)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
		var e struct{ State string }
		text, err := p.ask(ctx, http.MethodGet, "/v1/queries/"+id+"?wait=1", nil, http.StatusOK)
		if err == nil {
			err = json.Unmarshal(text, &e)
		}
		if err != nil || e.State == "QUEUED" {
			return ids, err
		}
	}
}

// pushLarge is what a large result takes up while it is made and sent.
func (b *bench) pushLarge(ctx context.Context) (_ []measure, err error) {
	server, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = server.end(err) }()
	if _, err := postOne(ctx, server.address, document(1, kilobyte)); err != nil {
		return nil, err
	}
	if _, err := server.query(ctx, "SELECT count(*) FROM events"); err != nil { // what any query takes up
		return nil, err
	}
	before, err := server.peakWithWorkers()
	if err != nil {
		return nil, err
	}
	k, err := server.socket(ctx)
	if err != nil {
		return nil, err
	}
	defer k.c.Close() //nolint:errcheck // end of the row
	id, err := server.start(ctx, "SELECT a.range AS n, b.range AS m, 'a text of some length' AS text FROM range(1000) a, range(1000) b")
	if err != nil {
		return nil, err
	}
	if err := k.subscribe(id); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	ended, rows, bytes, err := k.end()
	if err == nil && rows != pushRows {
		err = fmt.Errorf("the result has %d rows", rows)
	}
	if err != nil {
		return nil, err
	}
	took := time.Since(ended)
	peak, err := server.peakWithWorkers()
	if err != nil {
		return nil, err
	}
	return []measure{
		bounded("growth of the peak of memory", "MiB", 100, peak-before, atMost(1)),
		bounded("sent, after its end", "MB/s", 1, float64(bytes)/1e6/took.Seconds(), nil),
	}, nil
}
