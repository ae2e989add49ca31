package faultproxy

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// stubStream answers a PutRecords, with the size of each record for its sequence number.
func stubStream(body string) string {
	var asked struct{ Records []putEntry }
	if err := json.Unmarshal([]byte(body), &asked); err != nil {
		return err.Error()
	}
	told := putAnswer{EncryptionType: "NONE"}
	for _, e := range asked.Records {
		told.Records = append(told.Records, mustJSON(map[string]string{"SequenceNumber": fmt.Sprint(len(e.Data)), "ShardId": firstShard}))
	}
	return string(mustJSON(told))
}

// Some records of a PutRecords fail, the others are answered by the peer, each at its place; and only in one of the two cases
// did the failed ones land.
func TestFailedRecords(t *testing.T) {
	t.Parallel()
	const count = 200
	for name, test := range map[string]struct {
		fault  Fault
		code   string
		landed bool
	}{
		"throttled":        {ThrottleRecords(0.3), throughputExceeded, false},
		"internal failure": {FailRecords(0.3), "InternalFailure", true},
		"all throttled":    {ThrottleRecords(1), throughputExceeded, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peer := newBackend(t, stubStream)
			p := before(t, peer.url)
			p.Set(Rule{Service: Kinesis, Operation: "PutRecords", Resource: "s", When: Always(), Do: test.fault})
			var entries []types.PutRecordsRequestEntry
			for i := range count {
				entries = append(entries, record(i+1, "0"))
			}
			out, err := p.put(t, "s", entries...)
			if err != nil {
				t.Fatal(err)
			}
			var acked []int
			for i, r := range out.Records {
				switch {
				case sdk.ToString(r.ErrorCode) == test.code && r.SequenceNumber == nil:
				case r.ErrorCode == nil && *r.SequenceNumber == fmt.Sprint(i+1):
					acked = append(acked, i+1)
				default:
					t.Errorf("record %d: %q, sequence number %q", i, sdk.ToString(r.ErrorCode), sdk.ToString(r.SequenceNumber))
				}
			}
			failed := count - len(acked)
			if len(out.Records) != count || int(*out.FailedRecordCount) != failed || failed < count/5 {
				t.Errorf("%d records, FailedRecordCount %d, %d failed", len(out.Records), *out.FailedRecordCount, failed)
			}
			var landed []int
			for _, body := range peer.landed() {
				var got struct{ Records []putEntry }
				if err := json.Unmarshal([]byte(body), &got); err != nil {
					t.Fatal(err)
				}
				for _, e := range got.Records {
					landed = append(landed, len(e.Data))
				}
			}
			if want := len(landed) == count; want != test.landed || (!want && !slices.Equal(landed, acked)) {
				t.Errorf("%d records landed, %d are acked", len(landed), len(acked))
			}
		})
	}
}

// Part of a batch stays undone, and is what is told to be.
func TestLeaveUnprocessed(t *testing.T) {
	t.Parallel()
	peer := newBackend(t, func(string) string { return `{"UnprocessedItems":{}}` })
	p := before(t, peer.url)
	p.Set(Rule{Service: DynamoDB, Operation: "BatchWriteItem", When: Always(), Do: LeaveUnprocessed(0.5)})
	var writes []dynamodbtypes.WriteRequest
	for i := range 25 {
		writes = append(writes, dynamodbtypes.WriteRequest{PutRequest: &dynamodbtypes.PutRequest{Item: item{"p": text(fmt.Sprint(i))}}})
	}
	out, err := p.dynamodb.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]dynamodbtypes.WriteRequest{"table": writes}})
	if err != nil {
		t.Fatal(err)
	}
	var landed batchWrite
	if err := json.Unmarshal([]byte(peer.landed()[0]), &landed); err != nil {
		t.Fatal(err)
	}
	left, done := len(out.UnprocessedItems["table"]), len(landed.RequestItems["table"])
	if left < 5 || done < 5 || left+done != 25 {
		t.Errorf("%d left, %d done, of 25", left, done)
	}
	if got := p.Calls(); len(got) != 1 || got[0].Resource != "table" {
		t.Errorf("recorded: %v", got)
	}
}

