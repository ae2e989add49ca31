package faultproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Limits of Kinesis (https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html).
const (
	maxPutRecords = 500
	maxPutBytes   = 10 << 20 // with the partition keys
	maxRecord     = 1 << 20

	shardWriteBytes   = 1 << 20 // a second
	shardWriteRecords = 1000    // a second
	shardReadBytes    = 2 << 20 // a second
	shardReads        = 5       // a second
)

// putEntry is one record of a PutRecords.
type putEntry struct {
	Data            []byte
	PartitionKey    string
	ExplicitHashKey string
}

func (e putEntry) size() int { return len(e.Data) + len(e.PartitionKey) }

// KinesisSizes refuses a PutRecords of more than 500 records, or 10 MiB, or with a record over 1 MiB.
func KinesisSizes() Law {
	return func(_ Clock, next deliver) deliver {
		return func(ctx context.Context, r *request) (*answer, error) {
			entries, ok := entriesOf(r)
			if !ok {
				return next(ctx, r)
			}
			total := 0
			for _, e := range entries {
				total += e.size()
				if len(e.Data) > maxRecord {
					return errorAnswer(Kinesis, http.StatusBadRequest, "ValidationException", "a record is larger than 1 MiB"), nil
				}
			}
			if len(entries) > maxPutRecords {
				return errorAnswer(Kinesis, http.StatusBadRequest, "ValidationException", "more than 500 records"), nil
			}
			if total > maxPutBytes {
				return errorAnswer(Kinesis, http.StatusBadRequest, "InvalidArgumentException", "records exceed 10 MiB"), nil
			}
			return next(ctx, r)
		}
	}
}

func entriesOf(r *request) ([]putEntry, bool) {
	if r.Service != Kinesis || r.Operation != "PutRecords" {
		return nil, false
	}
	var asked struct{ Records []putEntry }
	err := json.Unmarshal(r.body, &asked)
	return asked.Records, err == nil
}

// KinesisWriteLimits throttles the records of a PutRecords one by one that come to a shard beyond 1,000 records or 1 MiB a
// second. What a second has left over is lost.
func KinesisWriteLimits() Law {
	return func(clock Clock, next deliver) deliver {
		maps := shardMaps{next: next, streams: map[string][]hashRange{}}
		var mu sync.Mutex
		used := map[string]*writes{}
		return func(ctx context.Context, r *request) (*answer, error) {
			entries, ok := entriesOf(r)
			if !ok {
				return next(ctx, r)
			}
			shards, err := maps.of(ctx, r, entries)
			if err != nil {
				return nil, err
			}
			failed := make([]bool, len(entries))
			mu.Lock()
			now := clock.Now()
			for i, e := range entries {
				name := r.Resource + "/" + shards[i]
				if used[name] == nil {
					used[name] = &writes{since: now}
				}
				failed[i] = !used[name].take(now, e.size())
			}
			mu.Unlock()
			a, err := putWithout(ctx, r, failed, throughputExceeded, false, next)
			if err != nil {
				return nil, err
			}
			return a, maps.check(r, shards, a)
		}
	}
}

const throughputExceeded = "ProvisionedThroughputExceededException"

// writes to one shard in the present second.
type writes struct {
	since          time.Time
	records, bytes int
}

func (w *writes) take(now time.Time, size int) bool {
	if now.Sub(w.since) >= time.Second {
		*w = writes{since: now}
	}
	if w.records+1 > shardWriteRecords || w.bytes+size > shardWriteBytes {
		return false
	}
	w.records++
	w.bytes += size
	return true
}

// KinesisReadLimits throttles a GetRecords that comes to a shard beyond 5 a second, or before the 2 MiB a second allow it after
// what was read last.
func KinesisReadLimits() Law {
	return func(clock Clock, next deliver) deliver {
		var mu sync.Mutex
		used := map[string]*reads{}
		return func(ctx context.Context, r *request) (*answer, error) {
			if r.Operation != "GetRecords" || r.shard == "" {
				return next(ctx, r)
			}
			mu.Lock()
			shard := used[r.shard]
			if shard == nil {
				shard = &reads{}
				used[r.shard] = shard
			}
			taken := shard.take(clock.Now())
			mu.Unlock()
			if !taken {
				return errorAnswer(Kinesis, http.StatusBadRequest, throughputExceeded, "rate exceeded for shard "+r.shard), nil
			}
			a, err := next(ctx, r)
			if err != nil || a.status != http.StatusOK {
				return a, err
			}
			var told struct{ Records []putEntry }
			if err := json.Unmarshal(a.body, &told); err != nil {
				return nil, fmt.Errorf("fault proxy: answer of GetRecords: %w", err)
			}
			size := 0
			for _, e := range told.Records {
				size += e.size()
			}
			mu.Lock()
			defer mu.Unlock()
			shard.spend(clock.Now(), size)
			return a, nil
		}
	}
}

// reads of one shard.
type reads struct {
	last [shardReads]time.Time // when the latest calls were made, the oldest first
	from time.Time             // from when on there is room for bytes
}

func (r *reads) take(now time.Time) bool {
	if now.Before(r.from) || now.Sub(r.last[0]) < time.Second {
		return false
	}
	copy(r.last[:], r.last[1:])
	r.last[shardReads-1] = now
	return true
}

// spend bytes: what a second allows is free at any time, as it has gathered; more has to be waited for.
func (r *reads) spend(now time.Time, size int) {
	if size > shardReadBytes {
		r.from = now.Add(time.Duration(size) * time.Second / shardReadBytes)
	}
}
