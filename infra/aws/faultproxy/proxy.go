package faultproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Config of a proxy.
type Config struct {
	// Target is the endpoint of the peer. Required.
	Target string
	// Seed of everything that is left to chance.
	Seed uint64
	// Clock for delays and limits. Required.
	Clock Clock
	// Laws that hold before the peer, the first outermost.
	Laws []Law
}

// Proxy is an http.Handler before one peer. Closed, it forgets the requests that have not landed.
type Proxy struct {
	target *url.URL
	seed   uint64
	clock  Clock
	client *http.Transport
	land   deliver // through the laws to the peer
	shards iterators

	life context.Context
	end  context.CancelFunc
	late sync.WaitGroup // requests that will be forwarded after their client has left

	mu    sync.Mutex
	rules []Rule
	seen  []int // by rule: the calls that it was for
	calls []Call
}

// deliver brings a request to the peer, or answers for it.
type deliver func(ctx context.Context, r *request) (*answer, error)

// Law enforces something before the peer.
type Law func(clock Clock, next deliver) deliver

// request as it came, with its whole body, so that it can be forwarded at any time.
type request struct {
	Call
	method string
	url    *url.URL
	host   string
	header http.Header
	body   []byte
	shard  string // stream and shard of a GetShardIterator or GetRecords; empty when not known
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// New makes a proxy without rules. It must be closed.
func New(cfg Config) (*Proxy, error) {
	target, err := url.Parse(cfg.Target)
	if err != nil {
		return nil, fmt.Errorf("fault proxy: target: %w", err)
	}
	if target.Host == "" || cfg.Clock == nil {
		return nil, errors.New("fault proxy: target and clock are required")
	}
	p := &Proxy{target: target, seed: cfg.Seed, clock: cfg.Clock, client: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256}}
	p.life, p.end = context.WithCancel(context.Background())
	p.land = p.forward
	for _, law := range slices.Backward(cfg.Laws) {
		p.land = law(p.clock, p.land)
	}
	return p, nil
}

// Close gives up the requests that have not landed, and returns when none is under way.
func (p *Proxy) Close() {
	p.end()
	p.late.Wait()
	p.client.CloseIdleConnections()
}

// Wait returns when every request that was to land later has landed.
func (p *Proxy) Wait() { p.late.Wait() }

// Set replaces the rules; the first whose When agrees befalls a call. Calls are numbered anew.
func (p *Proxy) Set(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules, p.seen = rules, make([]int, len(rules))
}

// Calls so far, in the order in which they were answered.
func (p *Proxy) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return // the client has gone
	}
	r := &request{method: in.Method, url: in.URL, host: in.Host, header: in.Header.Clone(), body: body}
	r.Call = callOf(r)
	if r.shard = p.shards.shardOf(r); r.Resource == "" {
		r.Resource, _, _ = strings.Cut(r.shard, "/")
	}
	x := exchange{request: r, proxy: p}
	fault := p.befalls(&x)
	r.Fault = fault.name
	// Who gives up waiting does not take his request back.
	ctx, cancel := context.WithCancel(context.WithoutCancel(in.Context()))
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	a, err := fault.befall(ctx, &x)
	if err == nil {
		r.Status = a.status
	}
	p.mu.Lock()
	p.calls = append(p.calls, r.Call)
	p.mu.Unlock()
	if err != nil {
		panic(http.ErrAbortHandler) // the way to cut a connection; a peer that is gone shows as the same
	}
	a.write(w)
}

// befalls picks the fault, and gives the exchange its own source of chance.
func (p *Proxy) befalls(x *exchange) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, rule := range p.rules {
		if !rule.isFor(x.Call) {
			continue
		}
		p.seen[i]++
		x.random = rand.New(rand.NewPCG(p.seed, uint64(i)<<32|uint64(p.seen[i])))
		if rule.When(p.seen[i], x.random) {
			return rule.Do
		}
	}
	return Fault{befall: pass}
}

// forward sends the request to the peer as the client has signed it.
func (p *Proxy) forward(ctx context.Context, r *request) (*answer, error) {
	to := *r.url
	to.Scheme, to.Host = p.target.Scheme, p.target.Host
	out, err := http.NewRequestWithContext(ctx, r.method, to.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	out.Host = r.host
	out.Header = r.header.Clone()
	for _, hop := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"} {
		out.Header.Del(hop)
	}
	back, err := p.client.RoundTrip(out)
	if err != nil {
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	defer back.Body.Close() //nolint:errcheck // it was read to its end, or the error is told
	body, err := io.ReadAll(back.Body)
	if err != nil {
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	p.shards.learn(r, body)
	return &answer{back.StatusCode, back.Header, body}, nil
}

func (a *answer) write(w http.ResponseWriter) {
	for name, values := range a.header {
		// A HEAD is answered with the length of what was not sent; else the server counts for itself.
		if name != "Connection" && name != "Transfer-Encoding" && (name != "Content-Length" || len(a.body) == 0) {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client has gone
}

// with returns the request with another JSON body.
func (r *request) with(body []byte) *request {
	changed := *r
	changed.body = body
	changed.header = r.header.Clone()
	changed.header.Del("Content-Length")
	return &changed
}

// with returns the answer with another JSON body.
func (a *answer) with(body []byte) *answer {
	header := a.header.Clone()
	header.Del("Content-Length")
	header.Del("X-Amz-Crc32") // of the old body
	return &answer{a.status, header, body}
}

// errorAnswer is an error as the service tells it.
func errorAnswer(service string, status int, code, message string) *answer {
	header := http.Header{}
	if service == S3 {
		header.Set("Content-Type", "application/xml")
		return &answer{status, header, mustXML(s3Error{Code: code, Message: message})}
	}
	header.Set("Content-Type", "application/x-amz-json-1.1")
	header.Set("X-Amzn-Errortype", code)
	return &answer{status, header, mustJSON(jsonError{code, message})}
}