// Stale and expired iterators, on the real peer.
func TestKinesisIteratorFaultsConform(t *testing.T) {
	t.Parallel()
	p := before(t, endpointOf(t, kinesisVariable))
	name := p.stream(t, 1)
	p.mustPut(t, name, records(2, 1)...)
	iterator := p.horizon(t, name, firstShard)
	p.Set(
		Rule{Service: Kinesis, Operation: "GetRecords", Resource: name, When: Nth(1), Do: StaleIterator()},
		Rule{Service: Kinesis, Operation: "GetRecords", When: Nth(2), Do: ExpireIterator()}, // the third: the first rule saw all
	)
	for i, want := range []struct {
		code    string
		records int
	}{{"", 2}, {"", 2}, {"ExpiredIteratorException", 0}, {"", 0}} {
		out, err := p.kinesis.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: &iterator})
		wantCode(t, fmt.Sprint("call ", i+1), err, want.code)
		if err == nil {
			if len(out.Records) != want.records {
				t.Errorf("call %d: %d records, want %d", i+1, len(out.Records), want.records)
			}
			iterator = *out.NextShardIterator
		}
	}
	if needed := p.Permissions(); !slices.Contains(needed, "kinesis:GetRecords "+name) {
		t.Errorf("needed: %v", needed)
	}
}

// The original of a PutRecords lands after its own retry, and stands in the stream twice, also when the shard was split and
// merged since.
func TestKinesisLateOriginalConforms(t *testing.T) {
	t.Parallel()
	p := before(t, endpointOf(t, kinesisVariable))
	name := p.stream(t, 2)
	p.Set(Rule{Service: Kinesis, Operation: "PutRecords", When: First(1), Do: CutAndForwardLater(4 * time.Minute)})
	if _, err := p.put(t, name, records(1, 7)...); err == nil {
		t.Fatal("the original is answered")
	}
	p.mustPut(t, name, records(1, 7)...)
	_, err := p.kinesis.SplitShard(t.Context(), &kinesis.SplitShardInput{
		StreamName: &name, ShardToSplit: sdk.String(firstShard), NewStartingHashKey: sdk.String(halfOfFirst),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.awaitActive(t, name)
	p.clock.Advance(4 * time.Minute)
	p.Wait()
	for _, shard := range []string{firstShard, "shardId-000000000002"} {
		out, err := p.get(t, p.horizon(t, name, shard))
		if err != nil || len(out.Records) != 1 || len(out.Records[0].Data) != 7 {
			t.Errorf("%s: %v, %v", shard, out, err)
		}
	}
}

// What was trimmed is not read again, wherever one begins.
func TestKinesisHorizonConforms(t *testing.T) {
	t.Parallel()
	horizon := NewHorizon()
	p := before(t, endpointOf(t, kinesisVariable), horizon.Law())
	name := p.stream(t, 1)
	var sequences []*string
	for size := range 4 {
		sequences = append(sequences, p.mustPut(t, name, records(1, size+1)...)[0].SequenceNumber)
	}
	after := func(sequence *string) (sizes []int) {
		t.Helper()
		iterator, err := p.iterator(t, kinesis.GetShardIteratorInput{
			StreamName: &name, ShardId: sdk.String(firstShard), ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: sequence,
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.get(t, iterator)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.Records {
			sizes = append(sizes, len(r.Data))
		}
		return sizes
	}
	if got := after(sequences[0]); !slices.Equal(got, []int{2, 3, 4}) {
		t.Errorf("before the trim: %v", got)
	}
	if err := horizon.Trim(name, firstShard, *sequences[2]); err != nil {
		t.Fatal(err)
	}
	if got := after(sequences[0]); !slices.Equal(got, []int{3, 4}) {
		t.Errorf("after the trim: %v", got)
	}
	if err := horizon.Trim(name, firstShard, "x"); err == nil {
		t.Error("x is taken for a sequence number")
	}
}
