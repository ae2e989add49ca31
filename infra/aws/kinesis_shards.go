package aws

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"penstock/ingest"
	"penstock/schemas"
)

// ListShards allows for 1,000 calls a second and stream, and gives up to 1,000 shards a call
// (https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html).

// listShards lists every shard that the stream still knows, open and closed, by all pages of the listing.
func listShards(ctx context.Context, client *kinesis.Client, stream string) ([]types.Shard, error) {
	var shards []types.Shard
	seen := map[string]bool{}
	in := &kinesis.ListShardsInput{StreamName: &stream}
	for {
		out, err := client.ListShards(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("list the shards of stream %s: %w", stream, advised(err, client.Options().Region, "kinesis:ListShards"))
		}
		for _, s := range out.Shards {
			if id := sdk.ToString(s.ShardId); !seen[id] { // pages are not of one moment
				seen[id] = true
				shards = append(shards, s)
			}
		}
		if sdk.ToString(out.NextToken) == "" {
			return shards, nil
		}
		in = &kinesis.ListShardsInput{NextToken: out.NextToken} // which names the stream too
	}
}

// isClosed: a split or a merge has ended the shard, and it has got all its records.
func isClosed(s types.Shard) bool {
	return s.SequenceNumberRange != nil && s.SequenceNumberRange.EndingSequenceNumber != nil
}

// errUncovered: the open shards of a listing don't share out the hash key space among them.
var errUncovered = errors.New("the open shards do not cover the hash key space once")

// openShards gives the open shards of a listing, by their ranges, which must cover the hash key space without gap and overlap.
// A listing that is taken while shards are split or merged may not.
func openShards(listed []types.Shard) ([]ingest.Shard, error) {
	var open []ingest.Shard
	for _, s := range listed {
		if isClosed(s) {
			continue
		}
		id := sdk.ToString(s.ShardId)
		if s.HashKeyRange == nil {
			return nil, fmt.Errorf("shard %s is listed without its range of hash keys", id)
		}
		first, err := parseHashKey(sdk.ToString(s.HashKeyRange.StartingHashKey))
		if err != nil {
			return nil, fmt.Errorf("shard %s: %w", id, err)
		}
		last, err := parseHashKey(sdk.ToString(s.HashKeyRange.EndingHashKey))
		if err != nil {
			return nil, fmt.Errorf("shard %s: %w", id, err)
		}
		open = append(open, ingest.Shard{ID: id, First: first, Last: last})
	}
	slices.SortFunc(open, func(a, b ingest.Shard) int { return a.First.Compare(b.First) })
	return open, checkCover(open)
}

// checkCover wants each range to begin where the one before it ends.
func checkCover(open []ingest.Shard) error {
	if len(open) == 0 {
		return fmt.Errorf("%w: none is open", errUncovered)
	}
	var next schemas.HashKey
	for i, s := range open {
		switch {
		case s.First != next || s.Last.Compare(s.First) < 0:
			return fmt.Errorf("%w: %s has %s to %s, where %s should come next", errUncovered, s.ID, s.First, s.Last, next)
		case i == len(open)-1 && s.Last != schemas.MaxHashKey:
			return fmt.Errorf("%w: %s, the last one, ends at %s", errUncovered, s.ID, s.Last)
		}
		next = successor(s.Last)
	}
	return nil
}

// successor is k + 1; zero after the last one.
func successor(k schemas.HashKey) schemas.HashKey {
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]++; k[i] != 0 {
			break
		}
	}
	return k
}

// parseHashKey reads a decimal number below 2^128.
func parseHashKey(s string) (schemas.HashKey, error) {
	var k schemas.HashKey
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || n.Sign() < 0 || n.BitLen() > 8*len(k) {
		return k, fmt.Errorf("hash key %.50q is not a number below 2^128", s)
	}
	n.FillBytes(k[:])
	return k, nil
}

// pause waits until d has passed (nil) or ctx ends (its error).
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
