package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Stdin is the path that stands for standard input, read as NDJSON.
const Stdin = "-"

// form is how a file holds its events.
type form int

const (
	formNone     form = iota // nothing that can be sent
	formDocument             // one event
	formLines                // one event a line
)

// formOf goes by the name, as all there is to go by.
func formOf(path string) (f form, gzipped bool) {
	name, gzipped := strings.CutSuffix(strings.ToLower(path), ".gz")
	switch filepath.Ext(name) {
	case ".json":
		return formDocument, gzipped
	case ".ndjson", ".jsonl":
		return formLines, gzipped
	}
	return formNone, false
}

// Extent is what a set of paths holds, before it is read.
type Extent struct {
	Files int
	// Bytes as stored: of a compressed file its compressed size.
	Bytes int64
	// Skipped counts files in directories that are neither JSON nor NDJSON by their names.
	Skipped int
	// Unbounded: standard input is among them, or something else without a size.
	Unbounded bool
}

// Measure looks at everything that Sender would read, so that a wrong path is found before anything is sent. A path is
// a file, a directory (with everything below it, in the order of names), or Stdin.
func Measure(paths []string) (Extent, error) {
	var e Extent
	if len(paths) == 0 {
		return e, errors.New("nothing to send: name a file, a directory, or - for NDJSON on standard input")
	}
	seenStdin := false
	for _, path := range paths {
		if path == Stdin {
			if seenStdin {
				return e, errors.New("standard input (-) can be read only once")
			}
			seenStdin, e.Unbounded = true, true
			continue
		}
		err := walk(path, func(_ string, info fs.FileInfo) error {
			e.Files++
			e.Bytes += info.Size()
			e.Unbounded = e.Unbounded || !info.Mode().IsRegular()
			return nil
		}, func() { e.Skipped++ })
		if err != nil {
			return e, err
		}
	}
	if e.Files == 0 && !seenStdin {
		return e, fmt.Errorf("nothing to send: no .json, .ndjson or .jsonl file (each also with .gz) in %s", strings.Join(paths, ", "))
	}
	return e, nil
}

// walk calls file for path itself, or for all files below it that can be sent.
func walk(path string, file func(path string, info fs.FileInfo) error, skipped func()) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		if f, _ := formOf(path); f == formNone {
			return fmt.Errorf("%s: its name does not say what it holds (.json, .ndjson, .jsonl, each also with .gz); NDJSON of any name can be piped: penstock send - < %s", path, path)
		}
		return file(path, info)
	}
	return filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := os.Stat(name) // follows a symbolic link to a file
		if err != nil {
			return err
		}
		if f, _ := formOf(name); f == formNone || !info.Mode().IsRegular() {
			skipped()
			return nil
		}
		return file(name, info)
	})
}
