package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
)

const stubStream = "events"

// stub speaks Kinesis' wire protocol (JSON 1.1) to a client in the same process, without a network, so that tests can have their
// own time. It holds what readers have to the documented limits of a shard: 5 calls and 2 MB a second.
type stub struct {
	// answer, if it is not nil and handled is true, goes before what the stub would do. It may wait.
	answer func(ctx context.Context, op string, in map[string]any) (status int, body any, handled bool)
	// clock is how far the server's clock is ahead of ours.
	clock time.Duration
	// late is how long a GetRecords takes after it has looked, and before it tells the time.
	late time.Duration
	// most is how many records a GetRecords gives at most, whatever was asked for; 0: as many as were.
	most int
	// listPage is how many shards a page of ListShards has.
	listPage int
	// listings, if there are any, are given by ListShards in turn; the last one stays.
	listings [][]*stubShard

	mu     sync.Mutex
	shards []*stubShard
	calls  map[string]int
	status string
	hours  int
	tokens map[string][]*stubShard
}

type stubShard struct {
	id, parent, adjacent string
	first, last          string // decimal
	closed               bool
	records              []stubRecord
	trimmed              int // how many of the oldest are gone
	empties              int // empty answers yet to come, with time behind the tip
	behind               time.Duration

	recent    []time.Time // of calls
	debtUntil time.Time
	refused   int
	largest   int // bytes of the largest answer
}

type stubRecord struct {
	sequence string
	arrived  time.Time
	data     []byte
}

func newStub(shards int) *stub {
	st := &stub{listPage: 1000, calls: map[string]int{}, status: "ACTIVE", hours: 168, tokens: map[string][]*stubShard{}}
	space := new(big.Int).Lsh(big.NewInt(1), 128)
	bound := func(i int) *big.Int {
		return new(big.Int).Div(new(big.Int).Mul(space, big.NewInt(int64(i))), big.NewInt(int64(shards)))
	}
	for i := range shards {
		st.shards = append(st.shards, &stubShard{
			id: shardName(i), first: bound(i).String(), last: new(big.Int).Sub(bound(i+1), big.NewInt(1)).String(),
		})
	}
	return st
}

func shardName(i int) string { return fmt.Sprintf("shardId-%012d", i) }

// sequenceOf is a number as long as Kinesis' are.
func sequenceOf(i int) string {
	return fmt.Sprintf("4959033827149025660855969253836157109592157598%010d", i)
}

func (st *stub) client(change ...func(*kinesis.Options)) *kinesis.Client {
	return kinesis.New(kinesis.Options{
		Region: "eu-central-1", HTTPClient: st, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	}, change...)
}

// put appends a record that arrives now.
func (st *stub) put(shard int, data []byte) string { return st.putAt(shard, data, time.Now()) }

func (st *stub) putAt(shard int, data []byte, arrived time.Time) string {
	st.mu.Lock()
	defer st.mu.Unlock()
	sh := st.shards[shard]
	sh.records = append(sh.records, stubRecord{sequenceOf(len(sh.records)), arrived.Add(st.clock), data})
	return sh.records[len(sh.records)-1].sequence
}

func (st *stub) count(op string) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.calls[op]
}

func (st *stub) shard(i int, do func(*stubShard)) {
	st.mu.Lock()
	defer st.mu.Unlock()
	do(st.shards[i])
}

// split closes a shard and opens two in its place.
func (st *stub) split(id string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	parent := st.find(id)
	parent.closed = true
	first, _ := new(big.Int).SetString(parent.first, 10)
	last, _ := new(big.Int).SetString(parent.last, 10)
	half := new(big.Int).Rsh(new(big.Int).Add(first, last), 1)
	n := len(st.shards)
	st.shards = append(st.shards,
		&stubShard{id: shardName(n), parent: id, first: parent.first, last: half.String()},
		&stubShard{id: shardName(n + 1), parent: id, first: half.Add(half, big.NewInt(1)).String(), last: parent.last},
	)
}

