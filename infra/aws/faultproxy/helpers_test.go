package faultproxy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// proxied is a proxy that listens, and clients that speak through it and never repeat anything by themselves.
type proxied struct {
	*Proxy
	clock    *ManualClock
	kinesis  *kinesis.Client
	dynamodb *dynamodb.Client
	s3       *s3.Client
	glue     *glue.Client
}

// before puts a proxy with a clock that stands still before the target.
func before(t *testing.T, target string, laws ...Law) *proxied {
	t.Helper()
	clock := NewManualClock()
	proxy, err := New(Config{Target: target, Seed: 1, Clock: clock, Laws: laws})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(func() { proxy.Close(); server.Close() })
	p := clientsOf(server.URL)
	p.Proxy, p.clock = proxy, clock
	return p
}

// clientsOf are the clients of one endpoint. In the environment of a peer they have the credentials for it.
func clientsOf(endpoint string) *proxied {
	key, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if key == "" || secret == "" {
		key, secret = "id", "secret"
	}
	cfg := sdk.Config{
		Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
		Retryer: func() sdk.Retryer { return sdk.NopRetryer{} }, HTTPClient: &http.Client{Transport: plainBodies{&http.Transport{}}},
	}
	return &proxied{
		kinesis: kinesis.NewFromConfig(cfg), dynamodb: dynamodb.NewFromConfig(cfg), glue: glue.NewFromConfig(cfg),
		s3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
	}
}

// plainBodies hides WriteTo of the SDK's request bodies. Theirs says io.EOF once the SDK has closed it, which it does at an answer
// (smithy-go 1.28.9, safeWriteToReadCloser); when that comes before the transport has looked for the body's end, the transport
// takes it for a failed write and cuts the connection while the answer is read.
type plainBodies struct{ http.RoundTripper }

func (p plainBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return p.RoundTripper.RoundTrip(r)
	}
	plain := *r
	plain.Body = struct{ io.ReadCloser }{r.Body}
	return p.RoundTripper.RoundTrip(&plain)
}

// backend is a peer that answers everything with the same body, and keeps what it got.
type backend struct {
	url  string
	mu   sync.Mutex
	got  []string // bodies
	host string
}

func newBackend(t *testing.T, answer func(body string) string) *backend {
	t.Helper()
	b := &backend{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		b.mu.Lock()
		b.got = append(b.got, string(body))
		b.host = r.Host
		b.mu.Unlock()
		if _, err := io.WriteString(w, answer(string(body))); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

func (b *backend) landed() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.got...)
}

// endpointOf a real peer, by the SDK's own variable. Without one the test is skipped, but fails where conformance is wanted.
func endpointOf(t *testing.T, variable string) string {
	t.Helper()
	endpoint := os.Getenv(variable)
	switch {
	case endpoint != "":
	case os.Getenv("PENSTOCK_CONFORMANCE") != "":
		t.Fatalf("%s is not set: start the peers by `make conformance`", variable)
	default:
		t.Skipf("%s is not set: `make conformance` runs this", variable)
	}
	return endpoint
}

// await calls until done, for ten seconds.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, ctx.Err())
		}
	}
}
