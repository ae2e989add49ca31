package athenatest

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Queue is one SQS queue: it gives each message to one who asks, until it is deleted or its time is over. Its methods are safe for
// concurrent use.
type Queue struct {
	// URL is both the endpoint and the queue's.
	URL string

	mu       sync.Mutex
	waiting  []message
	given    map[string]message // by receipt
	receipts int
	changed  chan struct{} // closed and replaced when something is sent or deleted
	broken   bool
}

type message struct{ body string }

// NewQueue starts one that goes with the test.
func NewQueue(t testing.TB) *Queue {
	t.Helper()
	q := &Queue{given: map[string]message{}, changed: make(chan struct{})}
	server := httptest.NewServer(q)
	q.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections() // they may be waiting for a message
		server.Close()
	})
	return q
}

// Send puts a message into the queue.
func (q *Queue) Send(body []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, message{string(body)})
	q.wake()
}

// Break has every request fail from now on, or no more.
func (q *Queue) Break(broken bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.broken = broken
	q.wake()
}

// Left is how many messages were not deleted.
func (q *Queue) Left() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) + len(q.given)
}

// AwaitEmpty returns when every message was deleted.
func (q *Queue) AwaitEmpty(t testing.TB) {
	t.Helper()
	for {
		q.mu.Lock()
		left, changed := len(q.waiting)+len(q.given), q.changed
		q.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("%d messages are left", left)
		}
	}
}

// wake wakes those who wait. q.mu is held.
func (q *Queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// ServeHTTP implements http.Handler.
func (q *Queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		MaxNumberOfMessages, WaitTimeSeconds int
		Entries                              []struct{ Id, ReceiptHandle string }
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer any
	var ok bool
	switch _, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); operation {
	case "ReceiveMessage":
		answer, ok = q.receive(r, in.MaxNumberOfMessages, time.Duration(in.WaitTimeSeconds)*time.Second)
	case "DeleteMessageBatch":
		answer, ok = q.remove(in.Entries)
	}
	if !ok {
		w.WriteHeader(http.StatusForbidden)
		answer = map[string]string{"__type": "com.amazonaws.sqs#AccessDeniedException", "message": "no"}
	}
	_ = json.NewEncoder(w).Encode(answer) // the client sees what is missing
}

func (q *Queue) receive(r *http.Request, most int, patience time.Duration) (any, bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		q.mu.Lock()
		if q.broken {
			q.mu.Unlock()
			return nil, false
		}
		messages := []any{}
		for len(q.waiting) > 0 && len(messages) < max(most, 1) {
			m := q.waiting[0]
			q.waiting = q.waiting[1:]
			q.receipts++
			receipt := strconv.Itoa(q.receipts)
			q.given[receipt] = m
			sum := md5.Sum([]byte(m.body)) // which the client checks
			messages = append(messages, map[string]any{
				"MessageId": receipt, "ReceiptHandle": receipt, "Body": m.body, "MD5OfBody": hex.EncodeToString(sum[:]),
			})
		}
		changed := q.changed
		q.mu.Unlock()
		if len(messages) > 0 {
			return map[string]any{"Messages": messages}, true
		}
		select {
		case <-changed:
		case <-timer.C:
			return map[string]any{}, true
		case <-r.Context().Done():
			return map[string]any{}, true
		}
	}
}

func (q *Queue) remove(entries []struct{ Id, ReceiptHandle string }) (any, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	done, failed := []any{}, []any{}
	for _, e := range entries {
		if _, known := q.given[e.ReceiptHandle]; !known {
			failed = append(failed, map[string]any{"Id": e.Id, "Code": "ReceiptHandleIsInvalid", "SenderFault": true})
			continue
		}
		delete(q.given, e.ReceiptHandle)
		done = append(done, map[string]any{"Id": e.Id})
	}
	q.wake()
	return map[string]any{"Successful": done, "Failed": failed}, !q.broken
}
