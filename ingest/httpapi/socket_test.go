package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"penstock/consumer/query"
)

// client is one on a WebSocket.
type client struct {
	t *testing.T
	c *websocket.Conn
}

// connect opens a WebSocket; header may be nil.
func (f *front) connect(t *testing.T, header http.Header, ticket ...string) *client {
	t.Helper()
	c, status, _ := f.dialSocket(t, header, ticket...)
	if c == nil {
		t.Fatalf("status %d", status)
	}
	k := &client{t, c}
	t.Cleanup(k.close)
	return k
}

// dialSocket gives no connection where another status than 101 comes, and tells whether that has a problem document.
func (f *front) dialSocket(t *testing.T, header http.Header, ticket ...string) (c *websocket.Conn, status int, isProblem bool) {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{"penstock.v1"}, HandshakeTimeout: time.Minute}
	c, res, err := dialer.DialContext(t.Context(), "ws://"+f.addr+"/v1/ws?ticket="+strings.Join(ticket, ""), header)
	if res == nil {
		t.Fatal(err)
	}
	if err == nil && c.Subprotocol() != "penstock.v1" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	return c, res.StatusCode, res.Header.Get("Content-Type") == mediaProblem && res.Body.Close() == nil
}

func (k *client) close() { _ = k.c.Close() } // again, or after the server

func (k *client) send(message string) {
	k.t.Helper()
	if err := k.c.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		k.t.Fatal(err)
	}
}

func (k *client) subscribe(id, deliver string) {
	k.t.Helper()
	k.send(fmt.Sprintf(`{"action":"subscribe","executionId":%q,"deliver":%q}`, id, deliver))
}

// message is any of the server's.
type message struct {
	Type, ExecutionID, State, ContentType, URL, Data, SHA256, Title, Detail string

	Bytes, Rows, Seq int64
	Status           int
}

// next is the next message, held against openapi.yaml.
func (k *client) next() message {
	k.t.Helper()
	var m message
	if err := k.c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		k.t.Fatal(err)
	}
	kind, text, err := k.c.ReadMessage()
	if err != nil || kind != websocket.TextMessage {
		k.t.Fatalf("kind %d: %v", kind, err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		k.t.Fatalf("%v in %.300s", err, text)
	}
	if m.Seq > 0 {
		return m // the first chunk stands for all
	}
	doc, err := api()
	if err != nil {
		k.t.Fatal(err)
	}
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		k.t.Fatalf("%v in %.300s", err, text)
	}
	if err := doc.Components.Schemas["SocketMessage"].Value.VisitJSON(document); err != nil {
		k.t.Errorf("not as in openapi.yaml: %v in %.300s", err, text)
	}
	return m
}

// expect reads messages and compares what they say in short.
func (k *client) expect(want ...string) {
	k.t.Helper()
	for _, w := range want {
		m := k.next()
		got := strings.TrimSpace(strings.Join([]string{m.Type, m.ExecutionID, m.State, m.Title}, " "))
		if strings.Join(strings.Fields(got), " ") != w {
			k.t.Fatalf("got %q, want %q: %+v", got, w, m)
		}
	}
}

// result reads the messages of one result, and only of that.
func (k *client) result(id string) (string, message) {
	k.t.Helper()
	head := k.next()
	if head.Type != "result" || head.ExecutionID != id {
		k.t.Fatalf("%+v", head)
	}
	var all strings.Builder
	for seq := int64(0); ; seq++ {
		m := k.next()
		if m.ExecutionID != id {
			k.t.Fatalf("%+v", m)
		}
		if m.Type == "end" {
			sum := sha256.Sum256([]byte(all.String()))
			if m.SHA256 != hex.EncodeToString(sum[:]) || int64(all.Len()) != head.Bytes {
				k.t.Errorf("%d of %d bytes, sha256 %s", all.Len(), head.Bytes, m.SHA256)
			}
			return all.String(), head
		}
		if m.Type != "chunk" || m.Seq != seq || len(m.Data) > 32<<10 || m.Data == "" {
			k.t.Fatalf("message %d: %s %d, %d bytes", seq, m.Type, m.Seq, len(m.Data))
		}
		all.WriteString(m.Data)
	}
}

