package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp/fasthttputil"
	"unicode/utf8"
)

// memoryListener may be closed twice, as a socket may.
type memoryListener struct{ *fasthttputil.InmemoryListener }

func (l memoryListener) Close() error {
	if l.InmemoryListener.Close() != nil {
		return net.ErrClosed
	}
	return nil
}

// virtually runs a test on virtual time, with a server whose connections are in memory.
func virtually(t *testing.T, run func(t *testing.T, f *front, dial func() net.Conn)) {
	t.Helper()
	start(t).do("GET", "/healthz", nil).must(t, 200) // else the clock of fasthttp's Date header began, for ever, in the bubble
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { <-time.After(2 * time.Second) }) // as long as fasthttp's sweeper may outlive Shutdown
		f := newFront(t, 256<<20)
		ln := memoryListener{fasthttputil.NewInmemoryListener()}
		f.serve(ln)
		run(t, f, func() net.Conn {
			t.Helper()
			c, err := ln.Dial()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() }) // end of test
			return c
		})
	})
}

// A client that sends slowly is dropped, in the time that is said, and what its body held is given back.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const line, chunks = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n", "Transfer-Encoding: chunked\r\n\r\n"
	limits := Defaults()
	for name, c := range map[string]struct {
		sent  string
		after time.Duration
	}{
		"request":     {"POST /v1/ev", limits.HeaderTimeout},
		"header":      {line + "Content-Le", limits.HeaderTimeout},
		"no body":     {line + "Content-Length: 10\r\n\r\n", limits.BodyGrace},
		"body":        {line + "Content-Length: 9000000\r\n\r\n" + strings.Repeat("1", 1000), limits.BodyGrace},
		"chunk":       {line + chunks + "5\r\n{}", limits.BodyGrace},
		"chunk size":  {line + chunks, limits.BodyGrace},
		"last chunk":  {line + chunks + "2\r\n{}\r\n0\r\n", limits.BodyGrace},
		"expectation": {line + "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n", limits.BodyGrace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtually(t, func(t *testing.T, f *front, dial func() net.Conn) {
				conn := dial()
				begun := time.Now()
				if _, err := io.WriteString(conn, c.sent); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(conn)
				if err != nil {
					t.Fatal(err)
				}
				text := strings.TrimPrefix(string(got), "HTTP/1.1 100 Continue\r\n\r\n")
				if !strings.HasPrefix(text, "HTTP/1.1 408 ") || strings.Count(text, "HTTP/1.1") != 1 {
					t.Errorf("%.300s", got)
				}
				if took := time.Since(begun); took != c.after {
					t.Errorf("dropped after %v, want %v", took, c.after)
				}
				synctest.Wait()
				if open, _ := f.server.Connections(); open != 0 || f.budget.Used() != 0 {
					t.Errorf("%d connections are open, %d bytes are held", open, f.budget.Used())
				}
			})
		})
	}
	t.Run("on a socket", func(t *testing.T) {
		t.Parallel()
		f := start(t, func(c *Config, _ *Deps) { c.BodyGrace = 200 * time.Millisecond })
		conn := f.dial()
		if _, err := io.WriteString(conn, line+"Content-Length: 10\r\n\r\n1"); err != nil {
			t.Fatal(err)
		}
		if a, err := readRaw(bufio.NewReader(conn)); err != nil || a.status != 408 || !a.closes {
			t.Errorf("%v %v", a, err)
		}
	})
	t.Run("trickle", func(t *testing.T) {
		t.Parallel()
		virtually(t, func(t *testing.T, f *front, dial func() net.Conn) {
			conn := dial()
			if _, err := io.WriteString(conn, line+"Content-Length: 9000000\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			for { // each byte comes in time; all of them together don't
				if _, err := io.WriteString(conn, "1"); err != nil {
					break // it was dropped
				}
				<-time.After(time.Second)
			}
			if took := time.Since(begun); took < limits.BodyGrace || took > limits.BodyGrace+5*time.Second {
				t.Errorf("dropped after %v", took)
			}
		})
	})
}

// A client that does not read its answer is dropped too.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config, _ *Deps) { c.WriteTimeout = 100 * time.Millisecond })
	id := f.store(of(`"` + strings.Repeat("x", 10_000_000) + `"`))
	conn := f.dial()
	if err := conn.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, err := fmt.Fprintf(conn, "GET /v1/events/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", id); err != nil {
			t.Fatal(err)
		}
	}
	f.client.CloseIdleConnections()
	eventually(t, "the connection is dropped and the body closed", func() bool {
		f.bodies.mu.Lock()
		defer f.bodies.mu.Unlock()
		open, _ := f.server.Connections()
		return open == 0 && f.bodies.closed > 0
	})
}

