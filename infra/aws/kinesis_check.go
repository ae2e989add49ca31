package aws

import (
	"context"
	"fmt"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"penstock/schemas"
)

// StreamState is what a check of a stream found.
type StreamState struct {
	ARN    string
	Status string // ACTIVE, or UPDATING while it is resharded: both take and give records
	// OpenShards are those that take records.
	OpenShards int
	// Retention is for how long records are kept. A sink that stands still for longer loses some.
	Retention time.Duration
	// WriteProven says that a write was rehearsed. A server that knows no rehearsals, as emulators don't, is not written to.
	WriteProven bool
}

// Check proves that the stream can be reached, that it is there and active, that its shards can be listed and cover the hash
// key space, and that it may be written. Its errors say what to do. It stores nothing: the write is a dry run, in which Kinesis
// checks everything but the permissions of the stream's KMS key
// (https://docs.aws.amazon.com/streams/latest/dev/kds-dryrun-validation.html).
func (s *Stream) Check(ctx context.Context) (StreamState, error) {
	state, err := describe(ctx, s.client, s.name)
	if err != nil {
		return state, err
	}
	shards, err := s.Shards(ctx)
	if err != nil {
		return state, err
	}
	if state.WriteProven, err = s.rehearse(ctx, shards[0].ID); err != nil {
		return state, advised(err, s.client.Options().Region, "kinesis:PutRecords")
	}
	return state, nil
}

// rehearse makes a dry run of PutRecords. A server that does not know the parameter would store the record: so it is first
// asked for an iterator in the same way, which costs nothing wherever it is given, and may be denied to who only writes.
func (s *Stream) rehearse(ctx context.Context, shard string) (proven bool, err error) {
	_, err = s.client.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
		StreamName: &s.name, ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeLatest, DryRun: sdk.Bool(true),
	})
	if !isRehearsed(err) && !hasCode(err, "AccessDeniedException") {
		return false, err // nil: it was done
	}
	_, err = s.client.PutRecords(ctx, &kinesis.PutRecordsInput{
		StreamName: &s.name, DryRun: sdk.Bool(true),
		Records: []types.PutRecordsRequestEntry{{
			Data: []byte("probe"), PartitionKey: sdk.String("probe"), ExplicitHashKey: sdk.String(schemas.HashKey{}.String()),
		}},
	})
	if err != nil && !isRehearsed(err) {
		return false, err
	}
	return true, nil
}

// isRehearsed: the answer to a dry run of which all is well is an error.
func isRehearsed(err error) bool { return hasCode(err, "DryRunOperationException") }

// Check proves that the stream can be reached, that it is there and active, that its shards can be listed, and that the first of
// them may be read. Its errors say what to do.
func (s *Source) Check(ctx context.Context) (StreamState, error) {
	state, err := describe(ctx, s.client, s.name)
	if err != nil {
		return state, err
	}
	shards, err := s.Shards(ctx)
	if err != nil {
		return state, err
	}
	if len(shards) == 0 {
		return state, fmt.Errorf("stream %s has no shard", s.name)
	}
	c := &cursor{shard: shards[0].ID}
	if err := c.open(ctx, s.client, s.name); err != nil {
		return state, advised(err, s.client.Options().Region, "kinesis:GetShardIterator")
	}
	if _, _, err := c.fetch(ctx, s.client, 1); err != nil {
		return state, advised(err, s.client.Options().Region, "kinesis:GetRecords")
	}
	return state, nil
}

// describe looks the stream up, and wants it to take and give records.
func describe(ctx context.Context, client *kinesis.Client, stream string) (StreamState, error) {
	out, err := client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &stream})
	if hasCode(err, "ResourceNotFoundException") {
		return StreamState{}, fmt.Errorf("stream %q is not in region %s: create it, or correct its name, or set AWS_REGION to the region that has it: %w",
			stream, client.Options().Region, err)
	}
	if err != nil {
		return StreamState{}, advised(fmt.Errorf("look up stream %s: %w", stream, err), client.Options().Region, "kinesis:DescribeStreamSummary")
	}
	found := out.StreamDescriptionSummary
	state := StreamState{
		ARN: sdk.ToString(found.StreamARN), Status: string(found.StreamStatus),
		OpenShards: int(sdk.ToInt32(found.OpenShardCount)), Retention: retentionOf(found),
	}
	if found.StreamStatus != types.StreamStatusActive && found.StreamStatus != types.StreamStatusUpdating {
		return state, fmt.Errorf("stream %s is %s: it can be used once it is ACTIVE", stream, found.StreamStatus)
	}
	return state, nil
}

func retentionOf(s *types.StreamDescriptionSummary) time.Duration {
	return time.Duration(sdk.ToInt32(s.RetentionPeriodHours)) * time.Hour
}
