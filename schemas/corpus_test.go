package schemas_test

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corpus reads the JSON documents that lie beside the repository, by file name, and is empty where there are none.
func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	documents := make(map[string][]byte)
	names, err := filepath.Glob("../../shared/corpus/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".md") {
			continue
		}
		documents[filepath.Base(name)] = readDocument(t, name)
	}
	return documents
}

func readDocument(t testing.TB, name string) []byte {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var reader io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if reader, err = gzip.NewReader(file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	document, err := io.ReadAll(reader)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return document
}

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("differs from testdata/%s:\n got %q\nwant %q", name, got, want)
	}
}
