package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"penstock/ingest"
	"penstock/schemas"
)

// class is what ingest makes of an error: nil is stored, and final is anything that bears no class.
var errFinal = errors.New("final")

func classOf(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ingest.ErrAmbiguous):
		return ingest.ErrAmbiguous
	case errors.Is(err, ingest.ErrThrottled):
		return ingest.ErrThrottled
	default:
		return errFinal
	}
}

func someRecords(n int) []ingest.Record {
	records := make([]ingest.Record, n)
	for i := range records {
		records[i] = ingest.Record{PartitionKey: "p", Data: []byte{byte(i)}}
	}
	return records
}

// Each record's fate is its own.
func TestPutTellsEveryRecordsFate(t *testing.T) {
	t.Parallel()
	stored := map[string]any{"SequenceNumber": "1", "ShardId": "s", "ErrorCode": nil}
	failed := func(code string) map[string]any { return map[string]any{"ErrorCode": code, "ErrorMessage": "because"} }
	results := []any{
		stored,
		failed("ProvisionedThroughputExceededException"),
		failed("InternalFailure"),
		failed("KMSThrottlingException"),
		failed("KMSDisabledException"),
		failed("KMSAccessDeniedException"),
		failed("KMSInvalidStateException"),
		failed("KMSNotFoundException"),
		failed("SomethingNew"),
		map[string]any{},
		stored,
	}
	want := []error{
		nil, ingest.ErrThrottled, ingest.ErrAmbiguous, ingest.ErrThrottled, errFinal, errFinal, errFinal, errFinal,
		ingest.ErrAmbiguous, ingest.ErrAmbiguous, nil,
	}
	st := newStub(1)
	st.answer = answering("PutRecords", 200, map[string]any{"FailedRecordCount": 9, "Records": results})
	errs := NewStream(st.client(), stubStream).Put(t.Context(), someRecords(len(results)))
	for i := range want {
		if got := classOf(errs[i]); !errors.Is(got, want[i]) {
			t.Errorf("record %d, %v: %v, want %v", i, results[i], errs[i], want[i])
		}
	}
}

// Whatever ends a whole call is the fate of each of its records, and the call is made once.
func TestPutWholeCall(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int // 0: no answer
		body   any
		want   error
	}{
		"throttled":            {400, failure("ProvisionedThroughputExceededException", ""), ingest.ErrThrottled},
		"limit exceeded":       {400, failure("LimitExceededException", ""), ingest.ErrThrottled},
		"KMS throttled":        {400, failure("KMSThrottlingException", ""), ingest.ErrThrottled},
		"KMS disabled":         {400, failure("KMSDisabledException", ""), errFinal},
		"denied":               {400, failure("AccessDeniedException", ""), errFinal},
		"expired":              {400, failure("ExpiredTokenException", ""), errFinal},
		"no stream":            {400, failure("ResourceNotFoundException", ""), errFinal},
		"invalid":              {400, failure("ValidationException", ""), errFinal},
		"internal":             {500, failure("InternalFailure", ""), ingest.ErrAmbiguous},
		"unavailable":          {503, failure("ServiceUnavailable", ""), ingest.ErrAmbiguous},
		"gateway":              {502, "<html>", ingest.ErrAmbiguous},
		"cut":                  {200, `{"FailedRecordCount":0,"Records":[{"Sequ`, ingest.ErrAmbiguous},
		"no answer":            {0, nil, ingest.ErrAmbiguous},
		"empty answer":         {200, ``, ingest.ErrAmbiguous},
		"an answer of nothing": {200, `{}`, ingest.ErrAmbiguous},
		"too few answers": {200, map[string]any{"Records": []any{
			map[string]any{"SequenceNumber": "1", "ShardId": "s"}, map[string]any{"SequenceNumber": "2", "ShardId": "s"},
		}}, ingest.ErrAmbiguous},
		"too many answers": {200, map[string]any{"Records": []any{
			map[string]any{"SequenceNumber": "1", "ShardId": "s"}, map[string]any{"SequenceNumber": "2", "ShardId": "s"},
			map[string]any{"SequenceNumber": "3", "ShardId": "s"}, map[string]any{"SequenceNumber": "4", "ShardId": "s"},
		}}, ingest.ErrAmbiguous},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStub(1)
			st.answer = answering("PutRecords", test.status, test.body)
			client := st.client(func(o *kinesis.Options) { o.RetryMaxAttempts = 5 })
			for i, err := range NewStream(client, stubStream).Put(t.Context(), someRecords(3)) {
				if !errors.Is(classOf(err), test.want) {
					t.Errorf("record %d: %v, want %v", i, err, test.want)
				}
			}
			if n := st.count("PutRecords"); n != 1 {
				t.Errorf("%d calls were made", n)
			}
		})
	}
}

// A record goes to the shard of its own hash key, and one that is too large takes no other's result.
func TestPutSendsHashKeys(t *testing.T) {
	t.Parallel()
	st := newStub(2)
	low, high := schemas.HashKey{}, schemas.MaxHashKey
	errs := NewStream(st.client(), stubStream).Put(t.Context(), []ingest.Record{
		{PartitionKey: "p", HashKey: low, Data: []byte("a")},
		{PartitionKey: "p", HashKey: high, Data: make([]byte, maxRecord)},
		{PartitionKey: "p", HashKey: high, Data: []byte("b")},
		{PartitionKey: "p", HashKey: low, Data: []byte("c")},
	})
	if errs[0] != nil || !errors.Is(errs[1], errRecordTooLarge) || errs[2] != nil || errs[3] != nil {
		t.Errorf("%v", errs)
	}
	for i, want := range []string{"ac", "b"} {
		var got string
		for _, r := range st.shards[i].records {
			got += string(r.data)
		}
		if got != want {
			t.Errorf("shard %d has %q, want %q", i, got, want)
		}
	}
}

