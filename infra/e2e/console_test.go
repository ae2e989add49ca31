package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// slow runs for ever, as far as a test goes.
const slow = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range > 1"

// A document that is pasted is acked, found by its id, and in SQL; the result is pushed.
func TestSendFindAsk(t *testing.T) {
	t.Parallel()
	p := open(t, startServer(t))
	p.view("send")
	p.fill("#send-text", `{"sensor": "roof-7",  "celsius": 21.50}`)
	p.fill("#send-type", "reading")
	p.click("#send-form [type=submit]")
	p.awaitText("#send-results", "acked in")
	id := p.text("#send-results a")
	if len(id) != 27 {
		t.Fatalf("the id is %q", id)
	}

	p.click("#send-results a")
	p.awaitText("#found-title", id)
	if raw, want := p.textOf("#find-raw pre"), `{"sensor": "roof-7",  "celsius": 21.50}`; raw != want {
		t.Errorf("as posted: %q, want %q", raw, want)
	}
	if laid, want := p.textOf("#find-body pre"), "{\n  \"sensor\": \"roof-7\",\n  \"celsius\": 21.50\n}"; laid != want {
		t.Errorf("laid out: %q, want %q", laid, want)
	}
	p.awaitText("#found-attributes", "sha256")
	p.click("#find-tab-envelope")
	p.awaitText("#find-envelope", `"type": "reading"`)

	p.view("sql")
	p.ask("SELECT type, json_extract_scalar(data, '$.sensor') AS sensor, subject FROM events")
	p.await(cell(0, 0) + " === 'reading' && " + cell(0, 1) + " === 'roof-7' && " + cell(0, 2) + " === 'NULL'")
	p.awaitText("#sql-facts", "1 rows")
	if !p.received(`"type":"chunk"`) || p.did("GET /v1/queries") {
		t.Errorf("the result did not come over the WebSocket: %v", p.requests)
	}
	csv := eval[string](p, "fetch(document.getElementById('sql-download').href).then((file) => file.text())")
	if want := "\"type\",\"sensor\",\"subject\"\n\"reading\",\"roof-7\",\n"; csv != want {
		t.Errorf("the CSV is %q, want %q", csv, want)
	}
}

// Files are sent as they are; of a batch each line has its fate.
func TestSendFiles(t *testing.T) {
	t.Parallel()
	p := open(t, startServer(t))
	dir := t.TempDir()
	lines, whole := filepath.Join(dir, "orders.ndjson"), filepath.Join(dir, "one.json")
	write(t, lines, "{\"order\":1}\n\n{\"order\":\n{\"order\":3}\n")
	write(t, whole, `[1, 2, 3]`)
	p.view("send")
	p.upload("#send-files", lines, whole)
	p.await("document.querySelectorAll('#send-results .pill').length === 2")
	p.awaitText("#send-results", "2 events acked")
	p.awaitText("#send-results .problems", "Line 3")
	p.awaitText("#send-results", "Stored in part")
	if text := p.text("#send-results .problems"); strings.Count(text, "Line") != 1 {
		t.Errorf("the problems are %q", text)
	}

	// A file that is dropped, and one that is too large.
	p.script(`(() => {
		const files = new DataTransfer()
		files.items.add(new File(['{"dropped":true}'], 'dropped.json'))
		files.items.add(new File([new Uint8Array(10485761)], 'large.json'))
		document.getElementById('drop').dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }))
	})()`)
	p.awaitText("#send-results", "dropped.json")
	p.awaitText("#send-results", "Too large")
	p.view("sql")
	p.ask("SELECT count(*) AS n FROM events")
	p.await(cell(0, 0) + " === '4'")
}

// A file of more lines than go into one request becomes several.
func TestSendManyLines(t *testing.T) {
	t.Parallel()
	p := open(t, startServer(t))
	var text strings.Builder
	for i := range 12_000 {
		fmt.Fprintf(&text, "{\"n\":%d}\n", i)
	}
	file := filepath.Join(t.TempDir(), "many.jsonl")
	write(t, file, text.String())
	p.view("send")
	p.upload("#send-files", file)
	p.awaitText("#send-results", "12,000 events acked in")
}

// An id that the index does not have yet is shown as on its way, and as an event once it has come.
func TestFindWaitsForTheIndex(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := open(t, s)
	p.view("find")
	p.fill("#find-id", "short")
	p.press(kb.Enter)
	p.awaitText("#find-state", "can’t be an id")

	id := s.document(`{"late": true}`)
	// The index is quick; so the first answer is made to be what a slower one says.
	p.script(`(() => {
		const real = window.fetch
		let held = 2
		window.fetch = (path, init) => path.startsWith('/v1/events/') && held-- > 0
			? Promise.resolve(new Response(JSON.stringify({ type: '/problems/event-pending', title: 'Pending', detail: 'Not so far yet.', retryAfter: 1 }), { status: 404 }))
			: real(path, init)
	})()`)
	p.fill("#find-id", id)
	p.press(kb.Enter)
	p.awaitText("#find-state [data-state=pending]", "On its way")
	p.awaitText("#find-body", `"late": true`)
	p.await("document.getElementById('find-state').childNodes.length === 0")

	unknown := "0" + id[1:] // of a time long ago
	p.fill("#find-id", unknown)
	p.press(kb.Enter)
	p.awaitText("#find-state", "No event has this id")
}

