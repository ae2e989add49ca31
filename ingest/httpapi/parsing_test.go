package httpapi

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"penstock/schemas"
)

func TestHeaderEncoding(t *testing.T) {
	t.Parallel()
	// The examples of the CloudEvents HTTP binding 1.0.2, section 3.1.3.2.
	if got := encodeHeader(`Euro € 😀 "%`); got != "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22%25" {
		t.Error(got)
	}
	for in, want := range map[string]string{
		"plain": "plain", "a%20b": "a b", `"a b"`: "a b", `"a\\\"b"`: `a\"b`, `"%20"`: " ", "%2520": "%20", "a+b": "a+b",
		"  trimmed\t": "trimmed", `a"b`: `a"b`, "%e2%82%ac": "€", "raw €": "raw €",
	} {
		if got, err := decodeHeader(in); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
}

func FuzzHeaderEncoding(f *testing.F) {
	f.Add("€ \"%20\\")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if decoded, err := decodeHeader(s); err == nil && !utf8.ValidString(decoded) {
			t.Errorf("%q decodes to what is not UTF-8: %q", s, decoded)
		}
		encoded := encodeHeader(s)
		for i := range len(encoded) {
			if encoded[i] <= ' ' || encoded[i] > '~' {
				t.Fatalf("%q encodes to %q", s, encoded)
			}
		}
		if decoded, err := decodeHeader(encoded); utf8.ValidString(s) && (err != nil || decoded != s) {
			t.Errorf("%q came back as %q, %v", s, decoded, err)
		}
	})
}

// What both fasthttp and parseFraming accept they understand alike, and as net/http does: no smuggling.
func FuzzFraming(f *testing.F) {
	for _, head := range []string{
		"Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
		"X: y\r\n folded\r\n", "content-length:5 \r\n", "A: b\nContent-Length: 1\r\n", "Transfer-Encoding: identity\r\n",
		"Content-Length: 0\r\nContent-Length: 5\r\n", "X\r\n", "Content-Length: 5\r\nConnection: upgrade\r\n",
	} {
		f.Add(head)
	}
	f.Fuzz(func(t *testing.T, head string) {
		request := "POST / HTTP/1.1\r\nHost: localhost\r\n" + head + "\r\n"
		var h fasthttp.RequestHeader
		if h.Read(bufio.NewReader(strings.NewReader(request))) != nil {
			return
		}
		got, err := parseFraming(&h)
		if err != nil {
			return
		}
		if claimed := max(int64(h.ContentLength()), -1); h.ContentLength() != -2 && claimed != got.length || h.ContentLength() == -2 && got.length != 0 {
			t.Fatalf("fasthttp sees %d, parseFraming %d in %q", h.ContentLength(), got.length, request)
		}
		res, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
		if err != nil {
			return
		}
		if res.ContentLength != got.length {
			t.Fatalf("net/http sees %d, parseFraming %d in %q", res.ContentLength, got.length, request)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("type=a&source=b")
	f.Add("type=%zz&&=")
	f.Fuzz(func(t *testing.T, query string) {
		if a, err := queryAttributes(query); err == nil && (a.ID != "" || a.Extensions != nil) {
			t.Errorf("%q gives %+v", query, a)
		}
	})
}

func TestSplitTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string][2]string{
		"/v1/events?a=b?c": {"/v1/events", "a=b?c"}, "/": {"/", ""}, "http://h:1/v1/events?x": {"/v1/events", "x"},
		"http://h": {"/", ""}, "*": {"*", ""}, "/a?u=http://x/y": {"/a", "u=http://x/y"}, "": {"", ""},
	} {
		if path, query := splitTarget(target); path != want[0] || query != want[1] {
			t.Errorf("%q: %q %q", target, path, query)
		}
	}
}

func TestCurlCommandIsHarmless(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"localhost:8080": "http://localhost:8080/v1/events", "example.com": "http://example.com/v1/events",
		"$(reboot)": "http://localhost:8080/v1/events", "a b": "http://localhost:8080/v1/events", "x;y": "http://localhost:8080/v1/events",
		"x'y": "http://localhost:8080/v1/events",
	} {
		var h fasthttp.RequestHeader
		h.SetHost(host)
		if got := eventsURL(&h); got != want {
			t.Errorf("%q: %s", host, got)
		}
	}
}

// The answer to a connection that is one too many is well-formed.
func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(refusedConnection())), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // of a byte slice
	if res.StatusCode != 503 || res.Header.Get("Retry-After") != strconv.Itoa(overloaded.retryAfter) || !res.Close {
		t.Errorf("%+v", res)
	}
}

// TestLinesShareTheirAttributes: what the header says of all events is in memory once, not once for each line.
//
//nolint:paralleltest // it measures what this process allocates
func TestLinesShareTheirAttributes(t *testing.T) {
	given := schemas.Attributes{Extensions: make(map[string]string)}
	for i := range 1000 {
		given.Extensions[fmt.Sprintf("x%d", i)] = "1"
	}
	body := payload{bytes: []byte(strings.Repeat("1\n", 1000))}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b, err := cutLines(body, &given, ample)
	runtime.ReadMemStats(&after)
	if err != nil || len(b.items) != 1000 || len(b.items[999].Attributes.Extensions) != 1000 {
		t.Fatal(err, len(b.items))
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
		t.Errorf("1000 lines took %d bytes", took)
	}
}
