package aws

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// A stream in order is found to be, and nothing is written to it.
func TestCheckStream(t *testing.T) {
	t.Parallel()
	st := newStub(2)
	state, err := NewStream(st.client(), stubStream).Check(t.Context())
	want := StreamState{ARN: "arn", Status: "ACTIVE", OpenShards: 2, Retention: 7 * 24 * time.Hour, WriteProven: true}
	if err != nil || state != want {
		t.Errorf("writing: %+v, %v", state, err)
	}
	want.WriteProven = false
	if state, err := NewSource(st.client(), stubStream).Check(t.Context()); err != nil || state != want {
		t.Errorf("reading: %+v, %v", state, err)
	}
	for _, sh := range st.shards {
		if len(sh.records) > 0 {
			t.Error("a probe was stored")
		}
	}
}

// A server that takes a dry run for a write is not written to; one that denies who only writes the reading, is.
func TestCheckRehearses(t *testing.T) {
	t.Parallel()
	st := newStub(1)
	st.answer = answering("GetShardIterator", 200, map[string]any{"ShardIterator": "x"})
	if state, err := NewStream(st.client(), stubStream).Check(t.Context()); err != nil || state.WriteProven || st.count("PutRecords") > 0 {
		t.Errorf("without dry runs: %+v, %v, %d writes", state, err, st.count("PutRecords"))
	}
	st.answer = answering("GetShardIterator", 400, failure("AccessDeniedException", "no"))
	if state, err := NewStream(st.client(), stubStream).Check(t.Context()); err != nil || !state.WriteProven {
		t.Errorf("write-only: %+v, %v", state, err)
	}
	st.answer = answering("PutRecords", 400, failure("AccessDeniedException", "no"))
	_, err := NewStream(st.client(), stubStream).Check(t.Context())
	mustContain(t, err, "AccessDenied", "allow kinesis:PutRecords")
}

// What is wrong is said with what to do.
func TestCheckExplains(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		op   string
		code string
		want []string
	}{
		"no such stream":       {"DescribeStreamSummary", "ResourceNotFoundException", []string{stubStream, "eu-central-1", "AWS_REGION", "create"}},
		"expired":              {"DescribeStreamSummary", "ExpiredTokenException", []string{"expired", "renew"}},
		"unknown key":          {"DescribeStreamSummary", "UnrecognizedClientException", []string{"access key", "eu-central-1"}},
		"wrong secret":         {"DescribeStreamSummary", "InvalidSignatureException", []string{"secret", "clock", "eu-central-1"}},
		"may not look":         {"DescribeStreamSummary", "AccessDeniedException", []string{"kinesis:DescribeStreamSummary"}},
		"may not list":         {"ListShards", "AccessDeniedException", []string{"kinesis:ListShards"}},
		"may not open a shard": {"GetShardIterator", "AccessDeniedException", []string{"kinesis:GetShardIterator"}},
		"may not read":         {"GetRecords", "AccessDeniedException", []string{"kinesis:GetRecords"}},
		"may not decrypt":      {"GetRecords", "KMSAccessDeniedException", []string{"kms:Decrypt"}},
		"something else":       {"GetRecords", "ValidationException", []string{"ValidationException", "kinesis:GetRecords"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStub(1)
			st.answer = answering(test.op, 400, failure(test.code, "the service's words"))
			_, err := NewSource(st.client(), stubStream).Check(t.Context())
			mustContain(t, err, append(test.want, "the service's words")...)
		})
	}
	t.Run("not active", func(t *testing.T) {
		t.Parallel()
		st := newStub(1)
		st.status = "CREATING"
		_, err := NewStream(st.client(), stubStream).Check(t.Context())
		mustContain(t, err, "CREATING", "ACTIVE")
		st.status = "UPDATING"
		if _, err := NewStream(st.client(), stubStream).Check(t.Context()); err != nil {
			t.Errorf("while it is resharded: %v", err)
		}
	})
}

// What keeps a request from its answer, too.
func TestCheckWithoutAnswer(t *testing.T) {
	t.Parallel()
	check := func(change func(*kinesis.Options)) error {
		client := newStub(1).client(change, func(o *kinesis.Options) { o.Retryer = once() })
		_, err := NewSource(client, stubStream).Check(t.Context())
		return err
	}
	mustContain(t, check(func(o *kinesis.Options) {
		o.HTTPClient, o.BaseEndpoint = &http.Client{}, sdk.String(nobodyListens)
	}), "no connection", "endpoint")
	mustContain(t, check(func(o *kinesis.Options) {
		o.Credentials = sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{}, errors.New("there are none")
		})
	}), "there are none", "AWS_ACCESS_KEY_ID")
	mustContain(t, check(func(o *kinesis.Options) {
		lookup := &net.DNSError{Err: "no such host", Name: "kinesis.xx-nowhere-1.amazonaws.com", IsNotFound: true}
		o.HTTPClient = doer(func(*http.Request) (*http.Response, error) { return nil, lookup })
	}), "region", "endpoint")
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		st.answer = func(ctx context.Context, _ string, _ map[string]any) (int, any, bool) {
			<-ctx.Done()
			return 0, nil, true
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := NewSource(st.client(), stubStream).Check(ctx)
		mustContain(t, err, "no answer in time")
	})
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }
