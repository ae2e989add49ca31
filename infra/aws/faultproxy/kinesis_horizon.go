package faultproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Horizon makes records disappear from the start of shards, as retention does, which no peer can be told to. A position before
// it reads on from what is left, and says nothing of what is gone: so does Kinesis.
type Horizon struct {
	mu     sync.Mutex
	oldest map[string]*big.Int // by stream and shard: the first sequence number that is left
}

// NewHorizon before which nothing has gone yet.
func NewHorizon() *Horizon { return &Horizon{oldest: map[string]*big.Int{}} }

// Trim removes everything before the record of the sequence number.
func (h *Horizon) Trim(stream, shard, sequence string) error {
	oldest, ok := new(big.Int).SetString(sequence, 10)
	if !ok {
		return fmt.Errorf("fault proxy: %q is no sequence number", sequence)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.oldest[stream+"/"+shard] = oldest
	return nil
}

// Law holds it before a peer.
func (h *Horizon) Law() Law {
	return func(_ Clock, next deliver) deliver {
		return func(ctx context.Context, r *request) (*answer, error) {
			a, err := next(ctx, r)
			if err != nil || r.Operation != "GetRecords" || a.status != http.StatusOK {
				return a, err
			}
			var told object
			var page struct{ Records []json.RawMessage }
			if err := json.Unmarshal(a.body, &told); err != nil {
				return nil, fmt.Errorf("fault proxy: answer of GetRecords: %w", err)
			}
			if err := json.Unmarshal(a.body, &page); err != nil {
				return nil, fmt.Errorf("fault proxy: answer of GetRecords: %w", err)
			}
			told["Records"] = mustJSON(h.left(r.shard, page.Records))
			return a.with(mustJSON(told)), nil
		}
	}
}

// Ahead has the peer's answers bear a Date that much later than it is, as if so much time had passed since what came before:
// no stream drops a record on its first day.
func Ahead(d time.Duration) Law {
	return func(_ Clock, next deliver) deliver {
		return func(ctx context.Context, r *request) (*answer, error) {
			a, err := next(ctx, r)
			if err != nil {
				return a, err
			}
			date, err := http.ParseTime(a.header.Get("Date"))
			if err != nil {
				return nil, fmt.Errorf("fault proxy: Date of an answer: %w", err)
			}
			later := &answer{a.status, a.header.Clone(), a.body}
			later.header.Set("Date", date.Add(d).Format(http.TimeFormat))
			return later, nil
		}
	}
}

// left are the records of the shard that have not gone.
func (h *Horizon) left(shard string, records []json.RawMessage) []json.RawMessage {
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := h.oldest[shard]
	if oldest == nil {
		return records
	}
	return slices.DeleteFunc(slices.Clone(records), func(record json.RawMessage) bool {
		var named struct{ SequenceNumber string }
		if err := json.Unmarshal(record, &named); err != nil {
			return false // the client will say what is wrong with it
		}
		sequence, ok := new(big.Int).SetString(named.SequenceNumber, 10)
		return ok && sequence.Cmp(oldest) < 0
	})
}
