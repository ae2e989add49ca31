package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"penstock/infra/deploy/pyiceberg"
	"penstock/ingest"
	"penstock/schemas"
)

const (
	// sentinelType is of the events that show that both sinks have read a shard to where the event stands.
	sentinelType = "chaos-sentinel"
	// levelWithin is how long both sinks may take to become level once nothing goes wrong any more.
	levelWithin = 10 * time.Minute
	// lookAgain is how often it is asked whether they are.
	lookAgain = time.Second
)

// level returns when both sinks have read everything that was on the stream when it was called: they have an event of every open
// shard that was put after that, and nobody reads a shard before its parents.
func (r *round) level(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, levelWithin, fmt.Errorf("the sinks are not level after %v", levelWithin))
	defer cancel()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for n := 0; ; n++ {
		shards, err := r.deployment.openShards(ctx)
		if err != nil {
			return err
		}
		sent, err := r.sentinels(ctx, shards, n)
		if err != nil {
			return err
		}
		// A front end learns of new shards within 10 s; until then what is meant for them may go to another.
		covered := map[string]bool{}
		for looks := 1; len(sent) > 0; looks++ {
			missing, err := r.take(ctx, sent, covered)
			switch {
			case ctx.Err() != nil:
				return fmt.Errorf("%w: of %d sentinels %d are missing in the %s", context.Cause(ctx), len(shards), len(sent), missing)
			case err != nil:
				return err
			case looks%20 == 0:
				r.say("waiting: of %d sentinels %d are missing in the %s", len(shards), len(sent), missing)
			}
			select {
			case <-again.C:
			case <-ctx.Done():
			}
		}
		if !slices.ContainsFunc(shards, func(s ingest.Shard) bool { return !covered[s.ID] }) {
			return nil
		}
	}
}

// sentinels puts one event to each shard and gives their ids.
func (r *round) sentinels(ctx context.Context, shards []ingest.Shard, n int) (map[string]bool, error) {
	sent := map[string]bool{}
	for i, s := range shards {
		d := document{Marker: fmt.Sprintf("s-%d-%d", n, i)}
		d.Body = []byte(`{"marker":"` + d.Marker + `"}`)
		post := request{documents: []document{d}, partition: keyIn(s), kind: sentinelType, key: d.Marker}
		for !r.client.post(ctx, post) {
			select {
			case <-time.After(againFirst):
			case <-ctx.Done():
				return nil, fmt.Errorf("post a sentinel: %w", context.Cause(ctx))
			}
		}
		for _, id := range r.book.all()[d.Marker].Acked {
			sent[id] = true
		}
	}
	return sent, nil
}

// keyIn finds a partition key of the shard.
func keyIn(s ingest.Shard) string {
	for n := 0; ; n++ {
		key := "sentinel-" + strconv.Itoa(n)
		if hash := schemas.HashKeyOf(key); s.First.Compare(hash) <= 0 && hash.Compare(s.Last) <= 0 {
			return key
		}
	}
}

// take removes the sentinels that both sinks have, and notes their shards. It tells which sink to wait for.
func (r *round) take(ctx context.Context, sent, covered map[string]bool) (missing string, err error) {
	for id := range sent {
		if status, _, err := r.client.get(ctx, r.front(), id); err != nil || status != http.StatusOK {
			return "index", nil //nolint:nilerr // it is asked again
		}
	}
	return "lake", pyiceberg.Each(ctx, r.deployment.table(), "type = '"+sentinelType+"'", func(row pyiceberg.Row) error {
		if sent[row.ID] {
			delete(sent, row.ID)
			covered[row.Shard] = true
		}
		return nil
	})
}
