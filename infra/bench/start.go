package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// starts of a process that its figure is the median of.
const starts = 15

// kinesisEndpoint is the SDK's variable: where it is set there are peers that consumers can start against.
const kinesisEndpoint = "AWS_ENDPOINT_URL_KINESIS"

// frontStart is the time from the front end's exec until something listens on its port.
func (b *bench) frontStart(ctx context.Context) (_ []measure, err error) {
	stub, err := b.startStub(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = stub.end(err) }()
	return b.medianStart(ctx, "until it listens", 30, func(ctx context.Context) (time.Duration, error) {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0") // a port that is free now
		if err != nil {
			return 0, fmt.Errorf("find a port: %w", err)
		}
		address := ln.Addr().String()
		if err := ln.Close(); err != nil {
			return 0, fmt.Errorf("find a port: %w", err)
		}
		heard := make(chan time.Time, 1)
		ctx, stop := context.WithTimeout(ctx, startLimit)
		defer stop()
		go func() {
			tick := time.NewTicker(100 * time.Microsecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
				if err != nil {
					<-tick.C // refused: not yet
					continue
				}
				heard <- time.Now()
				_ = c.Close() // nothing was sent on it
				return
			}
		}()
		began := time.Now()
		front, err := b.startFrontOn(ctx, stub.address, address)
		if err != nil {
			return 0, err
		}
		select {
		case at := <-heard:
			return at.Sub(began), front.end(nil)
		case <-ctx.Done():
			return 0, front.end(ctx.Err())
		}
	})
}

// consumerStart is the time from a consumer's exec until its first GetRecords comes to the peer that stands for Kinesis.
func (b *bench) consumerStart(sink string) func(context.Context) ([]measure, error) {
	return func(ctx context.Context) ([]measure, error) {
		kinesis, err := url.Parse(os.Getenv(kinesisEndpoint))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kinesisEndpoint, err)
		}
		return b.medianStart(ctx, "until its first GetRecords", 400, func(ctx context.Context) (time.Duration, error) {
			first, server := watchReads(kinesis)
			defer server.Close()
			began := time.Now()
			consumer, err := b.startConsumer(ctx, sink, server.URL)
			if err != nil {
				return 0, err
			}
			ctx, stop := context.WithTimeout(ctx, startLimit)
			defer stop()
			select {
			case at := <-first:
				return at.Sub(began), consumer.stop()
			case <-ctx.Done():
				return 0, consumer.end(ctx.Err())
			}
		})
	}
}

// medianStart starts a process again and again; bound is in milliseconds.
func (b *bench) medianStart(ctx context.Context, what string, bound float64, once func(context.Context) (time.Duration, error)) ([]measure, error) {
	var times []float64
	for range starts {
		took, err := once(ctx)
		if err != nil {
			return nil, err
		}
		times = append(times, float64(took)/float64(time.Millisecond))
	}
	middle := median(times) // sorts them
	m := bounded(what, "ms", bound, middle, atMost(1))
	m.Lowest, m.Highest = times[0]/bound, times[len(times)-1]/bound
	return []measure{m}, nil
}

// startConsumer starts one sink's part of a fleet against the peers that the environment names.
func (b *bench) startConsumer(ctx context.Context, sink, kinesis string) (*process, error) {
	program, err := filepath.Abs(b.consumer)
	if err != nil {
		return nil, fmt.Errorf("-consumer: %w", err)
	}
	cmd := exec.CommandContext(ctx, program, "consumer", "--sink", sink, "--admin-listen", "127.0.0.1:0", "--log-level", "warn")
	cmd.Env = append(os.Environ(), kinesisEndpoint+"="+kinesis)
	return start(cmd)
}

// stop has the process give back its leases, or the next one would wait for them.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return p.end(fmt.Errorf("stop %s: %w", p.cmd.Path, err))
	}
	select {
	case <-p.ended:
		return p.err
	case <-time.After(startLimit):
		return p.end(errors.New("it did not stop"))
	}
}

// watchReads stands before Kinesis and tells of the first GetRecords. The server is the caller's to close.
func watchReads(kinesis *url.URL) (<-chan time.Time, *httptest.Server) {
	first := make(chan time.Time, 1)
	proxy := httputil.NewSingleHostReverseProxy(kinesis)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // requests are cut whenever a consumer stops
	return first, httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetRecords") {
			select {
			case first <- time.Now():
			default: // it was not the first
			}
		}
		proxy.ServeHTTP(w, r)
	}))
}
