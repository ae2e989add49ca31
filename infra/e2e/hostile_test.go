package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// markup does harm wherever it becomes elements.
const markup = `<img src=x onerror='alert(1)'><script>alert(2)</script><svg onload=alert(3)><a href='javascript:alert(4)'>x</a><style>*{display:none}`

// harmless: nothing that markup asks for is in the page.
const harmless = `!document.querySelector('img[src=x], script:not([src]), svg[onload], a[href^=javascript], style, [onerror]')`

// What strangers say is text, wherever it is shown: a file's name, an event and its attributes, a column's name, an error.
func TestStrangersAreText(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := open(t, s)
	file := filepath.Join(t.TempDir(), strings.ReplaceAll(`<img src=x onerror=alert(1)>.json`, "/", ""))
	write(t, file, `{"`+markup+`": "`+markup+`"}`)
	p.view("send")
	p.fill("#send-type", `<img src=x onerror=alert(5)>`)
	p.upload("#send-files", file)
	p.awaitText("#send-results", "acked in")
	p.awaitText("#send-results .name", "<img src=x onerror=alert(1)>.json")
	p.await(harmless)
	// As lines it is refused in part, and the problems are shown.
	p.fill("#send-text", "{\"a\":1}\n<img src=x onerror=alert(6)>")
	p.click("#send-form [type=submit]")
	p.awaitText("#send-results .problems", "Line 2")
	p.await(harmless)

	id := p.text("#send-results > li:last-child a")
	p.view("find")
	p.fill("#find-id", id)
	p.press(kb.Enter)
	p.awaitText("#find-body", "onerror")
	p.awaitText("#found-attributes", "<img src=x onerror=alert(5)>")
	for _, panel := range []string{"raw", "envelope"} {
		p.click("#find-tab-" + panel)
		p.awaitText("#find-"+panel, "onerror")
	}
	p.fill("#find-id", markup)
	p.press(kb.Enter)
	p.awaitText("#find-state", "can’t be an id")
	p.await(harmless)

	p.view("sql")
	p.ask(`SELECT type AS "<img src=x onerror=alert(7)>", data, 1 AS "</span><script>alert(8)</script>" FROM events WHERE type <> 'event' ORDER BY size DESC`)
	p.await(cell(0, 0) + ".includes('onerror=alert(5)') && " + cell(0, 1) + ".includes('<script>')")
	p.await("document.querySelector('.grid-head').innerText.includes('onerror=alert(7)')")
	p.do(chromedp.DoubleClick(chromedp.CSS(".grid-row [role=gridcell]:nth-child(3)")))
	p.awaitText("#cell-value", "onerror")
	p.await(harmless)
	p.press(kb.Escape)
	p.click("#sql-tab-chart")
	p.await("document.querySelector('#plot svg text').textContent.includes('<img')")
	p.click("#sql-tab-history")
	p.awaitText("#sql-past", "onerror=alert(7)")
	p.run(`SELECT "<img src=x onerror=alert(9)>" FROM events`)
	p.awaitText("#sql-notice", "onerror=alert(9)")
	p.await(harmless)
	p.script("location.hash = '#/find/' + encodeURIComponent('<img src=x onerror=alert(10)>')")
	p.awaitText("#find-state", "can’t be an id")
	p.await(harmless)
}

