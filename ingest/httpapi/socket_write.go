package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gofiber/contrib/websocket"

	"penstock/consumer/query"
)

const (
	// chunkBytes is the most that a chunk has of a result.
	chunkBytes = 32 << 10
	// openResults is how many results a WebSocket gets at a time, a chunk of each in turn; others wait until one has ended.
	openResults = 2
	// slowShare of Config.WriteTimeout is how long a chunk may wait for its client. Who reads as slowly as that is told to fetch results.
	slowShare = 3
)

// socketState is told whenever an execution has changed.
type socketState struct {
	Type            string           `json:"type"`
	ExecutionID     string           `json:"executionId"`
	State           string           `json:"state"`
	Submitted       string           `json:"submitted"`
	Started         string           `json:"started,omitempty"`
	Ended           string           `json:"ended,omitempty"`
	Statistics      *queryStatistics `json:"statistics,omitempty"`
	CompleteThrough string           `json:"completeThrough,omitempty"`
}

// socketResult is told of a result, before its chunks if it comes inline.
type socketResult struct {
	Type        string `json:"type"`
	ExecutionID string `json:"executionId"`
	ContentType string `json:"contentType"`
	Bytes       int64  `json:"bytes"`
	Rows        *int64 `json:"rows,omitempty"`
	URL         string `json:"url"`
}

// socketChunk is the next piece of a result, cut between characters.
type socketChunk struct {
	Type        string `json:"type"`
	ExecutionID string `json:"executionId"`
	Seq         int64  `json:"seq"`
	Data        string `json:"data"`
}

// socketEnd ends a result that came inline.
type socketEnd struct {
	Type        string `json:"type"`
	ExecutionID string `json:"executionId"`
	SHA256      string `json:"sha256"`
}

// socketError: an execution did not succeed, or a message of the client had no effect.
type socketError struct {
	Type        string `json:"type"`
	ExecutionID string `json:"executionId,omitempty"`
	Title       string `json:"title"`
	Detail      string `json:"detail"`
	Status      int    `json:"status,omitempty"`
}

// result is one on its way.
type result struct {
	id   string // of its execution
	own  *subscription
	file io.ReadCloser // nil until its turn comes
	seq  int64
	sum  hash.Hash
	rest []byte // read, and not sent: the beginning of a character
}

// writer is what write remembers between two messages.
type writer struct {
	*socket
	buffer  bytes.Buffer
	results []*result
	next    int // of those that are open, whose turn it is
}

// write sends whatever is new until the connection or ctx ends. Between two chunks of a result comes everything else.
func (k *socket) write(ctx context.Context) {
	w := &writer{socket: k}
	defer w.closeResults()
	ping := time.NewTicker(socketPing)
	defer ping.Stop()
	err := w.all(ctx, ping.C)
	switch {
	case err != nil && ctx.Err() == nil:
		k.s.deps.Logger.Info("a WebSocket was given up", slog.Any("error", err)) // the client reads nothing, or is gone
	case k.s.open.Err() != nil:
		goodbye := websocket.FormatCloseMessage(websocket.CloseGoingAway, "the server is shutting down; connect again")
		_ = k.c.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(socketGoodbye)) // the connection ends in any case
	}
}

