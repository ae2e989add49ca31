package faultproxy

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

const (
	kinesisVariable = "AWS_ENDPOINT_URL_KINESIS"
	firstShard      = "shardId-000000000000"
	halfOfFirst     = "85070591730234615865843651857942052863" // of a stream of two shards
)

// record with an explicit hash key.
func record(size int, hash string) types.PutRecordsRequestEntry {
	return types.PutRecordsRequestEntry{Data: bytes.Repeat([]byte("x"), size), PartitionKey: sdk.String("p"), ExplicitHashKey: &hash}
}

// records for the first shard.
func records(count, size int) []types.PutRecordsRequestEntry {
	all := make([]types.PutRecordsRequestEntry, count)
	for i := range all {
		all[i] = record(size, "0")
	}
	return all
}

// stream makes one that is active, and ends with the test.
func (p *proxied) stream(t *testing.T, shards int32) string {
	t.Helper()
	name := fmt.Sprintf("peer-%s-%d", strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())), time.Now().UnixNano())
	if _, err := p.kinesis.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &name, ShardCount: &shards}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := p.kinesis.DeleteStream(context.WithoutCancel(t.Context()), &kinesis.DeleteStreamInput{StreamName: &name})
		if err != nil {
			t.Error(err)
		}
	})
	p.awaitActive(t, name)
	return name
}

func (p *proxied) awaitActive(t *testing.T, name string) {
	t.Helper()
	active := kinesis.NewStreamExistsWaiter(p.kinesis, func(o *kinesis.StreamExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	})
	if err := active.Wait(t.Context(), &kinesis.DescribeStreamInput{StreamName: &name}, time.Minute); err != nil {
		t.Fatal(err)
	}
}

func (p *proxied) put(t *testing.T, stream string, entries ...types.PutRecordsRequestEntry) (*kinesis.PutRecordsOutput, error) {
	t.Helper()
	return p.kinesis.PutRecords(t.Context(), &kinesis.PutRecordsInput{StreamName: &stream, Records: entries})
}

func (p *proxied) mustPut(t *testing.T, stream string, entries ...types.PutRecordsRequestEntry) []types.PutRecordsResultEntry {
	t.Helper()
	out, err := p.put(t, stream, entries...)
	if err != nil {
		t.Fatal(err)
	}
	if sdk.ToInt32(out.FailedRecordCount) != 0 {
		t.Fatalf("%d of %d records failed", *out.FailedRecordCount, len(entries))
	}
	return out.Records
}

func (p *proxied) iterator(t *testing.T, in kinesis.GetShardIteratorInput) (string, error) {
	t.Helper()
	out, err := p.kinesis.GetShardIterator(t.Context(), &in)
	if err != nil {
		return "", err
	}
	return *out.ShardIterator, nil
}

func (p *proxied) horizon(t *testing.T, stream, shard string) string {
	t.Helper()
	iterator, err := p.iterator(t, kinesis.GetShardIteratorInput{StreamName: &stream, ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
	if err != nil {
		t.Fatal(err)
	}
	return iterator
}

func (p *proxied) get(t *testing.T, iterator string) (*kinesis.GetRecordsOutput, error) {
	t.Helper()
	return p.kinesis.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: &iterator})
}

// wantCode checks what a call was answered with; the code is empty where it succeeded.
func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if _, got := seen(err); got != code || (code == "") != (err == nil) {
		t.Errorf("%s: %q, want %q: %v", what, got, code, err)
	}
}

// What kinesis-mock refuses by itself and what it lets through, and that the proxy refuses the latter.
func TestKinesisSizesConform(t *testing.T) {
	t.Parallel()
	endpoint := endpointOf(t, kinesisVariable)
	peer, lawful := clientsOf(endpoint), before(t, endpoint, KinesisSizes())
	name := peer.stream(t, 2)
	long := record(1, "0")
	long.PartitionKey = sdk.String(strings.Repeat("p", 257))
	for what, test := range map[string]struct {
		entries     []types.PutRecordsRequestEntry
		peer, proxy string
	}{
		"1 MiB":          {records(1, 1<<20), "", ""},
		"500 records":    {records(500, 1), "", ""},
		"501 records":    {records(501, 1), "", "ValidationException"},
		"1 MiB and 1":    {records(1, 1<<20+1), "", "ValidationException"}, // the peer fails that record, as an InvalidArgumentException
		"hash of 2^128":  {[]types.PutRecordsRequestEntry{record(1, "340282366920938463463374607431768211456")}, "InvalidArgumentException", "InvalidArgumentException"},
		"hash of -1":     {[]types.PutRecordsRequestEntry{record(1, "-1")}, "InvalidArgumentException", "InvalidArgumentException"},
		"long key":       {[]types.PutRecordsRequestEntry{long}, "InvalidArgumentException", "InvalidArgumentException"},
		"over 10 MiB":    {append(records(10, 1<<20), records(1, 1)...), "not tried: kinesis-mock takes it, for many seconds", "InvalidArgumentException"},
		"the last shard": {[]types.PutRecordsRequestEntry{record(1, "340282366920938463463374607431768211455")}, "", ""},
	} {
		if !strings.HasPrefix(test.peer, "not tried") {
			_, err := peer.put(t, name, test.entries...)
			wantCode(t, what+", peer", err, test.peer)
		}
		if test.peer != test.proxy {
			_, err := lawful.put(t, name, test.entries...)
			wantCode(t, what+", proxy", err, test.proxy)
		}
	}
}

