package aws

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"penstock/infra/aws/athenatest"
)

// logLines is a log that can be read and waited for while it is written.
type logLines struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func newLogLines() *logLines { return &logLines{wrote: make(chan struct{}, 1000)} }

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrote <- struct{}{}
	return l.text.Write(p)
}

// await returns the log once it has the part.
func (l *logLines) await(t *testing.T, part string) string {
	t.Helper()
	for {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, part) {
			return text
		}
		select {
		case <-l.wrote:
		case <-t.Context().Done():
			t.Fatalf("no %q in\n%s", part, text)
		}
	}
}

// listening is an engine that listens to a queue of its own until the test ends.
func listening(t *testing.T, server athenatest.Config) (athenaWorld, *athenatest.Queue, *logLines) {
	t.Helper()
	queue, log := athenatest.NewQueue(t), newLogLines()
	cfg := testAthenaConfig(t)
	cfg.EventsQueue, cfg.Logger = queue.URL, slog.New(slog.NewTextHandler(log, nil))
	server.Event = queue.Send
	w := newAthenaWorld(t, cfg, server)
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() { w.Listen(ctx) })
	t.Cleanup(func() {
		cancel()
		listening.Wait()
	})
	return w, queue, log
}

// Every change of a state is told at once, and its message deleted then.
func TestAthenaEvents(t *testing.T) {
	t.Parallel()
	w, queue, log := listening(t, athenatest.Config{})
	for _, malformed := range []string{"", "no JSON", `{"detail":{}}`, `{"detail":{"queryExecutionId":"x"}}`, `{"detail":7}`} {
		queue.Send([]byte(malformed))
	}
	e := startStatement(t, w.Athena, "SELECT 1")
	for n := range 3 { // queued, running, succeeded
		if id := <-w.Changed(); id != e.ID {
			t.Errorf("change %d is of %q, want %s", n, id, e.ID)
		}
	}
	log.await(t, "no events of Athena's were deleted")
	queue.AwaitEmpty(t)
}

// A queue that can't be read for a while is read again.
func TestAthenaEventsComeBack(t *testing.T) {
	t.Parallel()
	w, queue, log := listening(t, athenatest.Config{})
	queue.Break(true)
	told := log.await(t, "the queue of Athena's events can't be read")
	if !strings.Contains(told, "allow sqs:ReceiveMessage") || !strings.Contains(told, queue.URL) {
		t.Errorf("log:\n%s", told)
	}
	queue.Break(false)
	e := startStatement(t, w.Athena, "SELECT 1")
	if id := <-w.Changed(); id != e.ID {
		t.Errorf("told of %q, want %s", id, e.ID)
	}
}

// Without a queue there is nothing to listen to, and nothing is told.
func TestAthenaWithoutEvents(t *testing.T) {
	t.Parallel()
	a := NewAthena(Clients{}, testAthenaConfig(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Listen(ctx)
	select {
	case id := <-a.Changed():
		t.Errorf("told of %q", id)
	default:
	}
}