func (f *front) startQuery(t *testing.T, sql string) string {
	t.Helper()
	var q startedQuery
	f.do("POST", "/v1/queries", `{"sql":"`+sql+`"}`).must(t, 202).decode(t, &q)
	return q.ExecutionID
}

// TestSocket: states, results inline and by URL, failures; whoever subscribes again gets the same again.
func TestSocket(t *testing.T) {
	t.Parallel()
	f := start(t)
	id, byURL, fails, cancelled := f.startQuery(t, "SELECT 0"), f.startQuery(t, "SELECT 1"), f.startQuery(t, "SELECT 2"), f.startQuery(t, "SELECT 3")
	k := f.connect(t, nil)
	k.subscribe(id, "inline")
	k.expect("state " + id + " RUNNING")
	f.queries.end(t, id, query.Succeeded, fakeCSV)
	k.expect("state " + id + " SUCCEEDED")
	got, head := k.result(id)
	if got != fakeCSV || head.ContentType != "text/csv" || head.Rows != 1 || head.URL != "/v1/queries/"+id+"/result" {
		t.Errorf("%q, %+v", got, head)
	}
	if served := f.do("GET", head.URL, nil).must(t, 200); string(served.body) != got {
		t.Errorf("over HTTP %q", served.body)
	}
	k.send(`{"action":"subscribe","executionId":"` + id + `"}`)
	k.expect("state " + id + " SUCCEEDED")
	k.result(id)

	k.subscribe(byURL, "url")
	k.expect("state " + byURL + " RUNNING")
	f.queries.end(t, byURL, query.Succeeded, fakeCSV)
	k.expect("state "+byURL+" SUCCEEDED", "result "+byURL)

	k.subscribe(fails, "inline")
	k.subscribe(cancelled, "inline")
	k.expect("state "+fails+" RUNNING", "state "+cancelled+" RUNNING")
	f.queries.end(t, fails, query.Failed, "")
	k.expect("state "+fails+" FAILED", "error "+fails+" The query failed")
	f.do("DELETE", "/v1/queries/"+cancelled, nil).must(t, 200)
	k.expect("state "+cancelled+" CANCELLED", "error "+cancelled+" The query was cancelled")

	other := f.connect(t, nil) // who reconnects
	other.subscribe(fails, "inline")
	other.expect("state "+fails+" FAILED", "error "+fails+" The query failed")
}

// TestSocketChunks: results of several executions take turns; characters stay whole, wherever they lie.
func TestSocketChunks(t *testing.T) {
	t.Parallel()
	f := start(t)
	k := f.connect(t, nil)
	results := map[string]string{}
	for i := range 7 { // more than are sent at a time
		id := f.startQuery(t, "SELECT")
		results[id] = strings.Repeat("x", i) + strings.Repeat("<é€😀\n", 400_000+i) // more than the kernel holds: nothing is read yet
		f.queries.end(t, id, query.Succeeded, results[id])
		k.subscribe(id, "inline")
	}
	got := map[string]*strings.Builder{}
	next := map[string]int64{}
	ended, alternates, last := 0, false, ""
	for ended < len(results) {
		m := k.next()
		switch m.Type {
		case "result":
			got[m.ExecutionID] = &strings.Builder{}
		case "chunk":
			if m.Seq != next[m.ExecutionID] || len(m.Data) > 32<<10 {
				t.Fatalf("chunk %d of %s, %d bytes; want %d", m.Seq, m.ExecutionID, len(m.Data), next[m.ExecutionID])
			}
			next[m.ExecutionID]++
			got[m.ExecutionID].WriteString(m.Data)
			alternates = alternates || last != "" && last != m.ExecutionID && m.Seq > 0
			last = m.ExecutionID
		case "end":
			sum := sha256.Sum256([]byte(results[m.ExecutionID]))
			if m.SHA256 != hex.EncodeToString(sum[:]) || got[m.ExecutionID].String() != results[m.ExecutionID] {
				t.Errorf("%s: %d of %d bytes", m.ExecutionID, got[m.ExecutionID].Len(), len(results[m.ExecutionID]))
			}
			ended++
		}
	}
	if !alternates {
		t.Error("one result waits for the end of another")
	}
}