func (w *writer) all(ctx context.Context, ping <-chan time.Time) error {
	for {
		if err := w.news(); err != nil {
			return err
		}
		more := make(chan struct{})
		if len(w.results) > 0 {
			close(more)
		}
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ping:
			err = w.c.WriteControl(websocket.PingMessage, nil, time.Now().Add(w.s.cfg.WriteTimeout))
		case reply := <-w.replies:
			reply.Type = "error"
			err = w.send(reply)
		case <-w.watcher.Ready():
		case <-more:
			err = w.chunk(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// news tells of all that have changed.
func (w *writer) news() error {
	for {
		e, ok := w.watcher.Take()
		if !ok {
			return nil
		}
		if own := w.wants(e.ID); own != nil {
			if err := w.tell(&e, own); err != nil {
				return err
			}
		}
	}
}

func (w *writer) tell(e *query.Execution, own *subscription) error {
	state := stateOf(*e)
	err := w.send(socketState{
		Type: "state", ExecutionID: e.ID, State: state.State, Submitted: state.Submitted, Started: state.Started, Ended: state.Ended,
		Statistics: state.Statistics, CompleteThrough: state.CompleteThrough,
	})
	switch {
	case err != nil || !e.State.Finished():
		return err
	case e.State != query.Succeeded:
		w.forget(e.ID, own)
		title := "The query failed"
		if e.State == query.Cancelled {
			title = "The query was cancelled"
		}
		return w.send(socketError{Type: "error", ExecutionID: e.ID, Title: title, Detail: e.Error})
	}
	w.drop(e.ID) // one that subscribes again gets it again, from its beginning
	if err := w.send(socketResult{
		Type: "result", ExecutionID: e.ID, ContentType: "text/csv", Bytes: e.ResultBytes, Rows: rowsOf(*e), URL: state.ResultHref,
	}); err != nil {
		return err
	}
	if own.delivery == byURL {
		w.forget(e.ID, own)
		return nil
	}
	w.results = append(w.results, &result{id: e.ID, own: own, sum: sha256.New(), rest: make([]byte, 0, utf8.UTFMax)})
	return nil
}

// chunk sends the next piece of the result whose turn it is.
func (w *writer) chunk(ctx context.Context) error {
	w.next %= min(len(w.results), openResults)
	r := w.results[w.next]
	if w.wants(r.id) != r.own {
		w.drop(r.id)
		return nil
	}
	data, err := w.read(ctx, r)
	if err != nil && !errors.Is(err, io.EOF) {
		return w.failed(r, err)
	}
	if len(data) > 0 {
		began := time.Now()
		if err := w.send(socketChunk{Type: "chunk", ExecutionID: r.id, Seq: r.seq, Data: string(data)}); err != nil {
			return err
		}
		if time.Since(began) > w.s.cfg.WriteTimeout/slowShare {
			return w.failed(r, refuse(slowReader, "The connection is too slow for the result; GET "+queryHref(r.id)+"/result instead."))
		}
		r.seq++
		w.next++
	}
	if err == nil {
		return nil
	}
	w.drop(r.id)
	w.forget(r.id, r.own)
	return w.send(socketEnd{Type: "end", ExecutionID: r.id, SHA256: hex.EncodeToString(r.sum.Sum(nil))})
}

// read gives up to chunkBytes of a result, whole characters only; with its last piece io.EOF.
func (w *writer) read(ctx context.Context, r *result) ([]byte, error) {
	if r.file == nil {
		var err error
		if r.file, _, err = w.s.deps.Queries.Open(ctx, r.id); err != nil {
			return nil, err
		}
	}
	data := append(make([]byte, 0, chunkBytes), r.rest...)
	n, err := io.ReadFull(r.file, data[len(data):chunkBytes])
	r.sum.Write(data[len(data) : len(data)+n])
	data = data[:len(data)+n]
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return data, io.EOF
	case err != nil:
		return nil, fmt.Errorf("reading the result of query %s: %w", r.id, err)
	}
	whole := wholeCharacters(data)
	r.rest = append(r.rest[:0], data[whole:]...)
	return data[:whole], nil
}

// wholeCharacters is the length without a character of which only the beginning is there.
func wholeCharacters(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return len(b) - i
			}
			break
		}
	}
	return len(b)
}

// failed tells that a result can't be delivered.
func (w *writer) failed(r *result, err error) error {
	w.drop(r.id)
	w.forget(r.id, r.own)
	p := w.s.problemOf(err)
	return w.send(socketError{Type: "error", ExecutionID: r.id, Title: p.Title, Detail: p.Detail, Status: p.Status})
}

// drop ends the delivery of a result.
func (w *writer) drop(id string) {
	w.results = slices.DeleteFunc(w.results, func(r *result) bool {
		if r.id != id {
			return false
		}
		r.close(w.s)
		return true
	})
}

func (w *writer) closeResults() {
	for _, r := range w.results {
		r.close(w.s)
	}
}

func (r *result) close(s *Server) {
	if r.file == nil {
		return
	}
	if err := r.file.Close(); err != nil { // it was only read
		s.deps.Logger.Warn("closing a result failed", slog.String("execution", r.id), slog.Any("error", err))
	}
}

// send waits for a client that reads slowly until conn's write deadline, by which it is cut off. One that takes a message is there,
// though its pongs may wait behind what it has not read.
func (w *writer) send(message any) error {
	w.buffer.Reset()
	encoder := json.NewEncoder(&w.buffer)
	encoder.SetEscapeHTML(false) // it would make chunks of markup six times as long
	if err := encoder.Encode(message); err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	return errors.Join(w.c.WriteMessage(websocket.TextMessage, bytes.TrimRight(w.buffer.Bytes(), "\n")), w.alive())
}
