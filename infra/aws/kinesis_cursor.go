package aws

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go/middleware"

	"penstock/consumer"
)

const (
	// iteratorLife: an iterator can't be used later (API_GetShardIterator.html).
	iteratorLife = 5 * time.Minute
	// attemptTime bounds one request. An answer has up to 10 MiB of records, as 14 MB of text.
	attemptTime = 15 * time.Second
	// asOfMargin is how far a page's AsOf lies before the moment that it was read. It covers the time from a record's arrival,
	// at which it gets its time, to its being readable, which AWS puts at less than 1 s
	// (https://docs.aws.amazon.com/streams/latest/dev/introduction.html), and the difference between the clocks of the hosts
	// that take records and that answer: the time of arrival has no guaranteed accuracy, nor do times ascend in a shard.
	asOfMargin = 5 * time.Second
	// fullAnswer is half of the most bytes of an answer: one with more may have been cut for its size.
	fullAnswer = 5 << 20
	// leastRetention is the shortest that a stream can keep records.
	leastRetention = 24 * time.Hour
	// keptMargin is how much less than that is taken for sure: for times that are not accurate, and for how long a page may have
	// waited to be handed out.
	keptMargin = time.Hour
	// horizonSlack is how near to the end of the retention a place counts as gone.
	horizonSlack = time.Minute
	// proofPatience is for how long to look for the record that a reader stopped at.
	proofPatience = time.Minute
)

// cursor is a place in a shard from which its records are read in sequence. One goroutine uses it at a time.
type cursor struct {
	shard string
	after string    // the sequence number of the last record that was handed out; empty before the first
	since time.Time // where to begin while after is empty; the zero time is before the oldest kept
	idle  time.Time // since when nobody uses it

	iterator *string   // nil: to be opened
	opened   time.Time // when the iterator's first one was
	unproven bool      // the iterator was opened at the record `after`, which has not come yet

	rest   []consumer.Record // fetched, and not handed out
	behind time.Duration     // of the end of rest from the tip
	tip    bool              // rest was all there was, but for what came in the same moment
	asOf   time.Time         // of the tip
	kept   time.Time         // since when all records were still there when rest was fetched
	end    bool              // the shard is closed, and rest is its last
}

// reset forgets everything but the place.
func (c *cursor) reset() {
	*c = cursor{shard: c.shard, after: c.after, since: c.since}
}

// page hands out of the rest about maxBytes, at least one record if there is one.
func (c *cursor) page(maxBytes int) consumer.Page {
	n, size := 0, 0
	for n < len(c.rest) && (n == 0 || size+len(c.rest[n].Data) <= maxBytes) {
		size += len(c.rest[n].Data)
		n++
	}
	var p consumer.Page
	if n > 0 {
		p.Records = slices.Clone(c.rest[:n])
		clear(c.rest[:n]) // or the rest would keep their bytes in memory
		c.rest = c.rest[n:]
		c.after = p.Records[n-1].Sequence
	}
	if len(c.rest) == 0 {
		p.AsOf, p.End = c.asOf, c.end
		c.rest, c.asOf = nil, time.Time{}
	}
	p.Kept = c.kept
	return p
}

