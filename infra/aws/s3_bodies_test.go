package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/consumer"
	"penstock/ingest"
)

var testReceived = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// transport is a client of services that are in memory.
type transport func(*http.Request) (*http.Response, error)

func (f transport) Do(r *http.Request) (*http.Response, error) { return f(r) }

// countingTransport answers every request with {}.
type countingTransport struct{ calls, bytes atomic.Int64 }

func (c *countingTransport) Do(r *http.Request) (*http.Response, error) {
	n, err := io.Copy(io.Discard, r.Body)
	c.calls.Add(1)
	c.bytes.Add(n)
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}, err
}

// An upload carries a checksum that S3 holds it against.
func TestBodyHasAChecksum(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, always(ok))
	body := denseBody(100_000)
	if _, err := NewBodies(s.Clients, "bucket").Put(t.Context(), "2ABC", testReceived, body); err != nil {
		t.Fatal(err)
	}
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	c := s.calls[0]
	if got, want := c.head.Get("X-Amz-Checksum-Crc32c"), base64.StdEncoding.EncodeToString(sum); got != want {
		t.Errorf("checksum %q, want %q; headers %v", got, want, c.head)
	}
	if c.op != "PUT /bucket/bodies/dt=2026-03-04/2ABC" || !bytes.Equal(c.body, body) {
		t.Errorf("%s of %d bytes", c.op, len(c.body))
	}
}

// A body that is damaged on its way is refused, and is not there.
func TestDamagedBody(t *testing.T) {
	t.Parallel()
	c := peers(t, s3Endpoint)
	bucket := newBucket(t, c)
	target, err := url.Parse(os.Getenv(s3Endpoint))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
		body, err := io.ReadAll(r.In.Body)
		if err != nil {
			t.Error(err)
		}
		if len(body) > 0 {
			body[len(body)/2] ^= 1
		}
		r.Out.Body = io.NopCloser(bytes.NewReader(body))
	}}
	server := httptest.NewServer(proxy)
	defer server.Close()
	options := c.S3.Options()
	options.BaseEndpoint = &server.URL
	damaging := c
	damaging.S3 = s3.New(options)
	if ref, err := NewBodies(damaging, bucket).Put(t.Context(), "2ABC", testReceived, denseBody(2_000)); err == nil {
		t.Errorf("a damaged body was stored as %s", ref)
	}
	if keys, err := bucketKeys(t.Context(), c.S3, bucket); err != nil || len(keys) > 0 {
		t.Errorf("objects %q, %v", keys, err)
	}
}

// Once Put has returned, the body is its caller's again, though the request may still be under way.
func TestBodyIsTakenBack(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	started, goOn, read := make(chan struct{}), make(chan struct{}), make(chan []byte, 1)
	over := transport(func(r *http.Request) (*http.Response, error) {
		go func() { // as net/http's own writing does
			first := make([]byte, 10)
			_, _ = io.ReadFull(r.Body, first)
			close(started)
			<-goOn
			rest, _ := io.ReadAll(r.Body)
			read <- rest
		}()
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	body := denseBody(100_000)
	put := make(chan error, 1)
	go func() {
		_, err := NewBodies(clientsOf("http://in-memory", over), "bucket").Put(ctx, "2ABC", testReceived, body)
		put <- err
	}()
	<-started
	cancel()
	if err := <-put; !errors.Is(err, ingest.ErrAmbiguous) {
		t.Errorf("Put: %v, want ErrAmbiguous", err)
	}
	close(goOn)
	clear(body) // with -race: a read of it now is found
	if rest := <-read; len(rest) > 0 {
		t.Errorf("%d bytes were read after Put had returned", len(rest))
	}
}

func TestBodyOfNoID(t *testing.T) {
	t.Parallel()
	s := newDynamoStub(t, always(ok))
	for _, id := range []string{"", ".", "..", "../x", "a/b", "a b", "ä", strings.Repeat("a", 65)} {
		if ref, err := NewBodies(s.Clients, "bucket").Put(t.Context(), id, testReceived, []byte("1")); err == nil {
			t.Errorf("Put(%q): %q", id, ref)
		}
	}
}

// Only an object that certainly is not there is not found.
func TestOpenErrors(t *testing.T) {
	t.Parallel()
	for code, notFound := range map[string]bool{"NoSuchKey": true, "NoSuchBucket": false, "AccessDenied": false} {
		s := newDynamoStub(t, always(reply{status: 404, body: "<Error><Code>" + code + "</Code></Error>"}))
		_, err := NewBodies(s.Clients, "bucket").Open(t.Context(), "s3://bucket/bodies/dt=2026-03-04/2ABC")
		if err == nil || errors.Is(err, consumer.ErrNotFound) != notFound {
			t.Errorf("%s: %v, not found: %v", code, err, !notFound)
		}
	}
}

// silentBody gives some bytes at every Read, as often as it says, and then nothing until its request ends.
type silentBody struct {
	ctx  context.Context
	left int
}

func (b *silentBody) Read(p []byte) (int, error) {
	if b.left--; b.left >= 0 && b.ctx.Err() == nil {
		return copy(p, "some"), nil
	}
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

func (b *silentBody) Close() error { return nil }

// A store that stops sending ends the reading; a reader that takes its time does not.
func TestSilentStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const reads = 3
		over := transport(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: &silentBody{ctx: r.Context(), left: reads}, Request: r}, nil
		})
		r, err := NewBodies(clientsOf("http://in-memory", over), "bucket").Open(t.Context(), "s3://bucket/bodies/dt=2026-03-04/2ABC")
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 10)
		for range reads {
			<-time.After(2 * silence)
			if n, err := r.Read(p); string(p[:n]) != "some" || err != nil {
				t.Errorf("Read after a while: %q, %v", p[:n], err)
			}
		}
		start := time.Now()
		if n, err := r.Read(p); n != 0 || !errors.Is(err, errSilent) || time.Since(start) != silence {
			t.Errorf("Read of a silent store: %d, %v after %s", n, err, time.Since(start))
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		over := transport(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		start := time.Now()
		_, err := NewBodies(clientsOf("http://in-memory", over), "bucket").Open(t.Context(), "s3://bucket/bodies/dt=2026-03-04/2ABC")
		if !errors.Is(err, errSilent) || time.Since(start) != silence {
			t.Errorf("Open of a silent store: %v after %s", err, time.Since(start))
		}
	})
}
