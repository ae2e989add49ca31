package httpapi

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"penstock/schemas"
)

// acceptHTML is what a browser says when somebody opens an address.
const acceptHTML = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// driveConsole loads the page and all that it refers to.
func driveConsole(t *testing.T, f *front) {
	t.Helper()
	page := f.do("GET", "/", nil, acceptHTML).must(t, 200)
	tag := "If-None-Match: " + page.header.Get("ETag")
	if a := f.do("GET", "/", nil, acceptHTML, tag).must(t, 304); len(a.body) != 0 {
		t.Errorf("304 with a body: %s", a.body)
	}
	f.do("GET", "/console/none.js", nil).problem(t, 404, "not-found")
	for _, name := range []string{"main.js", "base.css", "icon.svg"} {
		a := f.do("GET", "/console/"+name, nil).must(t, 200)
		f.do("GET", "/console/"+name, nil, `If-None-Match: "other", `+a.header.Get("ETag")).must(t, 304)
		f.do("GET", "/console/"+name, nil, tag).must(t, 200)
	}
}

// Whoever asks for HTML by name gets the page, and all others text.
func TestIndexByAccept(t *testing.T) {
	t.Parallel()
	f := start(t)
	for accept, want := range map[string]string{
		acceptHTML: "text/html; charset=utf-8", "Accept: text/html": "text/html; charset=utf-8",
		"Accept: */*": mediaPlain, "Accept: text/plain": mediaPlain, "Accept: text/html;q=0": mediaPlain, "X: y": mediaPlain,
	} {
		a := f.do("GET", "/", nil, accept).must(t, 200)
		if got := a.header.Get("Content-Type"); got != want || a.header.Get("Vary") != "Accept" {
			t.Errorf("%s: %q, want %q; Vary %q", accept, got, want, a.header.Get("Vary"))
		}
		if html := strings.HasPrefix(want, "text/html"); html != (a.header.Get("Content-Security-Policy") == consolePolicy) {
			t.Errorf("%s: %v", accept, a.header)
		}
	}
}

// What the policy forbids is not in the page, and what the page and its modules load is there.
func TestConsoleHoldsToItsPolicy(t *testing.T) {
	t.Parallel()
	assets, err := consoleAssets()
	if err != nil {
		t.Fatal(err)
	}
	inline := regexp.MustCompile(`(?i)<script>|<style|\sstyle=|\son[a-z]+=|javascript:`)
	elsewhere := regexp.MustCompile(`(?i)(?:src|href|url\(|import|from|fetch)[\s("'=]+(?:https?:)?//`)
	sinks := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\('(?:style|on)`)
	loads := regexp.MustCompile(`(?:src|href)="/console/([^"]+)"|from '\./([^']+)'|import '\./([^']+)'`)
	loaded := map[string]bool{consolePage: true}
	for name, file := range assets {
		for what, pattern := range map[string]*regexp.Regexp{"inline code": inline, "another host": elsewhere, "markup from text": sinks} {
			if found := pattern.Find(file.bytes); found != nil && (what != "inline code" || strings.HasSuffix(name, ".html")) {
				t.Errorf("%s: %s: %q", name, what, found)
			}
		}
		for _, match := range loads.FindAllSubmatch(file.bytes, -1) {
			one := string(slices.Concat(match[1], match[2], match[3]))
			loaded[one] = true
			if _, ok := assets[one]; !ok {
				t.Errorf("%s loads %s, which is not there", name, one)
			}
		}
	}
	for name := range assets {
		if !loaded[name] {
			t.Errorf("nothing loads %s", name)
		}
	}
}

// The editor's hints are the table's columns.
func TestConsoleKnowsTheColumns(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("console/words.js")
	if err != nil {
		t.Fatal(err)
	}
	var listed, want []string
	for _, match := range regexp.MustCompile(`\['([a-z0-9_]+)', '([a-z<>(), ]+)', '`).FindAllSubmatch(source, -1) {
		listed = append(listed, string(match[1])+" "+string(match[2]))
	}
	trino := map[schemas.ColumnType]string{
		schemas.TypeString: "varchar", schemas.TypeLong: "bigint", schemas.TypeTimestampTZ: "timestamp with time zone",
		schemas.TypeStringMap: "map(varchar, varchar)",
	}
	for _, c := range schemas.EventColumns {
		want = append(want, fmt.Sprintf("%s %s", c.Name, trino[c.Type]))
	}
	if !slices.Equal(listed, want) {
		t.Errorf("listed %q\nwant   %q", listed, want)
	}
}
