package httpapi

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// framing is how the body of a request is delimited (RFC 9112, section 6).
type framing struct {
	// length is the Content-Length; 0 when the request has no body, -1 when it is chunked.
	length int64
}

func (f framing) hasBody() bool { return f.length != 0 }

// parseFraming reads the raw header block itself, more strictly than fasthttp 1.73, which accepts Content-Length beside
// Transfer-Encoding, Transfer-Encoding in HTTP/1.0, "identity", folded lines, bare line feeds and names with spaces.
// Wherever two parsers on the way may disagree about the end of a request, one can be smuggled (RFC 9112, section 11.2),
// so such requests are refused and their connection closed.
func parseFraming(h *fasthttp.RequestHeader) (framing, error) {
	version := string(h.Protocol())
	if version != "HTTP/1.1" && version != "HTTP/1.0" {
		return framing{}, malformed("a version other than HTTP/1.1 and HTTP/1.0")
	}
	var length, transfer []byte
	lines := h.RawHeaders()
	for len(lines) > 0 {
		line, rest, err := headerLine(lines)
		if err != nil {
			return framing{}, err
		}
		if lines = rest; len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || !isToken(name) {
			return framing{}, malformed("a header field name with a character that is not allowed, or without a colon")
		}
		value = bytes.Trim(value, " \t")
		switch {
		case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
			if length != nil {
				return framing{}, malformed("more than one Content-Length")
			}
			length = value
		case len(name) == len("Transfer-Encoding") && bytes.EqualFold(name, []byte("Transfer-Encoding")):
			if transfer != nil {
				return framing{}, malformed("more than one Transfer-Encoding")
			}
			transfer = value
		}
	}
	switch {
	case transfer != nil && length != nil:
		return framing{}, malformed("both Content-Length and Transfer-Encoding")
	case transfer != nil && version == "HTTP/1.0":
		return framing{}, malformed("Transfer-Encoding in HTTP/1.0")
	case transfer != nil && !bytes.EqualFold(transfer, []byte("chunked")):
		return framing{}, malformed("a Transfer-Encoding other than chunked")
	case transfer != nil:
		return framing{length: -1}, nil
	case length != nil:
		n, err := strconv.ParseUint(string(length), 10, 62)
		if err != nil || length[0] == '+' {
			return framing{}, malformed("a Content-Length that is not a number")
		}
		return framing{length: int64(n)}, nil
	}
	return framing{}, nil
}

// headerLine cuts one line off and checks its end and its beginning.
func headerLine(b []byte) (line, rest []byte, err error) {
	end := bytes.IndexByte(b, '\n')
	if end < 1 || b[end-1] != '\r' {
		return nil, nil, malformed("a header line that is not ended by CR LF")
	}
	line = b[:end-1]
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return nil, nil, malformed("a folded header line")
	}
	if bytes.IndexByte(line, '\r') >= 0 {
		return nil, nil, malformed("a bare CR in a header line")
	}
	return line, b[end+1:], nil
}

// isToken reports whether b is an RFC 9110 token.
func isToken(b []byte) bool {
	for _, c := range b {
		alphanumeric := (c >= '0' && c <= '9') || (c|0x20 >= 'a' && c|0x20 <= 'z')
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

func malformed(what string) error {
	return &refusal{kind: malformedRequest, detail: "The request is refused because it has " + what + "."}
}