// kinesis-mock takes whatever comes; behind the proxy a shard takes 1,000 records and 1 MiB in a second, and tells of each record
// beyond that.
func TestKinesisWriteLimitsConform(t *testing.T) {
	t.Parallel()
	endpoint := endpointOf(t, kinesisVariable)
	peer, lawful := clientsOf(endpoint), before(t, endpoint, KinesisWriteLimits())
	name := peer.stream(t, 2)
	put := func(entries ...types.PutRecordsRequestEntry) (failed []int) {
		t.Helper()
		out, err := lawful.put(t, name, entries...)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range out.Records {
			switch code := sdk.ToString(r.ErrorCode); {
			case code == throughputExceeded && r.SequenceNumber == nil && r.ShardId == nil:
				failed = append(failed, i)
			case code != "" || r.SequenceNumber == nil:
				t.Errorf("record %d: %q, sequence number %v", i, code, r.SequenceNumber)
			}
		}
		if int(*out.FailedRecordCount) != len(failed) {
			t.Errorf("FailedRecordCount %d, but %d failed", *out.FailedRecordCount, len(failed))
		}
		return failed
	}
	wantFailed := func(what string, got []int, want ...int) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: failed are %v, want %v", what, got, want)
		}
	}
	const other = "340282366920938463463374607431768211455"
	wantFailed("a second's bytes", put(records(4, 1<<18-1)...))
	wantFailed("one more for each shard", put(record(1<<18, "0"), record(1<<18, other)), 0)
	lawful.clock.Advance(time.Second)
	wantFailed("all throttled but what fits", put(records(5, 1<<18-1)...), 4)
	lawful.clock.Advance(time.Second)
	wantFailed("a second later", put(record(1<<18, "0")))
	lawful.clock.Advance(time.Second)
	wantFailed("500", put(records(500, 1)...))
	wantFailed("499", put(records(499, 1)...))
	wantFailed("two more", put(records(2, 1)...), 1)

	// After a split both halves have the limit each.
	_, err := peer.kinesis.SplitShard(t.Context(), &kinesis.SplitShardInput{
		StreamName: &name, ShardToSplit: sdk.String(firstShard), NewStartingHashKey: sdk.String(halfOfFirst),
	})
	if err != nil {
		t.Fatal(err)
	}
	peer.awaitActive(t, name)
	lawful.clock.Advance(time.Second)
	wantFailed("as one shard yet", put(record(1, "0"), record(1, halfOfFirst)))
	wantFailed("as two", put(record(1<<20-2, "0"), record(1<<20-2, halfOfFirst)))
}

// kinesis-mock may be read as often and as much as one likes; behind the proxy a shard gives 5 answers and 2 MiB a second.
func TestKinesisReadLimitsConform(t *testing.T) {
	t.Parallel()
	endpoint := endpointOf(t, kinesisVariable)
	peer, lawful := clientsOf(endpoint), before(t, endpoint, KinesisReadLimits())
	name := peer.stream(t, 1)
	iterator := lawful.horizon(t, name, firstShard)
	read := func(what, code string) {
		t.Helper()
		out, err := lawful.get(t, iterator)
		wantCode(t, what, err, code)
		if err == nil {
			iterator = *out.NextShardIterator
		}
	}
	for range 5 {
		read("one of five", "")
	}
	read("the sixth", throughputExceeded)
	lawful.clock.Advance(time.Second)
	peer.mustPut(t, name, records(3, 1<<20)...)
	read("3 MiB", "")
	lawful.clock.Advance(1400 * time.Millisecond)
	read("1.4 s later", throughputExceeded)
	lawful.clock.Advance(200 * time.Millisecond)
	read("1.6 s later", "")
}

