package aws

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

// indexOf is an Index that holds these events.
type indexOf struct {
	consumer.Index
	ids []string
}

func (x *indexOf) Get(_ context.Context, id string) (schemas.Event, error) {
	if slices.Contains(x.ids, id) {
		return schemas.Event{ID: id}, nil
	}
	return schemas.Event{}, consumer.ErrNotFound
}

// TestTriesConform: an event that is put again with its key minutes after its receipt is on its way once more. Nobody else may
// put it then, until the index is past that try too.
func TestTriesConform(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint)
	received := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now, through := received, received
	index := &indexOf{}
	l := NewLedger(c, newTables(t, c), index, func(context.Context) (time.Time, error) { return through, nil })
	l.now = func(context.Context) (time.Time, error) { return now, nil }
	claim, stranger := schemas.NewID(received), schemas.NewID(received.Add(-time.Second))
	id, other := schemas.DeriveID(claim, 0), schemas.DeriveID(claim, 1) // of a batch
	look := func(what, id string, want error) {
		t.Helper()
		if got, err := l.Stored(t.Context(), []string{id}); !errors.Is(err, want) || want == nil && got[0] != slices.Contains(index.ids, id) {
			t.Errorf("whoever only asks, %s: %v, %v; want %v", what, got, err, want)
		}
	}
	ask := func(what string, want error) {
		t.Helper()
		got, err := l.Retry(t.Context(), claim, []string{id, other})
		if !errors.Is(err, want) || want == nil && !slices.Equal(got, []bool{slices.Contains(index.ids, id), slices.Contains(index.ids, other)}) {
			t.Errorf("%s: %v, %v; want %v", what, got, err, want)
		}
	}
	at := func(d time.Duration) { now, through = received.Add(d+5*time.Second), received.Add(d) }

	at(6 * time.Minute)
	ask("the first try may yet come", ingest.ErrUnsettled)
	at(6*time.Minute + 2*time.Second)
	look("nobody tries", id, nil)
	ask("the first try can't come any more", nil)
	ask("the second try has begun", ingest.ErrUnsettled)
	look("the second try has begun", id, ingest.ErrUnsettled)
	look("an event of another second", stranger, nil)
	index.ids = []string{other}
	at(12 * time.Minute)
	ask("the second try may yet come", ingest.ErrUnsettled)
	look("the second try may yet come", id, ingest.ErrUnsettled)
	look("what came", other, nil)
	at(13 * time.Minute)
	look("the second try can't come any more", id, nil)
	ask("the second try can't come any more", nil)
	index.ids = []string{id, other}
	for range 2 {
		ask("all are stored", nil)
	}
}

// TestTriesRaceConform: of many who ask at once one may put the event.
func TestTriesRaceConform(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint)
	received := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tables, id := newTables(t, c), schemas.NewID(received)
	var may atomic.Int64
	var asked sync.WaitGroup
	for range 16 {
		asked.Go(func() {
			l := NewLedger(c, tables, &indexOf{}, func(context.Context) (time.Time, error) { return received.Add(time.Hour), nil })
			l.now = func(context.Context) (time.Time, error) { return received.Add(time.Hour), nil }
			switch _, err := l.Retry(t.Context(), id, []string{id}); {
			case err == nil:
				may.Add(1)
			case !errors.Is(err, ingest.ErrUnsettled):
				t.Error(err)
			}
		})
	}
	asked.Wait()
	if may.Load() != 1 {
		t.Errorf("%d may put the event", may.Load())
	}
}
