package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultIdle is how long a request may stand still, neither taking nor giving a byte, before it counts as unanswered. The
// server answers a POST within 2 s of its last byte.
const DefaultIdle = 15 * time.Second

// expectContinueFrom is the body size from which the server is asked whether it wants the body at all: a refusal then
// costs no transfer, and can't be lost in a connection that breaks under an unread body.
const expectContinueFrom = 1 << 20

// Config says where the server is. Only URL is required.
type Config struct {
	// URL is the address of the API, such as http://127.0.0.1:8080. A path in it is kept as a prefix.
	URL string
	// Key is the API key, or empty for a server on loopback.
	Key string
	// UserAgent names the program in the server's log.
	UserAgent string
	// Connections is the most connections that are open at once; 0 means 16.
	Connections int
	// Idle is how long a request may stand still; 0 means DefaultIdle.
	Idle time.Duration
}

// Client talks to one server. Its methods are safe for concurrent use.
type Client struct {
	base  *url.URL
	key   string
	agent string
	idle  time.Duration
	http  *http.Client
}

// New checks the configuration; it does not connect.
func New(cfg Config) (*Client, error) {
	base, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(cfg.Key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the API key holds a blank, a line break or another character that no key has: check PENSTOCK_KEY")
	}
	connections := cfg.Connections
	if connections <= 0 {
		connections = 16
	}
	idle := cfg.Idle
	if idle <= 0 {
		idle = DefaultIdle
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   connections,
		MaxConnsPerHost:       connections,
		IdleConnTimeout:       30 * time.Second,
		WriteBufferSize:       64 << 10,
		// The bytes on the wire are the document's, and a Content-Length tells whether all of them came.
		DisableCompression: true,
	}
	return &Client{
		base: base, key: cfg.Key, agent: cfg.UserAgent, idle: idle,
		http: &http.Client{
			Transport: transport,
			// Following a redirect turns a POST into a GET or sends a document somewhere else: it is an error.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func parseURL(raw string) (*url.URL, error) {
	base, err := url.Parse(raw)
	switch {
	case err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https"):
		// Not quoting err or raw: what was mistyped may hold a password.
		return nil, errors.New("the server's URL must look like http://127.0.0.1:8080 or https://HOST: check --url and PENSTOCK_URL")
	case base.User != nil:
		return nil, errors.New("the server's URL must not hold a user or password: set PENSTOCK_KEY")
	case base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("the server's URL must not hold ? or #: check --url and PENSTOCK_URL")
	}
	base.Path = strings.TrimRight(base.Path, "/")
	return base, nil
}

// URL is the address of the server.
func (c *Client) URL() string { return c.base.String() }

// Close drops idle connections. No request may be under way.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one try of one call.
type request struct {
	method string
	// path is made of segments that are escaped one by one.
	path   []string
	query  url.Values
	header http.Header
	body   []byte
	// patience is added to the time that the request may stand still, for an answer that is known to take long.
	patience time.Duration
}

// do sends the request and returns whatever the server answered. The body of the response must be closed. An error is a
// *TransportError, or the context's.
func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	target := c.base.JoinPath(r.path...)
	target.RawQuery = r.query.Encode()
	ctx, dog := watch(ctx, c.idle+r.patience)
	req, err := http.NewRequestWithContext(ctx, r.method, target.String(), nil)
	if err != nil {
		dog.stop()
		return nil, fmt.Errorf("make request: %w", err)
	}
	if r.header != nil {
		req.Header = r.header.Clone()
	}
	if r.body != nil {
		req.ContentLength = int64(len(r.body))
		req.GetBody = func() (io.ReadCloser, error) {
			return io.NopCloser(&guardedReader{Reader: bytes.NewReader(r.body), dog: dog}), nil
		}
		req.Body, _ = req.GetBody() // it has no error to return
		if len(r.body) >= expectContinueFrom {
			req.Header.Set("Expect", "100-continue")
		}
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if c.agent != "" {
		req.Header.Set("User-Agent", c.agent)
	}
	res, err := c.http.Do(req)
	if err != nil {
		err = dog.explain(ctx, err)
		dog.stop()
		return nil, c.transportError(r.method, target, err)
	}
	dog.rest()
	res.Body = &guardedBody{Reader: res.Body, dog: dog, ctx: ctx, body: res.Body}
	return res, nil
}

// call sends the request and returns the answer if its status is one of want; else the error is a *Problem.
func (c *Client) call(ctx context.Context, r request, want ...int) (*http.Response, error) {
	res, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, status := range want {
		if res.StatusCode == status {
			return res, nil
		}
	}
	return nil, readProblem(res)
}

// transportError wraps what http.Client said. The context's own end stays visible to errors.Is.
func (c *Client) transportError(method string, target *url.URL, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return &TransportError{Method: method, URL: c.URL(), Path: "/" + strings.TrimLeft(target.Path, "/"), Err: err}
}

// TransportError: there was no answer. Whether the request was carried out is unknown, except for a refused connection.
type TransportError struct {
	Method, URL, Path string
	Err               error
}

func (e *TransportError) Error() string {
	return fmt.Sprintf("no answer to %s %s from %s: %v", e.Method, e.Path, e.URL, e.Err)
}

func (e *TransportError) Unwrap() error { return e.Err }

// Unreached reports whether the request certainly never got to a server: no address, or nobody listens there.
func (e *TransportError) Unreached() bool {
	var dial *net.OpError
	return errors.As(e.Err, &dial) && dial.Op == "dial"
}