// Kinesis that does not answer is given up when the flight's time is over, with doubt.
func TestPutEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		st.answer = func(ctx context.Context, _ string, _ map[string]any) (int, any, bool) {
			<-ctx.Done()
			return 0, nil, true
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		errs := NewStream(st.client(), stubStream).Put(ctx, someRecords(2))
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("it took %s", took)
		}
		for _, err := range errs {
			if !errors.Is(err, ingest.ErrAmbiguous) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		}
	})
}

// keeper is an HTTP client that has sent half of its request when that is given up, and goes on afterwards.
type keeper struct {
	cancel context.CancelFunc
	sent   bytes.Buffer
	body   io.ReadCloser
}

func (k *keeper) Do(r *http.Request) (*http.Response, error) {
	k.body = r.Body
	if _, err := io.CopyN(&k.sent, r.Body, r.ContentLength/2); err != nil {
		return nil, err
	}
	k.cancel()
	return nil, r.Context().Err()
}

// A request that goes on in the background has nothing to send but the records as they were, whatever their memory is used for
// since.
func TestPutKeepsNoReference(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	k := &keeper{cancel: cancel}
	client := newStub(1).client(func(o *kinesis.Options) { o.HTTPClient = k })
	data := bytes.Repeat([]byte("as it was"), 100_000)
	errs := NewStream(client, stubStream).Put(ctx, []ingest.Record{{PartitionKey: "p", Data: data}})
	if !errors.Is(errs[0], ingest.ErrAmbiguous) {
		t.Fatal(errs[0])
	}
	whole := base64.StdEncoding.EncodeToString(data)
	clear(data)
	_, _ = k.sent.ReadFrom(k.body) // the client may have closed it
	if _, sent, ok := strings.Cut(k.sent.String(), `"Data":"`); !ok || !strings.HasPrefix(whole+`"`, sent[:min(len(sent), len(whole))]) {
		t.Errorf("sent %d bytes that are not the record's", k.sent.Len())
	}
}

// The body that we write says what the SDK's own would, and goes under the same head.
func TestPutBodyIsTheSDKs(t *testing.T) {
	t.Parallel()
	key := schemas.HashKeyOf("k").String()
	in := &kinesis.PutRecordsInput{StreamName: sdk.String(stubStream)}
	for _, partitionKey := range []string{"p", "\"\\\n<ß\u2028 ", strings.Repeat("k", 256)} {
		for _, data := range [][]byte{{}, {0}, []byte("ab"), bytes.Repeat([]byte{255, 254}, 1000)} {
			in.Records = append(in.Records, types.PutRecordsRequestEntry{Data: data, PartitionKey: &partitionKey, ExplicitHashKey: &key})
		}
	}
	send := func(change func(*kinesis.Options)) (http.Header, map[string]any) {
		var head http.Header
		var body map[string]any
		client := newStub(1).client(change, func(o *kinesis.Options) {
			o.HTTPClient = doer(func(r *http.Request) (*http.Response, error) {
				head = r.Header.Clone()
				return nil, json.NewDecoder(r.Body).Decode(&body)
			})
		}, func(o *kinesis.Options) { o.Retryer = once() })
		_, _ = client.PutRecords(t.Context(), in) // there is no answer
		for _, differs := range []string{"Authorization", "X-Amz-Date", "Amz-Sdk-Invocation-Id"} {
			head.Del(differs)
		}
		return head, body
	}
	wantHead, want := send(func(*kinesis.Options) {})
	head, body := send(func(o *kinesis.Options) { o.Protocol = putProtocol{o.Protocol} })
	if len(want) != 2 || !reflect.DeepEqual(body, want) {
		t.Errorf("body %.300v, want %.300v", body, want)
	}
	if !reflect.DeepEqual(head, wantHead) {
		t.Errorf("head %v, want %v", head, wantHead)
	}
}

// BenchmarkPut is the way of a flight through the SDK to a server in this process: full aggregates of 1 KB events.
func BenchmarkPut(b *testing.B) {
	const records, events = 4, 200 // 1 MB, about what a shard takes a second
	body := strings.Repeat(`{"SequenceNumber":"49590338271490256608559692538361571095921575989136588898","ShardId":"shardId-000000000000"},`, records)
	answer := []byte(`{"FailedRecordCount":0,"Records":[` + body[:len(body)-1] + `]}`)
	client := newStub(1).client(func(o *kinesis.Options) { o.HTTPClient = discard(answer) })
	stream := NewStream(client, stubStream)
	flight := make([]ingest.Record, records)
	for i := range flight {
		flight[i] = ingest.Record{PartitionKey: "p", Data: make([]byte, events<<10)}
	}
	b.SetBytes(records * events << 10)
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range stream.Put(b.Context(), flight) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*records*events)/b.Elapsed().Seconds(), "events/s")
}

// discard answers every request with 200 and itself.
type discard []byte

func (d discard) Do(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(d)), Header: http.Header{}}, nil
}