// open gets an iterator for the place. To go on behind a record it is opened at that record, and not after it: that the record
// comes first is the only proof that none behind it is gone.
func (c *cursor) open(ctx context.Context, client *kinesis.Client, stream string) error {
	in := &kinesis.GetShardIteratorInput{StreamName: &stream, ShardId: &c.shard}
	switch {
	case c.after != "":
		in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeAtSequenceNumber, &c.after
	case c.since.After(time.Unix(0, 0)):
		in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, &c.since
	default:
		in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	out, err := client.GetShardIterator(ctx, in)
	switch {
	case hasCode(err, "ResourceNotFoundException"):
		return fmt.Errorf("%w: shard %s of stream %s: %w", consumer.ErrNotFound, c.shard, stream, err)
	case hasCode(err, "InvalidArgumentException") && c.after != "":
		return fmt.Errorf("position %s is not of shard %s of stream %s; was the stream deleted and made anew? %w",
			c.after, c.shard, stream, err)
	case err != nil:
		return fmt.Errorf("open shard %s of stream %s: %w", c.shard, stream, err)
	}
	c.iterator, c.opened, c.unproven = out.ShardIterator, time.Now(), c.after != ""
	return nil
}

// fetch makes one GetRecords and takes its records as the rest.
func (c *cursor) fetch(ctx context.Context, client *kinesis.Client, limit int32) (records, bytes int, err error) {
	if c.unproven {
		limit = min(limit+1, maxLimit) // the first is not new
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	began := time.Now()
	out, err := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: c.iterator, Limit: &limit})
	if err != nil {
		return 0, 0, fmt.Errorf("read shard %s after %q: %w", c.shard, c.after, err)
	}
	c.rest = make([]consumer.Record, 0, len(out.Records))
	for i := range out.Records {
		r := &out.Records[i]
		bytes += len(r.Data)
		// The SDK cuts an answer's strings out of one block, which a checkpoint would keep in memory.
		c.rest = append(c.rest, consumer.Record{
			Sequence: strings.Clone(sdk.ToString(r.SequenceNumber)),
			Arrived:  sdk.ToTime(r.ApproximateArrivalTimestamp),
			Data:     r.Data,
		})
	}
	c.iterator, c.end = nil, out.NextShardIterator == nil
	if !c.end {
		c.iterator = sdk.String(strings.Clone(*out.NextShardIterator))
	}
	c.behind = time.Duration(sdk.ToInt64(out.MillisBehindLatest)) * time.Millisecond
	// It counts in milliseconds: an answer that was cut may leave records of the same one.
	c.tip = out.MillisBehindLatest != nil && c.behind == 0 && len(out.Records) < int(limit) && bytes < fullAnswer
	c.asOf, c.kept = time.Time{}, keptSince(out.ResultMetadata)
	if c.tip {
		c.asOf = readAt(out.ResultMetadata, time.Since(began))
	}
	return len(out.Records), bytes, c.prove()
}

// prove takes the record at which the reader stopped off the rest. consumer.ErrTrimmed says that it is not there any more.
func (c *cursor) prove() error {
	switch {
	case !c.unproven:
		return nil
	case len(c.rest) > 0 && c.rest[0].Sequence == c.after:
		c.rest, c.unproven = c.rest[1:], false
		return nil
	case len(c.rest) > 0:
		return fmt.Errorf("shard %s goes on at %s, not at %s: %w", c.shard, c.rest[0].Sequence, c.after, consumer.ErrTrimmed)
	case c.tip || c.end:
		return fmt.Errorf("shard %s has no record %s up to its tip: %w", c.shard, c.after, consumer.ErrTrimmed)
	}
	return nil
}

// checkOverdue looks into it when the record at which the reader stopped does not come. Behind a place that is gone Kinesis has
// been seen to give nothing, for a quarter of an hour and more, as far behind the tip as the stream keeps records
// (https://github.com/harlow/kinesis-consumer/issues/125).
func (c *cursor) checkOverdue(ctx context.Context, client *kinesis.Client, stream string) error {
	if !c.unproven {
		return nil
	}
	if c.behind >= leastRetention-horizonSlack {
		ctx, cancel := context.WithTimeout(ctx, attemptTime)
		defer cancel()
		out, err := client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &stream})
		if err != nil {
			return fmt.Errorf("look up how long stream %s keeps records: %w", stream, err)
		}
		if kept := retentionOf(out.StreamDescriptionSummary); c.behind >= kept-horizonSlack {
			return fmt.Errorf("record %s of shard %s is as old as the stream's retention, %s, and does not come: %w",
				c.after, c.shard, kept, consumer.ErrTrimmed)
		}
	}
	if time.Since(c.opened) >= proofPatience {
		return fmt.Errorf("record %s of shard %s has not come in %s, %s behind the tip", c.after, c.shard, proofPatience, c.behind)
	}
	return nil
}

// keptSince is a time such that what arrived then or later is still in the stream when it answers; zero when the answer bears no
// time. It goes by the shortest retention that there is, and not by the stream's own: that may have been raised a moment ago,
// which brings nothing back that was dropped before
// (https://docs.aws.amazon.com/kinesis/latest/APIReference/API_IncreaseStreamRetentionPeriod.html).
func keptSince(answer middleware.Metadata) time.Time {
	answered, ok := awsmiddleware.GetServerTime(answer)
	if !ok {
		return time.Time{}
	}
	return answered.Add(keptMargin - leastRetention)
}

// readAt is a time before the one at which an answer's records were read, by the clock of who answered: that of the answer,
// which has whole seconds and is cut, less the whole time that the request took, by our monotonic clock, less asOfMargin. It is
// zero when the answer bears no time.
func readAt(answer middleware.Metadata, took time.Duration) time.Time {
	answered, ok := awsmiddleware.GetServerTime(answer)
	if !ok {
		return time.Time{}
	}
	return answered.Add(-took - asOfMargin)
}
