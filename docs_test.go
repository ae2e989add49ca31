//go:build !nolocal

package main

import (
	"os"
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
