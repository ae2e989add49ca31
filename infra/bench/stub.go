package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"google.golang.org/protobuf/encoding/protowire"
)

// stubShards are as many as Kinesis would want for what is sent here: 1 MB/s each.
const stubShards = 64

const countsPath = "/counts"

// stub stands for AWS as far as a front end needs it to start and to put events: Kinesis that takes 10 ms for a PutRecords,
// tables and a bucket that are there. It runs on the cores that it helps to measure, so it parses no more than it counts, and
// forgets everything.
type stub struct {
	answers map[string][]byte // by X-Amz-Target, without the date of the API
	calls   atomic.Int64
	records atomic.Int64
	events  atomic.Int64
}

// stubCounts are what has been put.
type stubCounts struct {
	Calls   int64 `json:"calls"`
	Records int64 `json:"records"`
	Events  int64 `json:"events"`
}

// serveStub ends when its standard input does.
func serveStub(stdin io.Reader, stdout io.Writer) error {
	s := &stub{answers: stubAnswers()}
	server := &fasthttp.Server{Handler: s.serve, MaxRequestBodySize: 16 << 20, ReadBufferSize: 16 << 10}
	return serveUntil(stdin, stdout, server.Serve, server.Shutdown)
}

func (s *stub) serve(ctx *fasthttp.RequestCtx) {
	_, operation, isJSON := strings.Cut(string(ctx.Request.Header.Peek("X-Amz-Target")), ".")
	switch {
	case operation == "PutRecords":
		s.put(ctx)
	case operation == "DescribeTable":
		ctx.SetBody(describeTable(ctx.PostBody()))
	case isJSON && s.answers[operation] != nil:
		ctx.SetBody(s.answers[operation])
	case isJSON:
		ctx.SetStatusCode(http.StatusBadRequest)
		ctx.SetBodyString(`{"__type":"UnknownOperationException"}`)
	case string(ctx.Path()) == countsPath:
		ctx.SetBody(encode(stubCounts{s.calls.Load(), s.records.Load(), s.events.Load()}))
	case ctx.QueryArgs().Has("list-type"): // of S3: the bucket is there, and empty
		ctx.SetBodyString(`<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>`)
	default:
		ctx.SetStatusCode(http.StatusNotFound)
	}
}

// put counts what comes and answers when a round trip is over.
func (s *stub) put(ctx *fasthttp.RequestCtx) {
	due := time.Now().Add(roundTrip)
	records, events, err := countRecords(ctx.PostBody())
	if err != nil {
		ctx.SetStatusCode(http.StatusBadRequest)
		ctx.SetBody(encode(map[string]string{"__type": "ValidationException", "message": err.Error()}))
		return
	}
	before := s.records.Add(int64(records)) - int64(records)
	s.calls.Add(1)
	s.events.Add(int64(events))
	answer := make([]byte, 0, 64+128*records)
	answer = append(answer, `{"FailedRecordCount":0,"Records":[`...)
	for i := range records {
		if i > 0 {
			answer = append(answer, ',')
		}
		// A sequence number has 56 digits.
		answer = append(answer, `{"ShardId":"shardId-000000000000","SequenceNumber":"4959033827149025660855969253836`...)
		answer = strconv.AppendInt(answer, 1_000_000_000_000_000_000+before+int64(i), 10)
		answer = append(answer, `"}`...)
	}
	answer = append(answer, `]}`...)
	if err := waitUntil(context.Background(), due); err != nil {
		ctx.SetStatusCode(http.StatusServiceUnavailable)
		return
	}
	ctx.Response.SetBodyRaw(answer)
}

// countRecords counts the records of a PutRecords and the events in them, which are aggregated in KPL's format. Data in base64
// has no quote, so its end is found without reading the rest.
func countRecords(body []byte) (records, events int, err error) {
	const name = `"Data":"`
	for {
		at := bytes.Index(body, []byte(name))
		if at < 0 {
			return records, events, nil
		}
		body = body[at+len(name):]
		end := bytes.IndexByte(body, '"')
		if end < 0 {
			return 0, 0, errors.New("data without an end")
		}
		n, err := countEvents(body[:end])
		if err != nil {
			return 0, 0, fmt.Errorf("record %d: %w", records, err)
		}
		records, events, body = records+1, events+n, body[end:]
	}
}