// A query that would run for ever is cancelled, and the next one runs.
func TestCancel(t *testing.T) {
	t.Parallel()
	p := open(t, startServer(t))
	p.view("sql")
	p.run(slow)
	p.awaitText("#sql-state", "RUNNING")
	p.click("#sql-cancel")
	p.awaitText("#sql-state", "CANCELLED")
	p.await("document.getElementById('sql-cancel').hidden && !document.getElementById('sql-run').disabled")
	p.ask("SELECT 7 AS n")
	p.await(cell(0, 0) + " === '7'")

	p.run("SELECT nothing FROM events")
	p.awaitText("#sql-state", "FAILED")
	p.awaitText("#sql-notice", "nothing")
	p.click("#sql-tab-history")
	p.awaitText("#sql-past", "cancelled")
	p.click("#sql-past li:nth-child(2) button")
	p.await("document.getElementById('sql-text').value === 'SELECT 7 AS n'")
}

// The page outlives its server: it says so, and goes on with the next. What ran is not there any more, and the page is told.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := open(t, s)
	p.awaitText("#standing", "Live")
	p.view("sql")
	p.run(slow)
	p.awaitText("#sql-state", "RUNNING")
	s.restart(func() {
		p.awaitText("#standing", "Reconnecting")
		p.awaitText("#sql-connection", "connection is lost")
	})
	p.awaitText("#sql-state", "FAILED")
	p.awaitText("#standing", "Live")
	p.ask("SELECT 1 + 1 AS n")
	p.await(cell(0, 0) + " === '2'")
	id := s.document(`{"after": "restart"}`)
	p.view("find")
	p.fill("#find-id", id)
	p.press(kb.Enter)
	p.awaitText("#find-body", `"after": "restart"`)
}

// A result of 100,000 rows is a table of some dozens, wherever it is scrolled to.
func TestHundredThousandRows(t *testing.T) {
	t.Parallel()
	p := open(t, startServer(t))
	p.view("sql")
	p.ask("SELECT range AS n, 'row ' || range AS name, range * 1.5 AS half FROM range(100000) ORDER BY 1")
	p.awaitText("#sql-facts", "100,000 rows")
	few := "document.querySelectorAll('.grid-row').length < 100"
	p.await(cell(0, 1) + " === 'row 0' && " + few)
	p.do(chromedp.Focus(chromedp.CSS("#grid")), chromedp.KeyEvent(kb.End, chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	p.await(cell(99_999, 1) + " === 'row 99999' && " + few)
	p.script("document.getElementById('grid').scrollTo(0, 50000 * 30)")
	p.await(cell(50_003, 1) + " === 'row 50003' && " + few)
	p.click("#sql-tab-chart")
	p.awaitText("#plot-note", "of 100,000 rows")

	// Of more than the page keeps it tells so, and the file has them all.
	p.ask("SELECT range AS n FROM range(300000) ORDER BY 1")
	p.awaitText("#sql-more", "The first 250,000 of 300,000 rows")
	p.await("document.getElementById('grid').ariaRowCount === '250001' && !document.getElementById('sql-download').hidden")
}

// The overview's figures are the server's: they move with what is posted.
func TestOverview(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := open(t, s)
	p.awaitText("#overview-empty", "Nothing has been posted yet")
	for range 20 {
		s.document(`{"n": 1}`)
	}
	p.awaitText("#tiles", "20")
	p.await("document.getElementById('overview-empty').hidden")
	p.await("document.querySelectorAll('#charts .line').length === 8 && document.querySelector('#charts .line').getAttribute('d').length > 20")
	p.await("[...document.querySelectorAll('#charts svg')].some((svg) => /p50 [0-9.]+ (µs|ms)/.test(svg.getAttribute('aria-label')))" +
		" || [...document.querySelectorAll('#charts .line.two')].some((line) => line.getAttribute('d') !== '')")
}

// The page is light or dark as the system is, unless its reader has chosen, which lasts.
func TestTheme(t *testing.T) {
	t.Parallel()
	dark := &emulation.MediaFeature{Name: "prefers-color-scheme", Value: "dark"}
	p := open(t, startServer(t), send(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{dark}}))
	const isDark = "getComputedStyle(document.documentElement).backgroundColor === 'rgb(11, 17, 23)'"
	p.await(isDark)
	p.click("#theme")
	p.await("!(" + isDark + ") && document.getElementById('theme').ariaLabel === 'Theme: light'")
	p.do(chromedp.Reload())
	p.await("!(" + isDark + ")")
	p.click("#theme")
	p.await(isDark + " && document.getElementById('theme').ariaLabel === 'Theme: dark'")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// textOf is the text of an element that may be hidden.
func (p *tab) textOf(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q).textContent", selector))
}
