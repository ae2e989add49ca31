package ingesttest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"penstock/ingest"
	"penstock/schemas"
)

// LedgerEnv is a ledger with its stream.
type LedgerEnv struct {
	Ledger ingest.Ledger
	Stream ingest.Stream
	// CatchUp lets whatever the ledger goes by catch up with the stream.
	CatchUp func(t *testing.T)
}

// LedgerSuite tests an ingest.Ledger.
func LedgerSuite(t *testing.T, backend string, open func(t *testing.T) LedgerEnv) {
	t.Helper()
	t.Logf("ledger on %s", backend)

	t.Run("tells the stored from the others", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		ids := putEvents(t, env.Stream, 20)
		env.CatchUp(t)
		stranger := schemas.NewID(time.Now())
		got, err := env.Ledger.Stored(t.Context(), []string{ids[3], stranger, ids[19], ids[3]})
		if err != nil || !slices.Equal(got, []bool{true, false, true, true}) {
			t.Errorf("Stored() = %v, %v", got, err)
		}
	})

	t.Run("says when it can't tell", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		ids := putEvents(t, env.Stream, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if got, err := env.Ledger.Stored(ctx, ids); !errors.Is(err, ingest.ErrUnsettled) {
			t.Errorf("Stored() before catching up = %v, %v; want ErrUnsettled", got, err)
		}
	})

	t.Run("answers when it has caught up", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		ids := putEvents(t, env.Stream, 5)
		answer := make(chan error, 1)
		go func() {
			got, err := env.Ledger.Stored(t.Context(), ids)
			if err == nil && slices.Contains(got, false) {
				err = errors.New("an event is missing")
			}
			answer <- err
		}()
		env.CatchUp(t)
		if err := <-answer; err != nil {
			t.Error(err)
		}
	})

	t.Run("nothing was ever stored", func(t *testing.T) {
		t.Parallel()
		got, err := open(t).Ledger.Stored(t.Context(), []string{schemas.NewID(time.Now())})
		if err != nil || !slices.Equal(got, []bool{false}) {
			t.Errorf("Stored() = %v, %v", got, err)
		}
	})
}

// putEvents puts n events on the stream, several to a record.
func putEvents(t *testing.T, s ingest.Stream, n int) []string {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	var ids []string
	var encoded [][]byte
	for range n {
		id := schemas.NewID(now)
		e, err := schemas.NewEvent(id, now, &schemas.Attributes{}, []byte(`{"n":1}`))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		encoded = append(encoded, schemas.AppendEvent(nil, &e))
	}
	var records []ingest.Record
	for some := range slices.Chunk(encoded, 3) {
		k := schemas.HashKeyOf(ids[len(records)])
		records = append(records, ingest.Record{
			PartitionKey: "p", HashKey: k, Data: schemas.AppendAggregate(nil, "p", k, some),
		})
	}
	for _, err := range s.Put(t.Context(), records) {
		if err != nil {
			t.Fatal(err)
		}
	}
	return ids
}
