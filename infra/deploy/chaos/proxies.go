package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"penstock/infra/aws/faultproxy"
)

// proxied are the services that Penstock reaches through a fault proxy: the SDK's variable of the endpoint, and what AWS enforces and
// the peer does not (docs/aws-peers.md).
var proxied = []struct {
	variable string
	laws     []faultproxy.Law
}{
	{"AWS_ENDPOINT_URL_KINESIS", []faultproxy.Law{
		faultproxy.KinesisSizes(), faultproxy.KinesisWriteLimits(), faultproxy.KinesisReadLimits(),
	}},
	{"AWS_ENDPOINT_URL_DYNAMODB", []faultproxy.Law{faultproxy.DynamoDBBatches(), faultproxy.DynamoDBTimeToLive()}},
	{"AWS_ENDPOINT_URL_S3", nil},
	{"AWS_ENDPOINT_URL_GLUE", []faultproxy.Law{faultproxy.GlueVersions()}},
}

// proxies stand between Penstock and all of its peers.
type proxies struct {
	all     []*faultproxy.Proxy
	servers []*http.Server
	env     []string // for Penstock
	serving sync.WaitGroup

	mu      sync.Mutex
	writing int // PutRecords that are under way
}

// listenProxies starts them on free ports. They must be closed.
func listenProxies(ctx context.Context, seed uint64) (*proxies, error) {
	p := &proxies{env: os.Environ()}
	for i, of := range proxied {
		target := os.Getenv(of.variable)
		if target == "" {
			p.close()
			return nil, fmt.Errorf("%s is not set: run this among the peers, by `make chaos`", of.variable)
		}
		proxy, err := faultproxy.New(faultproxy.Config{Target: target, Seed: seed + uint64(i), Clock: faultproxy.SystemClock{}, Laws: of.laws})
		if err != nil {
			p.close()
			return nil, err
		}
		p.all = append(p.all, proxy)
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			p.close()
			return nil, fmt.Errorf("fault proxy: %w", err)
		}
		server := &http.Server{Handler: p.counting(proxy), ReadHeaderTimeout: time.Minute}
		p.servers = append(p.servers, server)
		p.env = append(p.env, of.variable+"=http://"+ln.Addr().String())
		p.serving.Go(func() { _ = server.Serve(ln) }) // until it is closed
	}
	return p, nil
}

// counting knows how many PutRecords are under way.
func (p *proxies) counting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".PutRecords") {
			p.add(1)
			defer p.add(-1)
		}
		next.ServeHTTP(w, r)
	})
}

func (p *proxies) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing += n
}

// set the faults.
func (p *proxies) set(rules []faultproxy.Rule) {
	for _, proxy := range p.all {
		proxy.Set(rules...)
	}
}

// awaitLanded returns when no write is under way, nor any request that was to land later. Nobody may be writing any more.
func (p *proxies) awaitLanded(ctx context.Context) error {
	landed := make(chan struct{})
	go func() { // ends with the proxies
		defer close(landed)
		for _, proxy := range p.all {
			proxy.Wait()
		}
	}()
	select {
	case <-landed:
	case <-ctx.Done():
		return fmt.Errorf("late requests have not landed: %w", context.Cause(ctx))
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		p.mu.Lock()
		writing := p.writing
		p.mu.Unlock()
		if writing == 0 {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%d writes have not ended: %w", writing, context.Cause(ctx))
		}
	}
}

// faults that befell calls, by service, operation and name.
func (p *proxies) faults() map[string]int {
	all := map[string]int{}
	for _, proxy := range p.all {
		for _, call := range proxy.Calls() {
			if call.Fault != "" {
				all[call.Service+":"+call.Operation+" "+call.Fault]++
			}
		}
	}
	return all
}

// commits are the UpdateTable that the peer took.
func (p *proxies) commits() int {
	n := 0
	for _, proxy := range p.all {
		for _, call := range proxy.Calls() {
			if call.Operation == "UpdateTable" && call.Status == http.StatusOK {
				n++
			}
		}
	}
	return n
}

// close ends the servers and gives up what has not landed.
func (p *proxies) close() {
	for _, server := range p.servers {
		if err := server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			continue // it serves nobody any more, which is all that is wanted
		}
	}
	for _, proxy := range p.all {
		proxy.Close()
	}
	p.serving.Wait()
}