// Answers that clients don't read are bounded all together: beyond that there is a 503, and they go with their clients.
func TestAnswersThatNobodyReads(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config, _ *Deps) { c.AnswerBytes, c.RoomWait = largestAnswer, 10*time.Millisecond })
	id := f.store(of(`"` + strings.Repeat("x", 900_000) + `"`))
	var conns []*net.TCPConn
	for range 10 {
		conn := f.dial()
		conns = append(conns, conn)
		if err := conn.SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprint(conn, strings.Repeat("GET /v1/events/"+id+" HTTP/1.1\r\nHost: localhost\r\n\r\n", 8)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "an answer is refused", func() bool { return f.do("GET", "/v1/events/"+id, nil).status == 503 })
	f.do("GET", "/v1/events/"+id, nil).problem(t, 503, "overloaded")
	f.post(`1`).must(t, 202)
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "there is room again", func() bool { return f.do("GET", "/v1/events/"+id, nil).status == 200 })
	eventually(t, "everything is given back", func() bool { return f.server.answers.Used() == 0 })
}

// When there is no room for answers, those that may be large are refused before they are made, and small ones are not.
func TestAnswersWithoutRoom(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config, _ *Deps) { c.RoomWait = time.Millisecond })
	for _, sql := range []string{"SELECT '" + strings.Repeat("é<", 40_000) + "'", "SELECT 1"} {
		f.do("POST", "/v1/queries", `{"sql":"`+sql+`"}`).must(t, 202)
	}
	var list struct{ Items []queryState }
	f.do("GET", "/v1/queries", nil).must(t, 200).decode(t, &list)
	if got := list.Items[1].SQL; utf8.RuneCountInString(got) != 1000 || !strings.HasPrefix(got, "SELECT 'é<é<") || list.Items[0].SQL != "SELECT 1" {
		t.Errorf("the list shows %.20q… of %d bytes and %q", got, len(got), list.Items[0].SQL)
	}
	var state queryState
	f.do("GET", "/v1/queries/q0", nil).must(t, 200).decode(t, &state)
	if len(state.SQL) != len("SELECT ''")+3*40_000 {
		t.Errorf("the state has %d bytes of SQL", len(state.SQL))
	}
	letter := "/v1/dead-letters/lake/a/7/0"
	f.do("GET", letter, nil).must(t, 200)
	eventually(t, "everything is given back", func() bool { return f.server.answers.Used() == 0 })

	unread, err := f.server.answerRoom(t.Context(), Defaults().AnswerBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Release()
	for _, request := range []string{"GET /v1/queries/q0", "DELETE /v1/queries/q0", "GET " + letter} {
		method, path, _ := strings.Cut(request, " ")
		f.do(method, path, nil).problem(t, 503, "overloaded")
	}
	for _, path := range []string{"/v1/queries/q1", "/v1/dead-letters?sink=lake", "/v1/lake"} {
		f.do("GET", path, nil).must(t, 200)
	}
}

func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config, _ *Deps) { c.MaxConnections = 2 })
	one, two := f.dial(), f.dial()
	eventually(t, "two connections are open", func() bool { open, _ := f.server.Connections(); return open == 2 })
	a, err := readRaw(bufio.NewReader(f.dial()))
	if err != nil {
		t.Fatal(err)
	}
	f.check("GET", "/healthz", a)
	if a.problem(t, 503, "overloaded"); a.header.Get("Retry-After") == "" || !a.closes {
		t.Errorf("%v", a)
	}
	if _, refused := f.server.Connections(); refused != 1 {
		t.Errorf("%d connections were refused", refused)
	}
	for _, c := range []net.Conn{one, two} {
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200") {
			t.Errorf("%v %s", err, got)
		}
	}
	eventually(t, "there is room again", func() bool { open, _ := f.server.Connections(); return open == 0 })
	f.post(`{}`).id(t)
}