// Do is the client's HTTP.
func (st *stub) Do(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var in map[string]any
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	op := r.Header.Get("X-Amz-Target")[len("Kinesis_20131202."):]
	if got := r.Header.Get("Content-Type"); got != "application/x-amz-json-1.1" {
		return nil, errors.New("not the protocol of this stub: " + got)
	}
	st.mu.Lock()
	st.calls[op]++
	st.mu.Unlock()
	status, body, handled := 0, any(nil), false
	if st.answer != nil {
		status, body, handled = st.answer(r.Context(), op, in)
	}
	if !handled {
		status, body = st.serve(op, in)
	}
	if op == "GetRecords" && st.late > 0 && pause(r.Context(), st.late) != nil {
		status = 0
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if status == 0 {
		return nil, &http.MaxBytesError{} // anything that is no answer
	}
	out, err := json.Marshal(body)
	if s, ok := body.(string); ok {
		out, err = []byte(s), nil
	}
	return &http.Response{
		StatusCode: status, Body: io.NopCloser(bytes.NewReader(out)), Request: r,
		Header: http.Header{"Date": {time.Now().Add(st.clock).UTC().Format(http.TimeFormat)}},
	}, err
}

func failure(code, message string) map[string]any {
	return map[string]any{"__type": code, "message": message}
}

func (st *stub) serve(op string, in map[string]any) (status int, body any) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if name, ok := in["StreamName"]; ok && name != stubStream {
		return 400, failure("ResourceNotFoundException", "Stream "+fmt.Sprint(name)+" under account 1 not found.")
	}
	if in["DryRun"] == true {
		return 400, failure("DryRunOperationException", "would have succeeded")
	}
	switch op {
	case "ListShards":
		return st.list(in)
	case "PutRecords":
		return st.putRecords(in)
	case "GetShardIterator":
		return st.iterator(in)
	case "GetRecords":
		return st.records(in)
	case "DescribeStreamSummary":
		return 200, map[string]any{"StreamDescriptionSummary": map[string]any{
			"StreamName": stubStream, "StreamARN": "arn", "StreamStatus": st.status, "RetentionPeriodHours": st.hours, "OpenShardCount": len(st.shards),
		}}
	}
	return 400, failure("UnknownOperationException", op)
}

