package httpapi

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dial opens a raw connection.
func (f *front) dial() *net.TCPConn {
	f.t.Helper()
	c, err := (&net.Dialer{}).DialContext(f.t.Context(), "tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() }) // end of test
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		f.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// rawAnswer is an answer, and whether the server said that it closes the connection after it.
type rawAnswer struct {
	answer
	closes bool
}

func (a rawAnswer) String() string { return fmt.Sprintf("%d close=%v %s", a.status, a.closes, a.body) }

// readRaw reads one answer.
func readRaw(r *bufio.Reader) (rawAnswer, error) {
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return rawAnswer{}, err
	}
	body, err := io.ReadAll(res.Body)
	return rawAnswer{answer{res.StatusCode, res.Header, body}, res.Close}, errors.Join(err, res.Body.Close())
}

// exchangeRaw sends bytes as they are and returns all answers until the server closes. The client doesn't close first.
func (f *front) exchangeRaw(request string) []rawAnswer {
	f.t.Helper()
	c := f.dial()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c, request) // the server may close before all of it is taken
	}()
	answers := f.readAnswers(c)
	_ = c.Close() // ends the sender, if it is still at it
	<-sent
	return answers
}

// readAnswers reads until the server closes.
func (f *front) readAnswers(c net.Conn) (answers []rawAnswer) {
	f.t.Helper()
	for r := bufio.NewReader(c); ; {
		a, err := readRaw(r)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				f.t.Errorf("after %d answers: %v", len(answers), err)
			}
			return answers
		}
		answers = append(answers, a)
	}
}

// smuggled is a request that must never be dispatched: it hides in the body of another.
const smuggled = "POST /v1/events?type=smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"

// An answer before the end of the body: one answer, which the client can read, Connection: close, and the rest of the
// body is never run as a request.
func TestEarlyAnswers(t *testing.T) {
	t.Parallel()
	f, key, _ := startWithKeys(t)
	full := startWith(t, 20_000, func(c *Config, _ *Deps) { c.RoomWait = time.Millisecond })
	auth := "Authorization: Bearer " + key + "\r\n"
	padding := strings.Repeat("\r\n", 64<<10)
	for name, c := range map[string]struct {
		front   *front
		path    string
		headers string
		status  int
	}{
		"401":           {f, "/v1/events", "Authorization: Bearer wrong\r\n", 401},
		"404":           {f, "/v1/nothing", auth, 404},
		"405":           {f, "/v1/lake", auth, 405},
		"415":           {f, "/v1/events", auth + "Content-Type: text/plain\r\n", 415},
		"415 encoding":  {f, "/v1/events", auth + "Content-Encoding: br\r\n", 415},
		"400 attribute": {f, "/v1/events", auth + "ce-type: %zz\r\n", 400},
		"400 query":     {f, "/v1/events?typo=1", auth, 400},
		"400 key":       {f, "/v1/events", auth + "Idempotency-Key: \x01\r\n", 400},
		"503":           {full, "/v1/events", "", 503},
		"415 queries":   {f, "/v1/queries", auth + "Content-Type: text/csv\r\n", 415},
		"417":           {f, "/v1/events", auth + "Expect: miracles\r\n", 417},
		"no body route": {f, "/healthz", "", 405},
	} {
		for _, framing := range []string{"length", "length, header only", "chunked", "expect", "expect chunked"} {
			if framing != "length" && name == "417" {
				continue
			}
			t.Run(name+" "+framing, func(t *testing.T) {
				t.Parallel()
				body := smuggled + padding
				head := "POST " + c.path + " HTTP/1.1\r\nHost: localhost\r\n" + c.headers
				switch framing {
				case "length":
					head += fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
				case "length, header only":
					head += "Content-Length: 1000000\r\n\r\n"
				case "chunked":
					head += fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(body)+10) + body
				case "expect":
					head += fmt.Sprintf("Expect: 100-Continue\r\nContent-Length: %d\r\n\r\n", len(body)) + body
				case "expect chunked":
					head += fmt.Sprintf("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", len(body)+10) + body
				}
				if c.front == full && framing == "length, header only" {
					return // the first byte of a body that is wanted is waited for
				}
				answers := c.front.exchangeRaw(head)
				if c.status == 503 && strings.HasPrefix(framing, "expect") && len(answers) > 0 && answers[0].status == 100 {
					answers = answers[1:] // the header alone was fine
				}
				if len(answers) != 1 {
					t.Fatalf("%d answers, want one: %v", len(answers), answers)
				}
				if got := answers[0]; got.status != c.status || !got.closes || got.header.Get("Content-Type") != mediaProblem {
					t.Errorf("%v; want %d", got, c.status)
				}
				c.front.check("POST", c.path, answers[0])
			})
		}
	}
	t.Cleanup(func() {
		if n := f.stream.count() + full.stream.count(); n != 0 {
			t.Errorf("%d events are stored: a body was run as a request", n)
		}
	})
}

