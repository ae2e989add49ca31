package faultproxy

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"sync"
)

// hashRange is what an open shard holds.
type hashRange struct {
	shard        string
	first, final *big.Int
}

// shardMaps know which shard a record goes to, as the peer's ListShards says. They are asked for again when they were wrong.
type shardMaps struct {
	next    deliver
	mu      sync.Mutex
	streams map[string][]hashRange
}

// of tells the shards of the entries; "" where there is none.
func (m *shardMaps) of(ctx context.Context, r *request, entries []putEntry) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ranges := m.streams[r.Resource]
	if ranges == nil {
		var err error
		if ranges, err = m.list(ctx, r); err != nil {
			return nil, err
		}
		m.streams[r.Resource] = ranges
	}
	shards := make([]string, len(entries))
	for i, e := range entries {
		hash, ok := new(big.Int).SetString(e.ExplicitHashKey, 10)
		if !ok {
			sum := md5.Sum([]byte(e.PartitionKey))
			hash = new(big.Int).SetBytes(sum[:])
		}
		for _, of := range ranges {
			if of.first.Cmp(hash) <= 0 && hash.Cmp(of.final) <= 0 {
				shards[i] = of.shard
			}
		}
	}
	return shards, nil
}

// check forgets a stream whose records went to other shards than was thought: it was split or merged.
func (m *shardMaps) check(r *request, shards []string, a *answer) error {
	if a.status != http.StatusOK {
		return nil
	}
	var told struct {
		Records []struct {
			ShardID string `json:"ShardId"` // of those that landed
		}
	}
	if err := json.Unmarshal(a.body, &told); err != nil {
		return fmt.Errorf("fault proxy: answer of PutRecords: %w", err)
	}
	for i, record := range told.Records {
		if record.ShardID != "" && record.ShardID != shards[i] {
			m.mu.Lock()
			delete(m.streams, r.Resource)
			m.mu.Unlock()
		}
	}
	return nil
}

// list asks the peer for the open shards, in the name of the client.
func (m *shardMaps) list(ctx context.Context, r *request) ([]hashRange, error) {
	ranges, asked := []hashRange{}, map[string]string{"StreamName": r.Resource}
	for {
		look := r.with(mustJSON(asked))
		look.Operation = "ListShards"
		look.header.Set("X-Amz-Target", "Kinesis_20131202.ListShards")
		a, err := m.next(ctx, look)
		if err != nil {
			return nil, err
		}
		if a.status != http.StatusOK {
			return nil, nil // the peer will say of the request itself what is wrong
		}
		var told struct {
			NextToken string
			Shards    []struct {
				ShardID             string `json:"ShardId"`
				HashKeyRange        struct{ StartingHashKey, EndingHashKey string }
				SequenceNumberRange struct{ EndingSequenceNumber string }
			}
		}
		if err := json.Unmarshal(a.body, &told); err != nil {
			return nil, fmt.Errorf("fault proxy: answer of ListShards: %w", err)
		}
		for _, s := range told.Shards {
			first, ok1 := new(big.Int).SetString(s.HashKeyRange.StartingHashKey, 10)
			final, ok2 := new(big.Int).SetString(s.HashKeyRange.EndingHashKey, 10)
			if ok1 && ok2 && s.SequenceNumberRange.EndingSequenceNumber == "" {
				ranges = append(ranges, hashRange{s.ShardID, first, final})
			}
		}
		if told.NextToken == "" {
			return ranges, nil
		}
		asked = map[string]string{"NextToken": told.NextToken}
	}
}