func (st *stub) list(in map[string]any) (int, any) {
	shards := st.shards
	if token, ok := in["NextToken"].(string); ok {
		if _, both := in["StreamName"]; both {
			return 400, failure("InvalidArgumentException", "NextToken and StreamName cannot be provided together.")
		}
		shards = st.tokens[token]
	} else if len(st.listings) > 0 {
		shards = st.listings[0]
		if len(st.listings) > 1 {
			st.listings = st.listings[1:]
		}
	}
	out := map[string]any{}
	if len(shards) > st.listPage {
		token := "token " + strconv.Itoa(len(st.tokens))
		st.tokens[token] = shards[st.listPage:]
		out["NextToken"] = token
		shards = shards[:st.listPage]
	}
	var listed []any
	for _, sh := range shards {
		sequences := map[string]any{"StartingSequenceNumber": "1"}
		if sh.closed {
			sequences["EndingSequenceNumber"] = "2"
		}
		listed = append(listed, map[string]any{
			"ShardId": sh.id, "ParentShardId": orNull(sh.parent), "AdjacentParentShardId": orNull(sh.adjacent),
			"HashKeyRange":        map[string]any{"StartingHashKey": sh.first, "EndingHashKey": sh.last},
			"SequenceNumberRange": sequences,
		})
	}
	out["Shards"] = listed
	return 200, out
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (st *stub) putRecords(in map[string]any) (int, any) {
	var results []any
	for _, r := range in["Records"].([]any) {
		key, _ := new(big.Int).SetString(r.(map[string]any)["ExplicitHashKey"].(string), 10)
		for _, sh := range st.shards {
			first, _ := new(big.Int).SetString(sh.first, 10)
			last, _ := new(big.Int).SetString(sh.last, 10)
			if !sh.closed && key.Cmp(first) >= 0 && key.Cmp(last) <= 0 {
				var data []byte
				text, _ := json.Marshal(r.(map[string]any)["Data"])
				if err := json.Unmarshal(text, &data); err != nil {
					return 400, failure("SerializationException", err.Error())
				}
				sequence := sequenceOf(len(sh.records))
				sh.records = append(sh.records, stubRecord{sequence, time.Now().Add(st.clock), data})
				results = append(results, map[string]any{"SequenceNumber": sequence, "ShardId": sh.id})
			}
		}
	}
	return 200, map[string]any{"FailedRecordCount": 0, "Records": results}
}

func (st *stub) find(id string) *stubShard {
	for _, sh := range st.shards {
		if sh.id == id {
			return sh
		}
	}
	return nil
}

// iterator is "shard|index|when it was made".
func (st *stub) iterator(in map[string]any) (int, any) {
	id := in["ShardId"].(string)
	sh := st.find(id)
	if sh == nil {
		return 400, failure("ResourceNotFoundException", "Shard "+id+" in stream events under account 1 does not exist")
	}
	at := sh.trimmed
	switch in["ShardIteratorType"] {
	case "AT_SEQUENCE_NUMBER":
		sequence := in["StartingSequenceNumber"].(string)
		if len(sequence) != len(sequenceOf(0)) {
			return 400, failure("InvalidArgumentException", "StartingSequenceNumber "+sequence+" is invalid because it did not come from this stream.")
		}
		i, _ := slices.BinarySearchFunc(sh.records, sequence, func(r stubRecord, s string) int { return strings.Compare(r.sequence, s) })
		at = max(at, i)
	case "AT_TIMESTAMP":
		since := time.UnixMilli(int64(in["Timestamp"].(float64)*1000 + 0.5))
		// The worst that may be, where times don't ascend: behind the last one that is older.
		for i := at; i < len(sh.records); i++ {
			if sh.records[i].arrived.Before(since) {
				at = i + 1
			}
		}
	case "LATEST":
		at = len(sh.records)
	}
	return 200, map[string]any{"ShardIterator": makeIterator(id, at)}
}

func makeIterator(shard string, at int) string {
	return fmt.Sprintf("%s|%d|%d", shard, at, time.Now().UnixNano())
}

func (st *stub) records(in map[string]any) (int, any) {
	parts := strings.Split(in["ShardIterator"].(string), "|")
	at, _ := strconv.Atoi(parts[1])
	made, _ := strconv.ParseInt(parts[2], 10, 64)
	now := time.Now()
	if now.Sub(time.Unix(0, made)) > 5*time.Minute {
		return 400, failure("ExpiredIteratorException", "Iterator expired.")
	}
	sh := st.find(parts[0])
	sh.recent = slices.DeleteFunc(sh.recent, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	if len(sh.recent) >= 5 || now.Before(sh.debtUntil) {
		sh.refused++
		return 400, failure("ProvisionedThroughputExceededException", "Rate exceeded for shard "+sh.id)
	}
	sh.recent = append(sh.recent, now)
	if sh.empties != 0 {
		sh.empties--
		return 200, map[string]any{"Records": []any{}, "MillisBehindLatest": sh.behind.Milliseconds(), "NextShardIterator": makeIterator(sh.id, at)}
	}
	at = max(at, sh.trimmed)
	limit := 10_000
	if l, ok := in["Limit"].(float64); ok {
		limit = int(l)
	}
	if st.most > 0 {
		limit = min(limit, st.most)
	}
	out, size := []any{}, 0
	for len(out) < limit && at < len(sh.records) && size+len(sh.records[at].data) <= 10<<20 {
		r := sh.records[at]
		size += len(r.data)
		out = append(out, map[string]any{
			"SequenceNumber": r.sequence, "Data": r.data, "PartitionKey": "p",
			"ApproximateArrivalTimestamp": float64(r.arrived.UnixMilli()) / 1000,
		})
		at++
	}
	sh.largest = max(sh.largest, size)
	sh.debtUntil = now.Add(time.Duration(float64(size) / 2e6 * float64(time.Second)))
	body := map[string]any{"Records": out, "MillisBehindLatest": 0}
	if at < len(sh.records) {
		body["MillisBehindLatest"] = max(now.Add(st.clock).Sub(sh.records[at].arrived).Milliseconds(), 0)
	}
	if !sh.closed || at < len(sh.records) {
		body["NextShardIterator"] = makeIterator(sh.id, at)
	}
	return 200, body
}

// answering makes a stub's answer to one operation.
func answering(op string, status int, body any) func(context.Context, string, map[string]any) (int, any, bool) {
	return func(_ context.Context, asked string, _ map[string]any) (int, any, bool) {
		return status, body, asked == op
	}
}

func mustContain(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%v does not say %q", err, p)
		}
	}
}
