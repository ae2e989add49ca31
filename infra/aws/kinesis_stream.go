package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"penstock/ingest"
	"penstock/schemas"
)

// maxRecord is the largest record with its partition key, in bytes, of a stream that was not told otherwise
// (https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html).
const maxRecord = 1 << 20

// errRecordTooLarge is final. Kinesis would refuse the whole call for one such record.
var errRecordTooLarge = fmt.Errorf("record with its partition key is larger than %d bytes", maxRecord)

// listAgain are the pauses before a listing is asked for again that does not cover the hash key space.
var listAgain = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}

// Stream is a Kinesis data stream as ingest writes it.
type Stream struct {
	client  *kinesis.Client
	writing *kinesis.Client // never repeats a request
	name    string
}

var _ ingest.Stream = (*Stream)(nil)

// NewStream makes the writing side of the stream of that name. It talks to nobody yet.
func NewStream(client *kinesis.Client, name string) *Stream {
	writing := withoutRetries(client, func(o *kinesis.Options) { o.Protocol = putProtocol{o.Protocol} })
	return &Stream{client: client, writing: writing, name: name}
}

// withoutRetries is a client of which every request is one attempt.
func withoutRetries(client *kinesis.Client, change ...func(*kinesis.Options)) *kinesis.Client {
	return kinesis.New(client.Options(), append(change, func(o *kinesis.Options) { o.Retryer = once() })...)
}

// Put implements ingest.Stream with one PutRecords call, which takes up to 500 records and 10 MiB with their partition keys
// (https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html). Of a longer call Kinesis stores nothing and
// every error is final. It does not keep the order of the records.
//
// Records are copied before they are sent, so none is looked at after the return, not even by a request that goes on in the
// background when ctx has ended.
func (s *Stream) Put(ctx context.Context, records []ingest.Record) []error {
	errs := make([]error, len(records))
	entries := make([]types.PutRecordsRequestEntry, 0, len(records))
	var of schemas.HashKey
	var hashKey *string // of a flight's records it is the same
	for i := range records {
		r := &records[i]
		if len(r.Data)+len(r.PartitionKey) > maxRecord {
			errs[i] = errRecordTooLarge
			continue
		}
		if hashKey == nil || of != r.HashKey {
			of, hashKey = r.HashKey, sdk.String(r.HashKey.String())
		}
		entries = append(entries, types.PutRecordsRequestEntry{
			Data: r.Data, PartitionKey: &r.PartitionKey, ExplicitHashKey: hashKey,
		})
	}
	results, err := s.put(ctx, entries)
	for i := range errs {
		switch {
		case errs[i] != nil: // not sent
		case err != nil:
			errs[i] = err
		default:
			errs[i] = recordOutcome(results[0])
			results = results[1:]
		}
	}
	return errs
}

// put makes the call. Its error is of all records; without one there is a result for each of them.
func (s *Stream) put(ctx context.Context, entries []types.PutRecordsRequestEntry) ([]types.PutRecordsResultEntry, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	out, err := s.writing.PutRecords(ctx, &kinesis.PutRecordsInput{StreamName: &s.name, Records: entries})
	if err != nil {
		return nil, outcome(fmt.Errorf("put %d records on stream %s: %w", len(entries), s.name, err))
	}
	if len(out.Records) != len(entries) {
		return nil, fmt.Errorf("%w: stream %s answered for %d records of %d",
			ingest.ErrAmbiguous, s.name, len(out.Records), len(entries))
	}
	return out.Records, nil
}

// recordOutcome says what became of one record of a call that was carried out. Only a sequence number proves that it is stored.
// Two error codes are documented, ProvisionedThroughputExceededException and InternalFailure; those of KMS mean that the record
// could not be encrypted; of any other nobody knows.
func recordOutcome(r types.PutRecordsResultEntry) error {
	code := sdk.ToString(r.ErrorCode)
	switch {
	case code == "" && sdk.ToString(r.SequenceNumber) != "":
		return nil
	case code == "":
		return fmt.Errorf("%w: neither a sequence number nor an error", ingest.ErrAmbiguous)
	}
	err := fmt.Errorf("%s: %s", code, sdk.ToString(r.ErrorMessage))
	switch {
	case slices.Contains(throttles, code):
		return fmt.Errorf("%w: %w", ingest.ErrThrottled, err)
	case strings.HasPrefix(code, "KMS"):
		return err
	default:
		return fmt.Errorf("%w: %w", ingest.ErrAmbiguous, err)
	}
}

// Shards implements ingest.Stream. While shards are split or merged the listing may lack a range or have it twice; it is then
// asked for again, for up to 8 s.
func (s *Stream) Shards(ctx context.Context) ([]ingest.Shard, error) {
	for again := 0; ; again++ {
		listed, err := listShards(ctx, s.client, s.name)
		if err != nil {
			return nil, err
		}
		open, err := openShards(listed)
		switch {
		case err == nil:
			return open, nil
		case !errors.Is(err, errUncovered):
			return nil, fmt.Errorf("stream %s: %w", s.name, err)
		case again == len(listAgain):
			return nil, fmt.Errorf("stream %s: %w; if it is being resharded, try again once its status is ACTIVE", s.name, err)
		}
		if waitErr := pause(ctx, listAgain[again]); waitErr != nil {
			return nil, fmt.Errorf("stream %s: %w: %w", s.name, waitErr, err)
		}
	}
}
