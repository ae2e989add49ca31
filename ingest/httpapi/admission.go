package httpapi

import (
	"bytes"
	"net"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"
)

// openPath needs no key: it holds nothing of a client's.
func (s *Server) openPath(path string) bool {
	switch path {
	case "/", "/healthz", "/readyz", "/openapi.yaml":
		return true
	}
	file, below := strings.CutPrefix(path, consolePath)
	_, there := s.console[file]
	return below && there
}

// admit decides by the header alone whether the request may go on, and under which credential.
func (s *Server) admit(h *fasthttp.RequestHeader, path string) (credential string, err error) {
	if s.cfg.Keys == nil {
		return "", checkSameSite(h)
	}
	if s.openPath(path) {
		return "", nil
	}
	values := h.PeekAll("Authorization")
	if len(values) == 0 {
		return "", refuse(unauthorized, "Send your API key as the header Authorization: Bearer <key>.")
	}
	scheme, key, _ := bytes.Cut(values[0], []byte{' '})
	if len(values) == 1 && bytes.EqualFold(scheme, []byte("Bearer")) {
		if name, ok := s.cfg.Keys.match(bytes.TrimSpace(key)); ok {
			return name, nil
		}
	}
	return "", refuse(unauthorized, "The API key is not known here, or Authorization is not of the form Bearer <key>.")
}

// checkSameSite protects a server without keys from the user's own browser: a page of a foreign site can send requests
// to loopback (cross-site request forgery), and by rebinding its own name to 127.0.0.1 even read the answers. A program
// that is not a browser sends none of these headers but Host.
func checkSameSite(h *fasthttp.RequestHeader) error {
	if !isLoopbackHost(hostOf(string(h.Host()))) {
		return refuse(crossSite, "Without API keys this server answers only to the hosts localhost, 127.0.0.1 and [::1].")
	}
	if origin := h.Peek("Origin"); len(origin) > 0 {
		u, err := url.Parse(string(origin))
		if err != nil || !isLoopbackHost(u.Hostname()) {
			return refuse(crossSite, "Without API keys this server refuses requests from pages of another origin.")
		}
	}
	switch site := string(h.Peek("Sec-Fetch-Site")); site {
	case "", "none", "same-origin":
		return nil
	}
	navigates := string(h.Peek("Sec-Fetch-Mode")) == "navigate" && string(h.Peek("Sec-Fetch-Dest")) == "document"
	if navigates && (h.IsGet() || h.IsHead()) {
		return nil // somebody clicked a link to this server
	}
	return refuse(crossSite, "Without API keys this server refuses requests from pages of another site.")
}

// hostOf cuts the port off a Host header.
func hostOf(hostport string) string {
	if strings.IndexByte(hostport, ':') >= 0 {
		if host, _, err := net.SplitHostPort(hostport); err == nil {
			return host
		}
	}
	return strings.Trim(hostport, "[]")
}

// bodyHead checks what the header says of a body; nil when the body is wanted.
type bodyHead func(h *fasthttp.RequestHeader, f framing) error

// bodyHeadOf returns the check of a route that reads a body, or nil.
func (s *Server) bodyHeadOf(method []byte, path string) bodyHead {
	if string(method) != "POST" {
		return nil
	}
	switch path {
	case "/v1/events":
		return func(h *fasthttp.RequestHeader, f framing) error {
			_, err := parseEventsHead(h, f)
			return err
		}
	case "/v1/queries":
		return queriesHead
	}
	return nil
}

// wanted reports whether the body that this header announces should be read at all.
func (s *Server) wanted(h *fasthttp.RequestHeader, path string) bool {
	f, err := parseFraming(h)
	if err != nil {
		return false
	}
	if _, err := s.admit(h, path); err != nil {
		return false
	}
	check := s.bodyHeadOf(h.Method(), path)
	return check != nil && check(h, f) == nil
}

// smallBody is a Content-Length below which a body may be taken as being under way together with its header.
const smallBody = 1 << 10

// onHeader runs before fasthttp reads the first byte of a body. When the body is not wanted fasthttp is told that there
// is none, so that the answer does not wait for a client that waits itself. The handler parses the raw header again,
// refuses again, and closes the connection.
func (s *Server) onHeader(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if expect := h.Peek("Expect"); len(expect) > 0 {
		if !h.IsHTTP11() {
			h.Del("Expect") // RFC 9110, section 10.1.1
		} else if bytes.EqualFold(expect, []byte("100-continue")) {
			h.Set("Expect", "100-continue") // fasthttp knows only this spelling
		}
	}
	if h.ContentLength() > smallBody {
		if path, _ := splitTarget(string(h.RequestURI())); !s.wanted(h, path) {
			h.SetContentLength(0)
		}
	}
	return fasthttp.RequestConfig{}
}

// splitTarget gives path and query of a request target in origin form or absolute form.
func splitTarget(target string) (path, query string) {
	if _, rest, ok := strings.Cut(target, "://"); ok && target[0] != '/' {
		_, path, _ := strings.Cut(rest, "/")
		target = "/" + path
	}
	path, query, _ = strings.Cut(target, "?")
	return path, query
}

// onExpect decides on "Expect: 100-continue". A body that is not wanted is not asked for: the request is answered at
// once, and fasthttp closes the connection after any status but 100. (It asks not to modify the response here; what it
// then does with it, in the pinned version, is held by the raw TCP tests.)
func (s *Server) onExpect(ctx *fasthttp.RequestCtx) int {
	if s.wanted(&ctx.Request.Header, string(ctx.URI().PathOriginal())) {
		return fasthttp.StatusContinue
	}
	s.serve(ctx)
	return ctx.Response.StatusCode()
}