// The checks of every test are worth something: what they look for, they see.
func TestFaultsAreSeen(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for name, bad := range map[string]struct{ script, want string }{
		"exception":    {"setTimeout(() => { throw new Error('bad') })", "an exception"},
		"console":      {"console.error('bad')", "console.error"},
		"script":       {"try { document.createElement('script').src = '/console/main.js' } catch {}", "the browser logged, for"},
		"inline style": {"document.body.setAttribute('style', 'color: red')", "the browser logged, for security"},
		"markup":       {"try { document.body.innerHTML = '<b>' } catch {}", "the browser logged, for"},
		"other host":   {"fetch('http://127.0.0.1:1/').catch(() => {})", "the browser logged, for security"},
		"image":        {"document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:1/x.png' }))", "the browser logged, for security"},
		"missing file": {"fetch('/console/none.js')", "404 for"},
		"dialog":       {"setTimeout(() => alert('bad'))", "a dialog"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTab(t, s.url)
			p.do(chromedp.Navigate(s.url + "/"))
			p.awaitText("#standing", "Live")
			if found := p.found(); found != "" {
				t.Fatalf("faults of an innocent page: %s", found)
			}
			p.script(bad.script)
			p.until(bad.want, func() bool { return strings.Contains(p.found(), bad.want) })
		})
	}
	t.Run("foreign page", func(t *testing.T) {
		t.Parallel()
		p := newTab(t, s.url)
		p.do(send(page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true}), chromedp.Navigate(s.url+"/"))
		p.script("fetch('http://127.0.0.1:1/').catch(() => {}); 0")
		p.until("the request is seen", func() bool { return strings.Contains(p.found(), "another host") })
	})
}

// A server with keys is asked with one, which the page keeps for itself.
func TestKeyPrompt(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--key-file", keyFile(t))
	s.key = testKey
	p := open(t, s)
	p.do(chromedp.WaitVisible(chromedp.CSS("#key-dialog")))
	p.awaitText("#key-reason", "asks for an API key")
	p.fill("#key-text", "psk_wrong")
	p.press(kb.Enter)
	p.awaitText("#key-reason", "does not know this key")
	p.press(kb.Escape)
	p.awaitText("#standing", "Locked")
	p.awaitText("#overview-notice", "API key is needed")

	// It does not nag, but it asks again when somebody wants something.
	p.view("sql")
	p.run("SELECT 1 AS n")
	p.do(chromedp.WaitVisible(chromedp.CSS("#key-dialog")))
	p.fill("#key-text", testKey)
	p.press(kb.Enter)
	p.awaitText("#standing", "Live")
	p.awaitText("#sql-state", "SUCCEEDED")
	p.await(cell(0, 0) + " === '1'")
	p.click("#sql-download") // a link can't send the key
	p.until("the file is fetched", func() bool { return p.did("200 /v1/queries/") })
	p.await(fmt.Sprintf("Object.values(sessionStorage).includes(%q)", testKey))
	p.await(fmt.Sprintf("!JSON.stringify(Object.entries(localStorage)).includes(%q) && !document.cookie && !location.href.includes(%q)", testKey, testKey))
	p.await(fmt.Sprintf("!document.documentElement.outerHTML.includes(%q)", testKey))
	p.do(chromedp.Reload())
	p.awaitText("#standing", "Live")
	p.click("#key")
	p.click("#key-forget")
	p.awaitText("#standing", "Locked")
	p.await("sessionStorage.length === 0")
}

// Everything fits on a phone: nothing scrolls sideways but what is wide by its nature, within itself.
func TestPhone(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	id := s.document(`{"long": "` + strings.Repeat("wide", 400) + `"}`)
	p := open(t, s, chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile, chromedp.EmulateTouch))
	fits := "document.documentElement.scrollWidth <= 360 && document.documentElement.clientWidth === 360"
	p.awaitText("#tiles", "Acked")
	p.await(fits)
	p.view("send")
	p.fill("#send-text", strings.Repeat("[", 3))
	p.click("#send-form [type=submit]")
	p.await("document.querySelector('#send-results .notice')")
	p.fill("#send-text", `{"a": 1}`)
	p.click("#send-form [type=submit]")
	p.awaitText("#send-results", "acked in")
	p.await(fits)
	p.view("find")
	p.fill("#find-id", id)
	p.press(kb.Enter)
	p.awaitText("#find-body", "wide")
	p.await(fits)
	p.view("sql")
	p.ask("SELECT * FROM events")
	p.await(cell(0, 0))
	p.await(fits)
	p.click("#sql-tab-chart")
	p.await(fits)
}
