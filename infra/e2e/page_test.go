package e2e

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// step is something to do in the browser that gives nothing back.
type step = chromedp.Action[chromedp.Void]

// tab is the console in a browser of its own.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string

	mu       sync.Mutex
	faults   []string // what must never be
	requests []string // METHOD path, and status path of its answer
	frames   []string // messages of the server over WebSocket
}

// chromium finds the browser, and fails where there is none.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no Chromium; on Debian: apt-get install chromium")
	return ""
}

// open shows the console of a server, and looks for faults at the end of the test.
func open(t *testing.T, s *server, prepare ...step) *tab {
	t.Helper()
	p := newTab(t, s.url)
	p.do(prepare...)
	p.do(chromedp.Navigate(s.url + "/"))
	t.Cleanup(func() {
		if found := p.found(); found != "" {
			t.Error(found)
		}
	})
	return p
}

// newTab starts a browser; for root without Chromium's sandbox, which does not work for it.
func newTab(t *testing.T, url string) *tab {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(chromium(t)),
		chromedp.WindowSize(1280, 860), chromedp.Flag("lang", "en-GB"))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	p := &tab{t: t, url: url}
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf), chromedp.WithListener(p.hear))
	t.Cleanup(cancel)
	p.ctx = ctx
	return p
}

// hear takes note of what the page does.
func (p *tab) hear(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.fault("an exception: %s", e.ExceptionDetails.Exception.Description)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			words := []string{}
			for _, argument := range e.Args {
				words = append(words, string(argument.Value)+argument.Description)
			}
			p.fault("console.%s: %s", e.Type, strings.Join(words, " "))
		}
	case *log.EventEntryAdded:
		// Chromium logs every answer of 400 and above, and every lost connection; those are looked at below.
		if e.Entry.Source != log.EntrySourceNetwork && e.Entry.Level != log.EntryLevelVerbose && e.Entry.Level != log.EntryLevelInfo {
			p.fault("the browser logged, for %s: %s", e.Entry.Source, e.Entry.Text)
		}
	case *page.EventJavascriptDialogOpening:
		p.fault("a dialog: %s", e.Message)
		go func() { _, _ = chromedp.Call(p.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{}) }() // the test fails anyway
	case *network.EventRequestWillBeSent:
		p.asked(e.Request.Method, e.Request.URL)
	case *network.EventWebSocketCreated:
		p.asked("WebSocket", e.URL)
	case *network.EventWebSocketFrameReceived:
		p.mu.Lock()
		p.frames = append(p.frames, string(e.Response.PayloadData))
		p.mu.Unlock()
	case *network.EventResponseReceived:
		p.note(strconv.FormatInt(e.Response.Status, 10), e.Response.URL)
		if e.Response.Status >= 400 && !strings.Contains(e.Response.URL, "/v1/") {
			p.fault("%d for %s", e.Response.Status, e.Response.URL)
		}
	case *inspector.EventTargetCrashed:
		p.fault("the page crashed")
	}
}

func (p *tab) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// asked takes note of a request, which must go to the server.
func (p *tab) asked(method, address string) {
	if u, err := url.Parse(address); err != nil || u.Scheme != "blob" && "http://"+u.Host != p.url {
		p.fault("a request to another host: %s %s", method, address)
	}
	p.note(method, address)
}

func (p *tab) note(what, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, what+" "+strings.TrimPrefix(address, p.url))
}

// received reports whether a message over WebSocket held the text.
func (p *tab) received(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.frames, func(frame string) bool { return strings.Contains(frame, text) })
}

// did reports whether a request was made, or answered, whose method or status and path begin so.
func (p *tab) did(start string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.requests, func(request string) bool { return strings.HasPrefix(request, start) })
}

// do takes steps, each within patience.
func (p *tab) do(steps ...step) {
	p.t.Helper()
	for _, one := range steps {
		within(p, one)
	}
}