// The ack comes within 2 s of the last byte of the body, whenever that is, or an honest answer does (invariant 4).
func TestDeadline(t *testing.T) {
	t.Parallel()
	virtually(t, func(t *testing.T, f *front, dial func() net.Conn) {
		gate := make(chan struct{})
		defer close(gate)
		f.stream.set(func(s *stream) { s.gate = gate })
		for _, late := range []time.Duration{0, 5 * time.Second} {
			c := dial()
			if _, err := io.WriteString(c, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{"); err != nil {
				t.Fatal(err)
			}
			<-time.After(late)
			if _, err := io.WriteString(c, "}"); err != nil {
				t.Fatal(err)
			}
			last := time.Now()
			a, err := readRaw(bufio.NewReader(c))
			if err != nil {
				t.Fatal(err)
			}
			a.problem(t, 503, "outcome-unknown")
			if took := time.Since(last); took != Defaults().AckDeadline || took >= 2*time.Second {
				t.Errorf("the body was complete after %v, the answer came %v later", late, took)
			}
		}
	})
}

// A panic is a 500 without its reason, and the connection is not used again.
func TestPanic(t *testing.T) {
	t.Parallel()
	f := start(t, func(_ *Config, d *Deps) { d.Lake = panicking{} })
	a := f.do("GET", "/v1/lake", nil)
	p := a.problem(t, 500, "internal-error")
	if strings.Contains(string(a.body), "secret") || p.Instance == "" {
		t.Errorf("%s", a.body)
	}
	answers := f.exchangeRaw("GET /v1/lake HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if len(answers) != 1 || !answers[0].closes {
		t.Errorf("%v", answers)
	}
	f.post(`{}`).id(t)
}

type panicking struct{}

func (panicking) Status(context.Context) (LakeStatus, error) { panic("secret") }

// Shutdown answers what is under way, refuses what is new, and does not wait for idle connections.
func TestShutdown(t *testing.T) {
	t.Parallel()
	f := start(t)
	idle, fresh := f.dial(), f.dial()
	if _, err := io.WriteString(idle, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := readRaw(bufio.NewReader(idle)); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	f.stream.set(func(s *stream) { s.gate = gate })
	answered := make(chan answer, 1)
	go func() { answered <- f.post(`{}`) }()
	eventually(t, "the request is under way", func() bool { return f.budget.Used() > 0 })
	done := make(chan error, 1)
	begun := time.Now()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		done <- f.server.Shutdown(ctx)
	}()
	eventually(t, "it does not listen any more", func() bool {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", f.addr)
		if err == nil {
			_ = c.Close() // of no use
		}
		return err != nil
	})
	close(gate)
	a := <-answered
	a.id(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, c := range []net.Conn{idle, fresh} {
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("an idle connection is still open and read %d bytes", n)
		}
	}
}

// When its time is over Shutdown closes what is left, and nothing is held any more.
func TestShutdownAborts(t *testing.T) {
	t.Parallel()
	f := start(t)
	slow := f.dial()
	if _, err := io.WriteString(slow, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request is under way", func() bool { return f.budget.Used() > 0 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := f.server.Shutdown(ctx); err == nil {
		t.Error("it says that nothing was under way")
	}
	if f.budget.Used() != 0 {
		t.Error("the aborted request still holds its share")
	}
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config, _ *Deps) { c.MetricsOnMain = false })
	f.do("GET", "/metrics", nil).must(t, 404)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.server.ServeAdmin(ln) }()
	main := f.url
	f.url = "http://" + ln.Addr().String()
	if a := f.do("GET", "/metrics", nil).must(t, 200); !strings.Contains(string(a.body), "penstock_up") {
		t.Errorf("%s", a.body)
	}
	f.do("GET", "/healthz", nil).must(t, 200)
	f.do("GET", "/readyz", nil).must(t, 200)
	for _, path := range []string{"/v1/events", "/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != 404 {
			t.Errorf("%s: %v %d", path, err, res.StatusCode)
		}
	}
	f.url = main
	f.client.CloseIdleConnections()
	if err := f.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNewValidates(t *testing.T) {
	t.Parallel()
	if _, err := New(Defaults(), Deps{}); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("%v", err)
	}
	for name, change := range map[string]func(*Config){
		"MaxConnections": func(c *Config) { c.MaxConnections = 0 },
		"AckDeadline":    func(c *Config) { c.AckDeadline = 3 * time.Second },
		"MinBodyRate":    func(c *Config) { c.MinBodyRate = 0 },
		"Now":            func(c *Config) { c.Now = nil },
	} {
		cfg := Defaults()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
