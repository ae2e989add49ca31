package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// stop is where the Tab key has led: what it is called, and whether it shows.
type stop struct {
	Name    string
	Visible bool
}

// focused describes the focused element; "" when that is the page.
const focused = `(() => {
	const e = document.activeElement
	if (!e || e === document.body) return { Name: '', Visible: true }
	const style = getComputedStyle(e)
	const name = e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || e.id
	return { Name: name.trim(), Visible: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1 }
})()`

// walk presses Tab from the first element on until the focus has left the page or begun anew, and returns where it was.
func (p *tab) walk() (names []string) {
	p.t.Helper()
	p.script("document.querySelector('.skip').focus()")
	for first := eval[stop](p, focused); len(names) < 100; {
		p.press(kb.Tab)
		at := eval[stop](p, focused)
		if at.Name == "" || at.Name == first.Name {
			return names
		}
		if !at.Visible {
			p.t.Errorf("the focus on %q does not show", at.Name)
		}
		names = append(names, at.Name)
	}
	p.t.Fatalf("the Tab key does not get out of %q", names)
	return nil
}

// From the first to the last, the keyboard alone: no key but those of the keyboard is used, and the focus is always seen.
func TestKeyboardAlone(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.document(`{"nested": {"value": [1, 2]}}`)
	p := open(t, s)
	p.awaitText("#standing", "Live")

	// To SQL by the links of the bar.
	p.press(kb.Tab, kb.Tab, kb.Tab, kb.Tab, kb.Tab, kb.Tab, kb.Enter)
	p.await("!document.getElementById('sql').hidden && document.activeElement.id === 'sql-title'")
	p.press(kb.Tab)
	p.await("document.activeElement.id === 'sql-text'")

	// Words that fit are offered, and taken by Enter.
	p.script("document.activeElement.select()") // Ctrl-A is the browser's, not the page's
	p.press("S", "E", "L", "E", "C", "T", " ", "r", "e", "c")
	p.awaitText("#sql-words", "received_at")
	p.await("document.getElementById('sql-text').getAttribute('aria-activedescendant') === 'sql-word-0'")
	p.press(kb.Enter)
	p.await("document.getElementById('sql-text').value === 'SELECT received_at' && document.getElementById('sql-words').hidden")
	for _, key := range ", data FROM eve" {
		p.press(string(key))
	}
	p.awaitText("#sql-words", "event_time")
	p.press(kb.Escape)
	p.await("document.getElementById('sql-words').hidden")
	p.press("n", "t", "s")
	p.pressWithCtrl(kb.Enter)
	p.awaitText("#sql-state", "SUCCEEDED")
	p.await(cell(0, 1) + ".includes('nested')")

	// Through the result, and into a value.
	for range 100 {
		if eval[string](p, "document.activeElement.id") == "grid" {
			break
		}
		p.press(kb.Tab)
	}
	p.press(kb.ArrowRight)
	p.await("document.getElementById('grid-active').innerText.includes('nested')")
	p.press(kb.Enter)
	p.awaitText("#cell-value", `"value": [`)
	p.press(kb.Escape)
	p.await("!document.getElementById('cell').open && document.activeElement.id === 'grid'")

	// Tabs by the arrows, from the chosen one.
	p.script("document.getElementById('sql-tab-rows').focus()")
	p.press(kb.ArrowRight)
	p.await("!document.getElementById('sql-chart').hidden && document.activeElement.id === 'sql-tab-chart'")
	p.press(kb.ArrowLeft)

	for view, wanted := range map[string][]string{
		"overview": {"Overview", "Send", "Find", "SQL"},
		"send":     {"Paste JSON", "Type", "Read it as", "Send", "Choose files"},
		"find":     {"Id", "Find"},
		"sql":      {"SQL", "Run", "Start from an example", "events", "Download CSV", "Rows", "Rows of the result"},
	} {
		p.view(view)
		names := p.walk()
		for _, want := range wanted {
			if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, want) }) {
				t.Errorf("in %s the Tab key finds no %q among %q", view, want, names)
			}
		}
	}
}