// A body one byte over the limit, by every framing. The client sends all of it before it reads.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config, _ *Deps) { c.LingerTime = time.Minute }) // as the client may be slow under load
	over := bytes.Repeat([]byte{'1'}, 10_485_761)
	for name, body := range map[string]io.Reader{
		"length":  bytes.NewReader(over),
		"chunked": io.MultiReader(bytes.NewReader(over)),
	} {
		p := f.post(body).problem(t, 413, "body-too-large")
		if p.Limit != 10_485_760 || !strings.Contains(p.Detail, "split a larger document") {
			t.Errorf("%s: limit %d: %s", name, p.Limit, p.Detail)
		}
	}
	f.store(chunked(over[:10_485_760]))

	c := f.dial()
	head := fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", len(over))
	if _, err := io.Copy(c, io.MultiReader(strings.NewReader(head), bytes.NewReader(over))); err != nil {
		t.Fatalf("the client could not send it all: %v", err)
	}
	if a, err := readRaw(bufio.NewReader(c)); err != nil || a.status != 413 {
		t.Fatalf("%v %v", a, err)
	}
}

// A body one byte over the limit with a request hidden in it or behind it: one 413, which a client can read that sends all
// of it first, the end of the connection, and nothing is run as a request.
func TestTooLargeHidesNoRequest(t *testing.T) {
	t.Parallel()
	// A machine under load may take long to send what is then discarded.
	f := start(t, func(c *Config, _ *Deps) { c.LingerTime = time.Minute })
	const over = 10_485_761
	body := smuggled + strings.Repeat("1", over-len(smuggled))
	for name, rest := range map[string]string{
		"length":               fmt.Sprintf("Content-Length: %d\r\n\r\n", over) + body,
		"expect":               fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", over) + body,
		"expect, waiting":      fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", over),
		"chunked":              fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", over) + body + "\r\n0\r\n\r\n" + smuggled,
		"chunked, byte apart":  fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n1\r\n1\r\n0\r\n\r\n", over-1, body[:over-1]) + smuggled,
		"chunked, behind byte": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n1%s\r\n0\r\n\r\n", over-1, body[:over-1], len(smuggled)+1, smuggled),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := f.dial()
			if _, err := io.WriteString(c, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"+rest); err != nil {
				t.Fatalf("the client could not send it all: %v", err)
			}
			answers := f.readAnswers(c)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if len(answers) != 1 || !answers[0].closes {
				t.Fatalf("want one answer and the end: %v", answers)
			}
			if p := answers[0].problem(t, 413, "body-too-large"); p.Limit != over-1 {
				t.Errorf("limit %d", p.Limit)
			}
		})
	}
	t.Cleanup(func() {
		if n := f.stream.count(); n != 0 {
			t.Errorf("%d events are stored: a body was run as a request", n)
		}
	})
}

// Requests whose end two parsers may see in different places are refused, and so is everything behind them.
func TestAmbiguousFraming(t *testing.T) {
	t.Parallel()
	f := start(t)
	for name, head := range map[string]string{
		"length and chunked":        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked and length":        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"two lengths":               "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 0\r\n\r\n{}",
		"two equal lengths":         "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
		"list of lengths":           "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2, 2\r\n\r\n{}",
		"signed length":             "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}",
		"negative length":           "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
		"huge length":               "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
		"hex length":                "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x2\r\n\r\n{}",
		"space before colon":        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length : 2\r\n\r\n{}",
		"name with a space":         "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent Length: 2\r\n\r\n{}",
		"folded":                    "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nX: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
		"bare line feed":            "POST /v1/events HTTP/1.1\r\nHost: localhost\nContent-Length: 2\r\n\r\n{}",
		"only line feeds":           "POST /v1/events HTTP/1.1\nHost: localhost\nContent-Length: 2\n\n{}\r\n\r\n",
		"bare carriage return":      "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nX: a\rContent-Length: 2\r\n\r\n{}",
		"identity":                  "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
		"two codings":               "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"two transfer encodings":    "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"spelt oddly":               "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
		"chunked in HTTP/1.0":       "POST /v1/events HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"another version":           "POST /v1/events HTTP/1.9\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
		"no host":                   "POST /v1/events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
		"two hosts":                 "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
		"chunk size not hex":        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
		"chunk size with line feed": "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
		"chunk size too long":       "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
		"chunk without its end":     "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
		"forbidden trailer":         "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := f.exchangeRaw(head + smuggled)
			if len(answers) != 1 || !answers[0].closes {
				t.Fatalf("want one answer and the end: %v", answers)
			}
			answers[0].problem(t, 400, "malformed-request")
			f.check("POST", "/v1/events", answers[0])
		})
	}
	t.Cleanup(func() {
		if n := f.stream.count(); n != 0 {
			t.Errorf("%d events are stored", n)
		}
	})
}

