package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"penstock/schemas"
)

// Media types of POST /v1/events that this package sends.
const (
	mediaJSON   = "application/json"
	mediaNDJSON = "application/x-ndjson"
)

// maxAck bounds the answer to a POST: about 120 bytes an item, and up to a whole problem each.
const maxAck = 64 << 20

// Attributes are CloudEvents attributes for every event of a request; empty means not sent.
type Attributes struct {
	Type, Source, Subject, PartitionKey string
}

func (a Attributes) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"type": a.Type, "source": a.Source, "subject": a.Subject, "partitionkey": a.PartitionKey,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// Submission is one POST of events. Its bytes must not change until Deliver has returned.
type Submission struct {
	Attributes Attributes
	// Body is one JSON document, or with Lines > 0 that many lines of NDJSON, none of them blank.
	Body  []byte
	Lines int
	// Gzipped says that Body is compressed; it is sent as it is.
	Gzipped bool
}

// events is the number of events of the submission.
func (s *Submission) events() int { return max(1, s.Lines) }

// Receipt is the fate of one event: durable under ID, or not, with the reason.
type Receipt struct {
	ID  string
	Err error
	// Unsure: the event may be stored in spite of Err, now or later.
	Unsure bool
}

// Delivery is the fate of a submission. It is complete: a receipt per event, in order.
type Delivery struct {
	Receipts []Receipt
	// Tries is the number of requests that were made.
	Tries int
	// Elapsed is the time from the beginning of the first request to the last answer.
	Elapsed time.Duration
	// Err is why trying ended with events that are not known to be durable though they may well be acceptable, or why
	// the whole request was refused; nil when there is a verdict on every event.
	Err error
}

// Deliver posts the events and tries again for as long as retry allows while any of them may still be accepted. All tries
// bear the same Idempotency-Key and bytes, so the server answers for what it already has with the first ids. ctx ends
// waiting between the tries; a try under way is ended by hard.
func (c *Client) Deliver(ctx, hard context.Context, s Submission, retry Retry) Delivery {
	d := Delivery{Receipts: make([]Receipt, s.events())}
	key := rand.Text()
	start := time.Now()
	unsure := false // of all tries: what one of them left open, a refusal of the next does not settle
	d.Tries, d.Err = retry.do(ctx, func() error {
		receipts, err := c.post(hard, &s, key)
		if err != nil {
			unsure = unsure || ambiguous(err)
			return err
		}
		return d.merge(receipts)
	})
	d.Elapsed = time.Since(start)
	var partial *undecidedError
	if errors.As(d.Err, &partial) {
		d.Err = partial.Err
	}
	for i := range d.Receipts {
		r := &d.Receipts[i]
		if d.Err == nil || r.ID != "" || (r.Err != nil && !Transient(r.Err)) {
			continue // there is a verdict
		}
		if partial == nil {
			r.Err = d.Err
		}
		r.Unsure = unsure || ambiguous(r.Err)
	}
	return d
}

// ambiguous reports whether a try that ended so may have stored events. A refusal that says "nothing was stored" has not.
func ambiguous(err error) bool {
	var transport *TransportError
	if errors.As(err, &transport) {
		return !transport.Unreached()
	}
	var problem *Problem
	if !errors.As(err, &problem) {
		return true // an answer that is not Penstock's, or none
	}
	switch problem.Kind() {
	case "overloaded", "not-durable", "storage-full", "draining":
		return false
	}
	return problem.Transient() && problem.Status != http.StatusTooManyRequests
}

// merge takes the receipts of one try over. An id stays once it is there: that event is durable. The error is transient
// when another try may get more.
func (d *Delivery) merge(receipts []Receipt) error {
	var undecided error
	for i, r := range receipts {
		if d.Receipts[i].ID != "" {
			continue
		}
		d.Receipts[i] = r
		if undecided == nil && Transient(r.Err) {
			undecided = r.Err
		}
	}
	if undecided != nil {
		return &undecidedError{undecided}
	}
	return nil
}

// undecidedError: the server answered, but some events of the batch are worth another try.
type undecidedError struct{ Err error }

func (e *undecidedError) Error() string { return e.Err.Error() }
func (e *undecidedError) Unwrap() error { return e.Err }

// post makes one request. An error is about all of its events.
func (c *Client) post(ctx context.Context, s *Submission, key string) ([]Receipt, error) {
	header := http.Header{"Idempotency-Key": {key}, "Content-Type": {mediaJSON}, "Accept": {mediaJSON}}
	if s.Lines > 0 {
		header.Set("Content-Type", mediaNDJSON)
	}
	if s.Gzipped {
		header.Set("Content-Encoding", "gzip")
	}
	res, err := c.do(ctx, request{
		method: http.MethodPost, path: []string{"v1", "events"}, query: s.Attributes.query(), header: header, body: s.Body,
	})
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAck))
	if err = errors.Join(err, res.Body.Close()); err != nil {
		// The answer broke off: as good as none.
		return nil, &TransportError{Method: http.MethodPost, URL: c.URL(), Path: "/v1/events", Err: err}
	}
	if s.Lines > 0 {
		if receipts, ok := batchReceipts(body); ok {
			return checkReceipts(receipts, s)
		}
	}
	if res.StatusCode != http.StatusAccepted {
		return nil, problemOf(res, body)
	}
	var ack struct{ ID string }
	if err := json.Unmarshal(body, &ack); err != nil {
		return nil, fmt.Errorf("%s answered 202 with something that is not Penstock's: %w", c.URL(), err)
	}
	return checkReceipts([]Receipt{{ID: ack.ID}}, s)
}

// batchReceipts reads the answer to a batch, whatever its status; false when it is something else.
func batchReceipts(body []byte) ([]Receipt, bool) {
	var batch struct {
		Items []struct {
			Status  int
			ID      string
			Problem *Problem
		}
	}
	if err := json.Unmarshal(body, &batch); err != nil || batch.Items == nil {
		return nil, false
	}
	receipts := make([]Receipt, len(batch.Items))
	for i, item := range batch.Items {
		if item.Status == http.StatusAccepted {
			receipts[i].ID = item.ID
			continue
		}
		problem := item.Problem
		if problem == nil {
			problem = &Problem{Title: http.StatusText(item.Status)}
		}
		problem.Status = item.Status
		problem.clean()
		receipts[i].Err = problem
	}
	return receipts, true
}

// checkReceipts holds the answer against the request: an id is what proves an ack.
func checkReceipts(receipts []Receipt, s *Submission) ([]Receipt, error) {
	if len(receipts) != s.events() {
		return nil, fmt.Errorf("the server answered for %d events of %d: is this the URL of Penstock?", len(receipts), s.events())
	}
	for _, r := range receipts {
		if r.Err == nil && !isID(r.ID) {
			return nil, errors.New("the server answered 202 without an event id: is this the URL of Penstock?")
		}
	}
	return receipts, nil
}

// isID reports whether s looks like an event id (schemas.NewID): 27 characters of base 62.
func isID(s string) bool {
	_, err := schemas.IDTime(s)
	return err == nil
}