// TestSocketBadMessages are answered, and nothing else happens; one that is too long ends the connection.
func TestSocketBadMessages(t *testing.T) {
	t.Parallel()
	f := start(t)
	id := f.startQuery(t, "SELECT")
	k := f.connect(t, nil)
	for text, want := range map[string]string{
		`{`:                      "error The message is not understood",
		`[]`:                     "error The message is not understood",
		`"subscribe"`:            "error The message is not understood",
		`{"action":"subscribe"}`: "error The message is not understood",
		`{"action":1}`:           "error The message is not understood",
		`{"executionId":"q0"}`:   "error q0 The action is not known",
		`{"action":"subscribe","executionId":"q0","deliver":"pigeon"}`: "error q0 The delivery is not known",
		`{"action":"subscribe","executionId":"q9"}`:                    "error q9 There is no such query execution",
		`{"action":"subscribe","executionId":"../../etc"}`:             "error ../../etc There is no such query execution",
	} {
		k.send(text)
		k.expect(want)
	}
	if err := k.c.WriteMessage(websocket.BinaryMessage, []byte(`{"action":"subscribe","executionId":"q0"}`)); err != nil {
		t.Fatal(err)
	}
	k.expect("error The message is not understood")
	k.send(`{"action":"unsubscribe","executionId":"q9"}`)
	k.subscribe(id, "inline")
	k.expect("state " + id + " RUNNING")
	k.send(`{"action":"unsubscribe","executionId":"` + id + `"}`)
	k.send(`{`) // its answer comes after the unsubscription is done
	k.expect("error The message is not understood")
	f.queries.end(t, id, query.Failed, "")
	k.send(`{`)
	k.expect("error The message is not understood")

	k.send(`{"action":"` + strings.Repeat("x", 4<<10) + `"}`)
	_, _, err := k.c.ReadMessage()
	if !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("after a long message: %v", err)
	}
}

// TestSocketSubscriptionsAreBounded: what goes beyond is refused, and the others stay.
func TestSocketSubscriptionsAreBounded(t *testing.T) {
	t.Parallel()
	f := start(t)
	k := f.connect(t, nil)
	var ids []string
	for range 256 {
		ids = append(ids, f.startQuery(t, "SELECT"))
		k.subscribe(ids[len(ids)-1], "inline")
		k.expect("state " + ids[len(ids)-1] + " RUNNING")
	}
	extra := f.startQuery(t, "SELECT")
	for range 10_000 {
		k.subscribe(extra, "inline")
		k.expect("error " + extra + " A parameter is not suitable")
	}
	f.queries.end(t, ids[0], query.Failed, "")
	k.expect("state "+ids[0]+" FAILED", "error "+ids[0]+" The query failed")
	k.subscribe(extra, "inline")
	k.expect("state " + extra + " RUNNING")
}

// TestSocketSlowReader: who reads nothing is cut off, holds up nobody, and leaves nothing open.
func TestSocketSlowReader(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config, _ *Deps) { c.WriteTimeout = 2 * time.Second })
	id := f.startQuery(t, "SELECT")
	slow, quick := f.connect(t, nil), f.connect(t, nil)
	for _, k := range []*client{slow, quick} {
		k.subscribe(id, "inline")
		k.expect("state " + id + " RUNNING")
	}
	want := strings.Repeat("\"0123456789\"\n", 1<<20) // more than the kernel holds for it
	f.queries.end(t, id, query.Succeeded, want)
	quick.expect("state " + id + " SUCCEEDED")
	if got, _ := quick.result(id); got != want {
		t.Errorf("%d of %d bytes", len(got), len(want))
	}
	eventually(t, "the slow one's connection is closed", func() bool { open, _ := f.server.Connections(); return open <= 2 }) // quick's, and do's
	eventually(t, "every result is closed", func() bool { return f.queries.engine.open.Load() == 0 })
	for {
		if _, _, err := slow.c.ReadMessage(); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Error(err)
			}
			break
		}
	}
}

