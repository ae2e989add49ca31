//go:build !nolocal

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// shellWord is a word of the examples' shell: quoted parts and plain ones in a row.
var shellWord = regexp.MustCompile(`(?:"[^"]*"|'[^']*'|[^\s"'])+`)

// shellEnd are the words at which the program's own arguments end.
var shellEnd = []string{"|", "<", ">", ">>", "#", "&"}

// examples cuts the program's command lines out of a text.
func examples(text string) [][]string {
	text = strings.ReplaceAll(text, "\\\n", " ")
	var found [][]string
	for line := range strings.Lines(text) {
		words := shellWord.FindAllString(line, -1)
		if end := slices.IndexFunc(words, func(w string) bool { return slices.Contains(shellEnd, w) }); end >= 0 {
			words = words[:end]
		}
		if len(words) < 2 || (words[0] != "penstock" && words[0] != "./bin/penstock") {
			continue
		}
		for i, word := range words {
			words[i] = strings.Trim(word, `"'`)
		}
		found = append(found, words[1:])
	}
	return found
}

// Every command line in the documents and in the help is one that the program takes.
func TestDocumentedCommandsParse(t *testing.T) {
	t.Parallel()
	var texts []string
	for _, path := range []string{"README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	parser := func() *kong.Kong {
		p, err := kong.New(&cli{}, kong.Name("penstock"), kong.Exit(func(int) {}), kong.Writers(&strings.Builder{}, &strings.Builder{}))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, leaf := range parser().Model.Leaves(false) {
		texts = append(texts, leaf.Detail)
	}
	count := 0
	for _, text := range texts {
		for _, args := range examples(text) {
			count++
			if _, err := parser().Parse(args); err != nil {
				t.Errorf("penstock %s: %v", strings.Join(args, " "), err)
			}
		}
	}
	if count < 20 {
		t.Errorf("found only %d examples", count)
	}
}

// Every test that a document names is there.
func TestNamedTestsExist(t *testing.T) {
	t.Parallel()
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w+)`")
	documents := map[string]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".md") {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.HasSuffix(path, ".md") {
			documents[path] = string(text)
		}
		for _, match := range declared.FindAllSubmatch(text, -1) {
			there[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for path, text := range documents {
		for _, match := range named.FindAllStringSubmatch(text, -1) {
			found++
			if !there[match[1]] {
				t.Errorf("%s names %s, which is not there", path, match[1])
			}
		}
	}
	if found == 0 {
		t.Error("no document names a test")
	}
}
