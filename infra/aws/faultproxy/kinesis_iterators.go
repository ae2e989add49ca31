package faultproxy

import (
	"encoding/json"
	"sync"
)

// rememberedIterators is how many are remembered at least.
const rememberedIterators = 1 << 16

// iterators remember which shard an iterator belongs to, in two generations.
type iterators struct {
	mu       sync.Mutex
	new, old map[string]string
}

func readsShard(r *request) bool {
	return r.Service == Kinesis && (r.Operation == "GetRecords" || r.Operation == "GetShardIterator")
}

// shardOf is the stream and the shard that are read; empty when nothing is, or the iterator was not handed out here.
func (i *iterators) shardOf(r *request) string {
	if !readsShard(r) {
		return ""
	}
	var asked struct {
		ShardIterator string
		ShardID       string `json:"ShardId"`
	}
	if err := json.Unmarshal(r.body, &asked); err != nil {
		return "" // the peer will say what is wrong with it
	}
	if asked.ShardID != "" {
		return r.Resource + "/" + asked.ShardID
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if shard, ok := i.new[asked.ShardIterator]; ok {
		return shard
	}
	return i.old[asked.ShardIterator]
}

// learn the iterator that the peer hands out in the body of its answer.
func (i *iterators) learn(r *request, body []byte) {
	var told struct{ ShardIterator, NextShardIterator string }
	if !readsShard(r) || r.shard == "" || json.Unmarshal(body, &told) != nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.new == nil || len(i.new) >= rememberedIterators {
		i.new, i.old = map[string]string{}, i.new
	}
	i.new[told.ShardIterator+told.NextShardIterator] = r.shard // an answer has one of them
}