// TestSocketSlowResult: who reads, but very slowly, is told to fetch the result, and goes on with all else.
func TestSocketSlowResult(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config, _ *Deps) { c.WriteTimeout = 3 * time.Second })
	id := f.startQuery(t, "SELECT")
	k := f.connect(t, nil)
	k.subscribe(id, "inline")
	k.expect("state " + id + " RUNNING")
	f.queries.end(t, id, query.Succeeded, strings.Repeat("\"0123456789\"\n", 1<<20))
	<-time.After(1500 * time.Millisecond) // it is what the client does
	k.expect("state "+id+" SUCCEEDED", "result "+id)
	m := k.next()
	for ; m.Type == "chunk"; m = k.next() {
	}
	if m.Type != "error" || m.Status != 408 || !strings.Contains(m.Detail, "/v1/queries/"+id+"/result") {
		t.Errorf("%+v", m)
	}
	k.send(`{`)
	k.expect("error The message is not understood")
}

// TestSocketSubscribesAgain: whatever becomes of the delivery before, a new subscription has state and result from the beginning.
func TestSocketSubscribesAgain(t *testing.T) {
	t.Parallel()
	f := start(t)
	k := f.connect(t, nil)
	id := f.startQuery(t, "SELECT")
	want := strings.Repeat("x", 40_000) // two chunks
	f.queries.end(t, id, query.Succeeded, want)
	for round := range 300 {
		k.subscribe(id, "inline")
		for k.next().Type != "chunk" {
		}
		if round%2 == 0 {
			k.send(`{"action":"unsubscribe","executionId":"` + id + `"}`)
		}
		k.subscribe(id, "inline")
		m := k.next()
		for ; m.State != "SUCCEEDED"; m = k.next() { // the rest of what was on its way
		}
		if got, _ := k.result(id); got != want {
			t.Fatalf("round %d: %d bytes", round, len(got))
		}
	}
}

// TestSocketResultsAreBounded: a result that is on its way counts as watched.
func TestSocketResultsAreBounded(t *testing.T) {
	t.Parallel()
	f := start(t)
	k := f.connect(t, nil)
	large := f.startQuery(t, "SELECT")
	f.queries.end(t, large, query.Succeeded, strings.Repeat("\"0123456789\"\n", 1<<20))
	k.subscribe(large, "inline")
	k.expect("state "+large+" SUCCEEDED", "result "+large) // the rest stays unread for now
	for range socketWatches - 1 {
		k.subscribe(f.startQuery(t, "SELECT"), "inline")
	}
	extra := f.startQuery(t, "SELECT")
	k.subscribe(extra, "inline")
	m := k.next()
	for ; m.ExecutionID != extra; m = k.next() {
	}
	if m.Type != "error" || m.Status != 400 {
		t.Errorf("one more than may be: %+v", m)
	}
}

// TestSocketShutdown: the server says goodbye to those who wait, and waits for nobody.
func TestSocketShutdown(t *testing.T) {
	t.Parallel()
	f := start(t)
	id := f.startQuery(t, "SELECT")
	k := f.connect(t, nil)
	k.subscribe(id, "inline")
	k.expect("state " + id + " RUNNING")
	ctx, cancel := context.WithTimeout(t.Context(), socketSilence/2)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f.server.Shutdown(ctx) }()
	if _, _, err := k.c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("%v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestSocketGoodbyes: all of many hear that the server goes.
func TestSocketGoodbyes(t *testing.T) {
	t.Parallel()
	f := start(t)
	var clients []*client
	for range 300 {
		clients = append(clients, f.connect(t, nil))
	}
	for _, k := range clients { // it is served
		k.send(`{`)
		k.expect("error The message is not understood")
	}
	if err := f.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, k := range clients {
		if _, _, err := k.c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Fatalf("client %d: %v", i, err)
		}
	}
}

// TestSocketsAreFew: a quarter of the connections, and no request with a body.
func TestSocketsAreFew(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *Config, _ *Deps) { c.MaxConnections = 8 })
	one, two := f.connect(t, nil), f.connect(t, nil)
	if _, status, isProblem := f.dialSocket(t, nil); status != 503 || !isProblem {
		t.Errorf("a third one: status %d", status)
	}
	f.post(`{}`).id(t)
	one.close()
	eventually(t, "there is room again", func() bool {
		c, status, _ := f.dialSocket(t, nil)
		if c != nil {
			_ = c.Close() // the next one needs its place
		}
		return status == 101
	})
	two.send(`{`)
	two.expect("error The message is not understood")
	f.do("GET", "/v1/ws", "x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==").
		problem(t, 400, "malformed-request")
}