// within does something within patience.
func within[T any](p *tab, action chromedp.Action[T]) (value T) {
	p.t.Helper()
	// The first run starts the browser, whose life is that of its context: that must not be one with a timeout.
	done := make(chan error, 1)
	go func() {
		var err error
		value, err = chromedp.Run(p.ctx, action)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			p.t.Fatalf("%v\n%s", err, p.sight())
		}
	case <-time.After(patience):
		p.t.Fatalf("the browser does not answer\n%s", p.sight())
	}
	return value
}

// send makes a step of a command of the protocol.
func send[P, R any](command cdp.Command[P, R], parameters P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, parameters)
		return err
	})
}

// eval evaluates JavaScript; a promise is awaited.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	return within(p, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// script runs JavaScript for what it does.
func (p *tab) script(code string) {
	p.t.Helper()
	eval[chromedp.Void](p, code+"\n;void 0")
}

// text is the text of an element.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// await waits until a JavaScript expression is true.
func (p *tab) await(condition string) {
	p.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		if eval[bool](p, "Boolean("+condition+")") {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("it never came: %s\n%s", condition, p.sight())
		}
	}
}

// awaitText waits until an element shows a text.
func (p *tab) awaitText(selector, text string) {
	p.t.Helper()
	p.await(fmt.Sprintf("(document.querySelector(%q)?.innerText ?? '').includes(%q)", selector, text))
}

// sight is what the page shows, for the log of a test that fails.
func (p *tab) sight() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("location.hash + '\\n' + document.body.innerText.slice(0, 3000)"))
	if err != nil {
		return "the page can't be read: " + err.Error()
	}
	return "the page shows:\n" + text
}

// view goes to a view by its link.
func (p *tab) view(name string) {
	p.t.Helper()
	p.click("#to-" + name)
	p.await(fmt.Sprintf("!document.getElementById(%q).hidden", name))
}

// click clicks on an element, which it waits for.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

// fill types a text into a field in place of what it holds.
func (p *tab) fill(selector, text string) {
	p.t.Helper()
	p.do(chromedp.Focus(chromedp.CSS(selector)))
	p.script("document.activeElement.select()")
	p.do(send(input.InsertText, input.InsertTextParams{Text: text}))
}

// press presses keys one after the other. What a key types goes with its going down, as it does in a browser: a page that handles
// the one prevents the other. chromedp.KeyEvent sends two events.
func (p *tab) press(keys ...string) {
	p.t.Helper()
	for _, r := range strings.Join(keys, "") {
		events := kb.Encode(r)
		for _, event := range events[1:] {
			if event.Type == kb.KeyChar {
				events[0].Text = event.Text
			}
		}
		p.do(send(input.DispatchKeyEvent, *events[0]), send(input.DispatchKeyEvent, *events[len(events)-1]))
	}
}

// pressWithCtrl presses a key while Ctrl is down.
func (p *tab) pressWithCtrl(key string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(key, chromedp.KeyModifiers(chromedp.ModifierCtrl)))
}

// upload chooses files in a file input.
func (p *tab) upload(selector string, files ...string) {
	p.t.Helper()
	p.do(chromedp.SetUploadFiles(chromedp.CSS(selector), files))
}

// run runs SQL with Ctrl-Enter.
func (p *tab) run(sql string) {
	p.t.Helper()
	p.fill("#sql-text", sql)
	p.pressWithCtrl(kb.Enter)
}

// ask runs SQL and waits for its result.
func (p *tab) ask(sql string) {
	p.t.Helper()
	p.run(sql)
	p.awaitText("#sql-state", "SUCCEEDED")
}

// cell is the text in a row and a column of the result, counted from 0, if the row is seen.
func cell(row, column int) string {
	return fmt.Sprintf("(document.querySelector('.grid-row[aria-rowindex=\"%d\"]')?.children[%d].innerText ?? '')", row+2, column+1)
}

// found are the faults so far.
func (p *tab) found() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.faults, "\n")
}

// until waits for what the test itself can see.
func (p *tab) until(what string, condition func() bool) {
	p.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		if condition() {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("it never came: %s; the faults are %q\n%s", what, p.found(), p.sight())
		}
	}
}
