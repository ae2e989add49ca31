package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// answerLimit is how long a client waits for an answer; Penstock promises one in 2 s (invariant 4), which kinesis-mock on a busy
// machine may well take.
const answerLimit = 5 * time.Second

// client posts documents and notes what it is told.
type client struct {
	http *http.Client
	book *book
	// front gives the address of a front end, http://HOST:PORT; empty when none is up.
	front func() string
}

func newClient(b *book, front func() string) *client {
	return &client{&http.Client{Timeout: answerLimit, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, b, front}
}

// request of one or several documents.
type request struct {
	documents []document
	batch     bool   // as NDJSON
	partition string // partition key; empty for none
	kind      string // event type; empty for the default
	key       string // Idempotency-Key; empty for none
	again     bool   // it was sent before
}

// ack is the answer's body to one document, and an item of that to a batch.
type ack struct {
	Status int
	ID     string
}

// post sends it once. done says that every document is acked, or never will be: another try would be of no use.
func (c *client) post(ctx context.Context, r request) (done bool) {
	front := c.front()
	if front == "" {
		return false
	}
	for _, d := range r.documents {
		c.book.send(d)
	}
	status, header, body, err := c.send(ctx, front, r)
	c.book.count(func(n *counts) {
		n.Requests++
		if r.again {
			n.Repeated++
		}
		switch {
		case err != nil:
			n.Unanswered++
		case status >= http.StatusBadRequest:
			n.Refused[status]++
		case header.Get("Idempotency-Replayed") != "":
			n.Replayed++
		}
	})
	if err != nil {
		return false
	}
	acks, err := acksOf(r, status, body)
	if err != nil {
		return false
	}
	done = true
	for i, a := range acks {
		if a.Status == http.StatusAccepted {
			c.book.ack(r.documents[i].Marker, a.ID)
		} else {
			done = false
		}
	}
	return done
}

func (c *client) send(ctx context.Context, front string, r request) (int, http.Header, []byte, error) {
	media, body := "application/json", r.documents[0].Body
	if r.batch {
		media, body = "application/x-ndjson", nil
		for _, d := range r.documents {
			body = append(append(body, d.Body...), '\n')
		}
	}
	query := url.Values{}
	if r.partition != "" {
		query.Set("partitionkey", r.partition)
	}
	if r.kind != "" {
		query.Set("type", r.kind)
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, front+"/v1/events?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("post: %w", err)
	}
	out.Header.Set("Content-Type", media)
	if r.key != "" {
		out.Header.Set("Idempotency-Key", r.key)
	}
	in, err := c.http.Do(out)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("post: %w", err)
	}
	defer in.Body.Close() //nolint:errcheck // it was read to its end, or the error is told
	body, err = io.ReadAll(in.Body)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("read the answer to a post: %w", err)
	}
	return in.StatusCode, in.Header, body, nil
}

// acksOf tells what an answer says of each document.
func acksOf(r request, status int, body []byte) ([]ack, error) {
	acks := make([]ack, len(r.documents))
	switch {
	case r.batch:
		var told struct{ Items []ack }
		if err := json.Unmarshal(body, &told); err != nil || len(told.Items) == 0 {
			return acks, err // refused as a whole
		}
		if len(told.Items) != len(acks) {
			return nil, fmt.Errorf("%d answers for %d documents", len(told.Items), len(acks))
		}
		return told.Items, nil
	case status == http.StatusAccepted:
		if err := json.Unmarshal(body, &acks[0]); err != nil {
			return nil, fmt.Errorf("answer: %w", err)
		}
		acks[0].Status = status
	default:
		acks[0].Status = status
	}
	return acks, nil
}

// get fetches an event's data. A status other than 200 comes without.
func (c *client) get(ctx context.Context, front, id string) (status int, body []byte, err error) {
	out, err := http.NewRequestWithContext(ctx, http.MethodGet, front+"/v1/events/"+url.PathEscape(id), http.NoBody)
	if err != nil {
		return 0, nil, fmt.Errorf("get %s: %w", id, err)
	}
	in, err := c.http.Do(out)
	if err != nil {
		return 0, nil, fmt.Errorf("get %s: %w", id, err)
	}
	defer in.Body.Close() //nolint:errcheck // it was read to its end, or the error is told
	body, err = io.ReadAll(in.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("get %s: %w", id, err)
	}
	return in.StatusCode, body, nil
}