// What follows a body that was read to its end is the next request, exactly.
func TestKeepAliveAndPipelining(t *testing.T) {
	t.Parallel()
	f := start(t)
	one := "POST /v1/events?type=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n{\"n\":1}"
	two := "POST /v1/events?type=b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;x=y\r\n{\"n\r\n4\r\n\":2}\r\n0\r\nX: 1\r\nce-type: trailer\r\n\r\n"
	bad := "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n{"
	get := "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
	absolute := "POST http://localhost/v1/events?type=c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000\r\n\r\n" + strings.Repeat("1", 3000)
	expect := "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
	last := "GET /v1/lake HTTP/1.1\r\nHost: localhost\r\nConnection: Close\r\n\r\n"
	answers := f.exchangeRaw(one + two + get + one + bad + two + absolute + expect + get + last)
	want := []int{202, 202, 200, 202, 400, 202, 202, 100, 202, 200, 200}
	var got []int
	for _, a := range answers {
		got = append(got, a.status)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%v, want %v: %v", got, want, answers)
	}
	types := make(map[string]int)
	f.stream.set(func(s *stream) {
		for _, e := range s.events {
			types[e.Type]++
		}
	})
	if types["a"] != 2 || types["b"] != 2 || types["c"] != 1 || types["trailer"] != 0 {
		t.Errorf("stored types: %v", types)
	}
	f.do("GET", "/", nil, "Connection: close").must(t, 200)
	answers = f.exchangeRaw("GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200\r\n\r\n" + smuggled)
	if len(answers) != 1 || !answers[0].closes {
		t.Errorf("a GET whose body nobody reads: %v", answers)
	}
	old := f.exchangeRaw("GET /healthz HTTP/1.0\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n")
	if len(old) != 1 || old[0].status != 200 {
		t.Errorf("HTTP/1.0: %v", old)
	}
}

// An answer does not wait for the request behind it (invariant 4).
func TestPipelinedAnswerIsNotHeldBack(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := f.dial()
	head := "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
	if _, err := io.WriteString(c, head+"\"12345678\""+head+"\""); err != nil { // the second body is not complete
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for range 2 {
		if a, err := readRaw(r); err != nil || a.status != 202 {
			t.Fatalf("%v %v", a, err)
		}
		if _, err := io.WriteString(c, "12345678\""); err != nil { // now it is
			t.Fatal(err)
		}
	}
}

// A body that breaks off is no event, whatever has come of it; what it held is given back.
func TestVanishingClient(t *testing.T) {
	t.Parallel()
	f := start(t)
	for name, head := range map[string]string{
		"length":           "Content-Length: 9000000\r\n\r\n" + strings.Repeat("1", 100_000),
		"nothing came":     "Content-Length: 9000000\r\n\r\n",
		"between chunks":   "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
		"within a chunk":   "Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
		"within a size":    "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1",
		"before the end":   "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
		"in the last CRLF": "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r",
		"in a trailer":     "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: 1",
		"lines":            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n1\n\r\n",
	} {
		for _, how := range []string{"FIN", "RST"} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				c := f.dial()
				if _, err := io.WriteString(c, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"+head); err != nil {
					t.Fatal(err)
				}
				if how == "RST" {
					if err := c.SetLinger(0); err != nil {
						t.Fatal(err)
					}
					_ = c.Close() // by a reset
					return
				}
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(c)
				if err != nil && !errors.Is(err, syscall.ECONNRESET) || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
					t.Errorf("%v %.300s", err, answer)
				}
			})
		}
	}
	t.Cleanup(func() {
		eventually(t, "every connection ends and gives back what it held", func() bool {
			open, _ := f.server.Connections()
			return open == 0 && f.budget.Used() == 0
		})
		if n := f.stream.count(); n != 0 {
			t.Errorf("%d events are stored of bodies that broke off", n)
		}
	})
}