// countEvents counts the sub-records of an aggregate without decoding more of it than their heads
// (https://github.com/awslabs/kinesis-aggregation/blob/master/kpl-aggregation-format.md). The checksum is not looked at.
func countEvents(encoded []byte) (events int, err error) {
	const magic, checksum = "\xf3\x89\x9a\xc2", 16
	size := len(encoded) / 4 * 3
	if bytes.HasSuffix(encoded, []byte("==")) {
		size -= 2
	} else if bytes.HasSuffix(encoded, []byte("=")) {
		size--
	}
	var window [12]byte // of what begins at a byte of the record: a tag of one byte, and a length of up to five
	at := 0
	look := func() ([]byte, error) {
		first := at / 3 * 4
		text := encoded[first:min(first+16, len(encoded))]
		n, err := base64.StdEncoding.Decode(window[:], text)
		return window[min(at%3, n):n], err
	}
	head, err := look()
	if err != nil || !bytes.HasPrefix(head, []byte(magic)) {
		return 0, fmt.Errorf("not an aggregate: %w", errors.Join(err))
	}
	for at = len(magic); at < size-checksum; {
		if head, err = look(); err != nil {
			return 0, fmt.Errorf("base64: %w", err)
		}
		number, kind, n := protowire.ConsumeTag(head)
		if n < 0 || kind != protowire.BytesType {
			return 0, errors.New("not an aggregate: a field that is no bytes")
		}
		length, m := protowire.ConsumeVarint(head[n:])
		if m < 0 || length > uint64(size) {
			return 0, errors.New("not an aggregate: a length that is none")
		}
		if number == 3 {
			events++
		}
		at += n + m + int(length)
	}
	if at != size-checksum {
		return 0, errors.New("not an aggregate: the last field does not end where it should")
	}
	return events, nil
}

// stubAnswers are those that are always the same.
func stubAnswers() map[string][]byte {
	width := new(big.Int).Lsh(big.NewInt(1), 128)
	width.Div(width, big.NewInt(stubShards))
	var shards []any
	first := new(big.Int)
	for i := range stubShards {
		next := new(big.Int).Add(first, width)
		shards = append(shards, map[string]any{
			"ShardId":             fmt.Sprintf("shardId-%012d", i),
			"HashKeyRange":        map[string]string{"StartingHashKey": first.String(), "EndingHashKey": new(big.Int).Sub(next, big.NewInt(1)).String()},
			"SequenceNumberRange": map[string]string{"StartingSequenceNumber": "1"},
		})
		first = next
	}
	return map[string][]byte{
		"DescribeStreamSummary": encode(map[string]any{"StreamDescriptionSummary": map[string]any{
			"StreamName": "penstock", "StreamARN": "arn:aws:kinesis:eu-central-1:000000000000:stream/penstock",
			"StreamStatus": "ACTIVE", "RetentionPeriodHours": 168, "OpenShardCount": stubShards,
		}}),
		"ListShards":         encode(map[string]any{"Shards": shards}),
		"GetShardIterator":   []byte(`{"ShardIterator":"none"}`),
		"DescribeTimeToLive": []byte(`{"TimeToLiveDescription":{"TimeToLiveStatus":"ENABLED","AttributeName":"x"}}`),
	}
}

// describeTable has the keys that a table of that name has in a deployment with the defaults.
func describeTable(body []byte) []byte {
	var in struct{ TableName string }
	names := []string{"id"}
	if err := json.Unmarshal(body, &in); err == nil && strings.HasSuffix(in.TableName, "-state") {
		names = []string{"pk", "sk"}
	}
	var keys, attributes []any
	for i, name := range names {
		keys = append(keys, map[string]string{"AttributeName": name, "KeyType": []string{"HASH", "RANGE"}[i]})
		attributes = append(attributes, map[string]string{"AttributeName": name, "AttributeType": "S"})
	}
	return encode(map[string]any{"Table": map[string]any{
		"TableName": in.TableName, "TableStatus": "ACTIVE", "KeySchema": keys, "AttributeDefinitions": attributes,
	}})
}

// fetchCounts asks the stub.
func fetchCounts(ctx context.Context, address string) (counts stubCounts, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+countsPath, nil)
	if err != nil {
		return counts, fmt.Errorf("ask the stub: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return counts, fmt.Errorf("ask the stub: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if err := json.NewDecoder(res.Body).Decode(&counts); err != nil {
		return counts, fmt.Errorf("ask the stub: %w", err)
	}
	return counts, nil
}