// TestSocketOrigin: pages of other sites get none, with keys and without.
func TestSocketOrigin(t *testing.T) {
	t.Parallel()
	open := start(t)
	keyed, key, _ := startWithKeys(t)
	bearer := "Bearer " + key
	for name, c := range map[string]struct {
		f      *front
		header http.Header
		want   int
	}{
		"loopback page":           {open, http.Header{"Origin": {"http://" + open.addr}}, 101},
		"no page":                 {open, nil, 101},
		"foreign page":            {open, http.Header{"Origin": {"https://evil.example"}}, 403},
		"no key":                  {keyed, nil, 401},
		"key":                     {keyed, http.Header{"Authorization": {bearer}}, 101},
		"own page with key":       {keyed, http.Header{"Authorization": {bearer}, "Origin": {"https://" + keyed.addr}}, 101},
		"another local page":      {open, http.Header{"Origin": {"http://localhost:1"}}, 403},
		"foreign page with key":   {keyed, http.Header{"Authorization": {bearer}, "Origin": {"https://evil.example"}}, 403},
		"page of nobody with key": {keyed, http.Header{"Authorization": {bearer}, "Origin": {"null"}}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			conn, status, isProblem := c.f.dialSocket(t, c.header)
			if conn != nil {
				_ = conn.Close() // it is of no further use
			}
			if status != c.want || isProblem != (c.want != 101) {
				t.Errorf("status %d, want %d; a problem: %v", status, c.want, isProblem)
			}
		})
	}
}

// TestTickets: once, for 30 s, for this server's WebSocket alone, by whoever has the key.
func TestTickets(t *testing.T) {
	t.Parallel()
	var late atomic.Bool
	f, key, _ := startWithKeys(t, func(c *Config, _ *Deps) {
		began := time.Now()
		c.Now = func() time.Time {
			if late.Load() {
				return began.Add(30 * time.Second)
			}
			return began
		}
	})
	f.do("POST", "/v1/tickets", nil).problem(t, 401, "unauthorized")
	f.key = key
	issue := func() string {
		var ticket struct {
			Ticket    string `json:"ticket"`
			ExpiresIn int    `json:"expiresIn"`
		}
		a := f.do("POST", "/v1/tickets", nil).must(t, 201)
		if a.decode(t, &ticket); ticket.ExpiresIn != 30 || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%+v, %v", ticket, a.header)
		}
		return ticket.Ticket
	}
	refused := func(what, ticket string) {
		t.Helper()
		c, status, isProblem := f.dialSocket(t, nil, ticket)
		if c != nil {
			_ = c.Close() // the test has failed
		}
		if status != 401 || !isProblem {
			t.Errorf("%s: status %d", what, status)
		}
	}
	ticket := issue()
	k := f.connect(t, nil, ticket)
	k.send(`{}`)
	k.expect("error The message is not understood")
	refused("twice", ticket)
	ticket = issue()
	late.Store(true)
	refused("too late", ticket)
	ticket = issue()
	for what, forged := range map[string]string{"cut": ticket[:len(ticket)-1], "long": ticket + "A", "changed": "A" + ticket[1:], "junk": "%00", "short": "AAAA"} {
		if forged != ticket {
			refused(what, forged)
		}
	}
	forger := newTickets(&Config{Keys: f.server.cfg.Keys, TicketSecret: []byte(HashKey(key)), UsedTickets: f.server.cfg.UsedTickets, Now: time.Now})
	refused("signed with what the key file has", forger.issue("one"))
	stranger := newTickets(&Config{Keys: f.server.cfg.Keys, TicketSecret: f.server.cfg.TicketSecret, UsedTickets: f.server.cfg.UsedTickets, Now: time.Now})
	refused("of a key that is gone", stranger.issue("three"))
	f.key = ""
	f.do("GET", "/v1/queries?ticket="+ticket, nil).problem(t, 401, "unauthorized")
	f.connect(t, nil, ticket)
}