// Where reading begins, and how it ends on a closed shard.
func TestKinesisPositionsConform(t *testing.T) {
	t.Parallel()
	peer := clientsOf(endpointOf(t, kinesisVariable))
	name := peer.stream(t, 2)
	first := peer.mustPut(t, name, records(1, 1)...)[0]
	second := peer.mustPut(t, name, records(1, 2)...)[0]
	out, err := peer.get(t, peer.horizon(t, name, firstShard))
	if err != nil {
		t.Fatal(err)
	}
	at := out.Records[1].ApproximateArrivalTimestamp
	sequence := types.ShardIteratorTypeAtSequenceNumber
	for what, test := range map[string]struct {
		in   kinesis.GetShardIteratorInput
		code string
		want string // lengths of the records
	}{
		"horizon":       {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeTrimHorizon}, "", "[1 2]"},
		"latest":        {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeLatest}, "", "[]"},
		"at":            {kinesis.GetShardIteratorInput{ShardIteratorType: sequence, StartingSequenceNumber: second.SequenceNumber}, "", "[2]"},
		"after":         {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: first.SequenceNumber}, "", "[2]"},
		"timestamp":     {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: at}, "", "[2]"},
		"never there":   {kinesis.GetShardIteratorInput{ShardIteratorType: sequence, StartingSequenceNumber: sdk.String(*second.SequenceNumber + "1")}, "ResourceNotFoundException", ""},
		"the future":    {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: sdk.Time(time.Now().Add(time.Hour))}, "InvalidArgumentException", ""},
		"no such shard": {kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeLatest, ShardId: sdk.String("shardId-000000000009")}, "ResourceNotFoundException", ""},
	} {
		test.in.StreamName = &name
		if test.in.ShardId == nil {
			test.in.ShardId = sdk.String(firstShard)
		}
		iterator, err := peer.iterator(t, test.in)
		wantCode(t, what, err, test.code)
		if err != nil {
			continue
		}
		out, err := peer.get(t, iterator)
		if err != nil {
			t.Fatal(err)
		}
		lengths := []int{}
		for _, r := range out.Records {
			lengths = append(lengths, len(r.Data))
		}
		if fmt.Sprint(lengths) != test.want {
			t.Errorf("%s: records of %v bytes, want %s", what, lengths, test.want)
		}
	}
}

// Parents and children, and the end of a closed shard.
func TestKinesisReshardingConforms(t *testing.T) {
	t.Parallel()
	peer := clientsOf(endpointOf(t, kinesisVariable))
	name := peer.stream(t, 2)
	peer.mustPut(t, name, records(1, 1)...)
	_, err := peer.kinesis.SplitShard(t.Context(), &kinesis.SplitShardInput{
		StreamName: &name, ShardToSplit: sdk.String(firstShard), NewStartingHashKey: sdk.String(halfOfFirst),
	})
	if err != nil {
		t.Fatal(err)
	}
	peer.awaitActive(t, name)
	out, err := peer.get(t, peer.horizon(t, name, firstShard))
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Records) != 1 || out.NextShardIterator != nil || len(out.ChildShards) != 2 {
		t.Errorf("end of the parent: %d records, next iterator %v, %d children", len(out.Records), out.NextShardIterator, len(out.ChildShards))
	}
	low, high := "shardId-000000000002", "shardId-000000000003"
	_, err = peer.kinesis.MergeShards(t.Context(), &kinesis.MergeShardsInput{StreamName: &name, ShardToMerge: &low, AdjacentShardToMerge: &high})
	if err != nil {
		t.Fatal(err)
	}
	peer.awaitActive(t, name)
	got, pages, in := "", 0, &kinesis.ListShardsInput{StreamName: &name, MaxResults: sdk.Int32(2)}
	for in != nil {
		out, err := peer.kinesis.ListShards(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range out.Shards {
			end := sdk.ToString(s.SequenceNumberRange.EndingSequenceNumber)
			got += fmt.Sprintf("%s(%s,%s)%s ", tail(*s.ShardId), tail(sdk.ToString(s.ParentShardId)), tail(sdk.ToString(s.AdjacentParentShardId)), end)
		}
		pages++
		if in = nil; out.NextToken != nil {
			in = &kinesis.ListShardsInput{NextToken: out.NextToken, MaxResults: sdk.Int32(2)}
		}
	}
	// The end of a closed shard is 2^63 − 1, which is no sequence number at all: AWS tells the last one.
	const end = "9223372036854775807"
	if want := "0(,)" + end + " 1(,) 2(0,)" + end + " 3(0,)" + end + " 4(2,3) "; got != want || pages != 3 {
		t.Errorf("shards, in %d pages:\n%s\nwant, in 3:\n%s", pages, got, want)
	}
}

// tail is the number of a shard.
func tail(shard string) string {
	if shard == "" {
		return ""
	}
	return shard[len(shard)-1:]
}

// An iterator that is no iterator makes kinesis-mock fail, where AWS says InvalidArgumentException.
func TestKinesisIteratorConforms(t *testing.T) {
	t.Parallel()
	peer := clientsOf(endpointOf(t, kinesisVariable))
	_, err := peer.get(t, "AAAA")
	if status, _ := seen(err); status != http.StatusInternalServerError {
		t.Errorf("%v", err)
	}
}
