package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"penstock/consumer"
	"penstock/infra/aws"
	"penstock/infra/iceberg"
	"penstock/ingest"
	"penstock/schemas"
)

// The stream has at least and at most so many open shards.
const minShards, maxShards = 3, 8

// deployment is what the processes work on, reached past the fault proxies.
type deployment struct {
	stream, bucket, database string
	tables                   aws.Tables
	clients                  aws.Clients
}

func newDeployment(ctx context.Context) (deployment, error) {
	d := deployment{tables: aws.Tables{Events: "penstock-events", State: "penstock-state"}}
	for name, value := range map[string]*string{
		"PENSTOCK_STREAM": &d.stream, "PENSTOCK_BUCKET": &d.bucket, "PENSTOCK_DATABASE": &d.database,
	} {
		if *value = os.Getenv(name); *value == "" {
			return d, fmt.Errorf("%s is not set: run this among the peers, by `make chaos`", name)
		}
	}
	var err error
	d.clients, err = aws.Connect(ctx)
	return d, err
}

// openShards are those that take records, by hash key.
func (d deployment) openShards(ctx context.Context) ([]ingest.Shard, error) {
	shards, err := aws.NewStream(d.clients.Kinesis, d.stream).Shards(ctx)
	slices.SortFunc(shards, func(a, b ingest.Shard) int { return a.First.Compare(b.First) })
	return shards, err
}

// reshard splits or merges, as the action says; the other when there are too many or too few shards for it. It tells what it did.
func (d deployment) reshard(ctx context.Context, a action) (kind, string, error) {
	shards, err := d.openShards(ctx)
	if err != nil {
		return a.Kind, "", err
	}
	do := a.Kind
	switch {
	case len(shards) <= minShards:
		do = split
	case len(shards) >= maxShards:
		do = merge
	}
	if do == merge {
		at := int(a.Pick) % (len(shards) - 1)
		_, err = d.clients.Kinesis.MergeShards(ctx, &kinesis.MergeShardsInput{
			StreamName: &d.stream, ShardToMerge: &shards[at].ID, AdjacentShardToMerge: &shards[at+1].ID,
		})
		return do, shards[at].ID + " and " + shards[at+1].ID, err
	}
	s := shards[int(a.Pick)%len(shards)]
	_, err = d.clients.Kinesis.SplitShard(ctx, &kinesis.SplitShardInput{
		StreamName: &d.stream, ShardToSplit: &s.ID, NewStartingHashKey: sdk.String(middle(s).String()),
	})
	return do, s.ID, err
}

// middle of the shard's range.
func middle(s ingest.Shard) schemas.HashKey {
	var half schemas.HashKey
	carry := 0 // of the sum of both ends, then of its half
	var total [len(half)]int
	for i := len(half) - 1; i >= 0; i-- {
		carry += int(s.First[i]) + int(s.Last[i])
		total[i], carry = carry&0xff, carry>>8
	}
	for i, digit := range total {
		digit += carry << 8
		half[i], carry = byte(digit/2), digit%2
	}
	return half
}

// watcher of the leases. The lake's table must be there.
func (d deployment) watcher(ctx context.Context) (*watcher, error) {
	files, err := aws.NewFiles(context.WithoutCancel(ctx), d.clients.S3, "s3://"+d.bucket+"/lake/"+schemas.LakeTable)
	if err != nil {
		return nil, err
	}
	pointer, err := aws.NewPointer(d.clients.Glue(), d.database, schemas.LakeTable, files.Location())
	if err != nil {
		return nil, err
	}
	lake, err := iceberg.Open(ctx, iceberg.Config{
		Files: files, Pointer: pointer, Admit: func(int64) error { return errors.New("this only reads") }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	index, err := aws.NewIndex(d.clients, d.tables, d.bucket)
	if err != nil {
		return nil, err
	}
	w := &watcher{
		source: aws.NewSource(d.clients.Kinesis, d.stream), leases: aws.NewLeases(d.clients, d.tables),
		tenures: map[string]*tenure{}, drained: map[string]map[string]bool{},
		ends: map[string]func(ctx context.Context, shard string) (bool, error){
			consumer.IndexSinkName: func(ctx context.Context, shard string) (bool, error) {
				c, err := index.Checkpoint(ctx, shard)
				return c.End, err
			},
			consumer.LakeSinkName: func(ctx context.Context, shard string) (bool, error) {
				offsets, err := lake.Offsets(ctx)
				return offsets[shard].End, err
			},
		},
	}
	for sink := range w.ends {
		w.tenures[sink], w.drained[sink] = newTenure(sink), map[string]bool{}
	}
	return w, nil
}

// indexed lists the ids of the index.
func (d deployment) indexed(ctx context.Context) ([]string, error) {
	var ids []string
	pages := dynamodb.NewScanPaginator(d.clients.DynamoDB, &dynamodb.ScanInput{
		TableName: &d.tables.Events, ProjectionExpression: sdk.String("id"), ConsistentRead: sdk.Bool(true),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("scan %s: %w", d.tables.Events, err)
		}
		for _, item := range page.Items {
			id, ok := item["id"].(*types.AttributeValueMemberS)
			if !ok {
				return nil, fmt.Errorf("scan %s: an item without a text as its id", d.tables.Events)
			}
			ids = append(ids, id.Value)
		}
	}
	return ids, nil
}

// streamed counts how often each id stands on the stream.
func (d deployment) streamed(ctx context.Context) (map[string]int, error) {
	ids := map[string]int{}
	source := aws.NewSource(d.clients.Kinesis, d.stream)
	shards, err := source.Shards(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range shards {
		err := source.ReadSince(ctx, s.ID, time.Time{}, "", func(r consumer.Record) error {
			events, err := schemas.Deaggregate(r.Data)
			if err != nil {
				return fmt.Errorf("record %s of %s: %w", r.Sequence, s.ID, err)
			}
			for _, encoded := range events {
				event, err := schemas.DecodeEvent(encoded)
				if err != nil {
					return fmt.Errorf("record %s of %s: %w", r.Sequence, s.ID, err)
				}
				ids[event.ID]++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func (d deployment) table() string { return d.database + "." + schemas.LakeTable }
