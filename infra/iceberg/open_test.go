package iceberg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/iceberg-go/table"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestOpenTogether: several workers that find no table make one.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	fs, p := vfs.NewMem(), &memoryPointer{}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l, err := tryOpen(t.Context(), fs, "/lake", p)
			if err != nil {
				t.Error(err)
				return
			}
			if err := appendSpan(t.Context(), l, fmt.Sprint("s", i), 0, 2); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l := openLake(t, fs, "/lake", p)
	shards := make(map[string]int)
	for i := range 8 {
		shards[fmt.Sprint("s", i)] = 2
	}
	wantOnce(t, l, shards)
}

// TestMovedDirectory: a data directory that was moved or copied goes on where it is, and leaves its original alone.
func TestMovedDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a b%20ü"), filepath.Join(dir, "elsewhere")
	p := &memoryPointer{}
	l := openLake(t, vfs.Default, from, p)
	if err := appendSpan(t.Context(), l, "s", 0, 3); err != nil {
		t.Fatal(err)
	}
	wantOnce(t, l, map[string]int{"s": 3})
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	before := tree(t, from)
	copied := openLake(t, vfs.Default, to, p)
	if err := appendSpan(t.Context(), copied, "s", 3, 5); err != nil {
		t.Fatal(err)
	}
	wantOnce(t, copied, map[string]int{"s": 5})
	files, err := copied.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasPrefix(f, to) {
			t.Errorf("file %s is not in %s", f, to)
		}
	}
	if after := tree(t, from); after != before {
		t.Errorf("the original changed from\n%s\nto\n%s", before, after)
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

// TestClockSetBack: a clock that was a day ahead and is set right must not stop the lake.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	l, p, fs := newLake(t)
	for i := range 3 {
		if err := appendSpan(t.Context(), l, "s", i, i+1); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(t, l, p, func(fields map[string]any) { shiftTimes(fields, 24*time.Hour) })
	l = openLake(t, fs, "/data/lake", p)
	for i := 3; i < 6; i++ {
		if err := appendSpan(t.Context(), l, "s", i, i+1); err != nil {
			t.Fatal(err)
		}
	}
	wantOnce(t, openLake(t, fs, "/data/lake", p), map[string]int{"s": 6})
}

// shiftTimes moves every Iceberg timestamp in a decoded metadata file.
func shiftTimes(v any, by time.Duration) {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if n, ok := inner.(json.Number); ok && (k == "timestamp-ms" || k == "last-updated-ms") {
				ms, _ := n.Int64()
				v[k] = ms + by.Milliseconds()
			}
			shiftTimes(inner, by)
		}
	case []any:
		for _, inner := range v {
			shiftTimes(inner, by)
		}
	}
}

// rewrite makes a version of the table with changed metadata, behind the back of l.
func rewrite(t *testing.T, l *Lake, p *memoryPointer, change func(map[string]any)) {
	t.Helper()
	location, _ := p.Load(t.Context())
	data, err := l.files.ReadFile(location)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var fields map[string]any
	if err := d.Decode(&fields); err != nil {
		t.Fatal(err)
	}
	change(fields)
	if data, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	next := strings.Replace(location, "metadata/0", "metadata/1", 1)
	if err := l.files.WriteFile(next, data); err != nil {
		t.Fatal(err)
	}
	if swapped, err := p.Swap(t.Context(), location, next); !swapped || err != nil {
		t.Fatal(swapped, err)
	}
}

// TestForeignTable: a table that this version can't handle is refused when it is opened.
func TestForeignTable(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(map[string]any){
		"iceberg-go's blind retry is on": func(f map[string]any) {
			f["properties"].(map[string]any)[table.CommitNumRetriesKey] = "4"
		},
		"a column has another name": func(f map[string]any) {
			schema := f["schemas"].([]any)[0].(map[string]any)
			schema["fields"].([]any)[3].(map[string]any)["name"] = "renamed"
		},
		"an unknown column is required": func(f map[string]any) {
			schema := f["schemas"].([]any)[0].(map[string]any)
			schema["fields"] = append(schema["fields"].([]any),
				map[string]any{"id": 22, "name": "new", "type": "string", "required": true})
			f["last-column-id"] = 22
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, p, fs := newLake(t)
			rewrite(t, l, p, change)
			_, err := tryOpen(t.Context(), fs, "/data/lake", p)
			if err == nil {
				t.Fatal("opened")
			}
			t.Log(err)
		})
	}
}

func TestOpenConfig(t *testing.T) {
	t.Parallel()
	files, err := NewLocalFiles(vfs.NewMem(), "/lake")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewLocalFiles(vfs.NewMem(), "lake"); err == nil || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("a directory that is not absolute: %v", err)
	}
	good := Config{Files: files, Pointer: &memoryPointer{}, Admit: admitAll, Logger: slog.New(slog.DiscardHandler)}
	for name, breakIt := range map[string]func(*Config){
		"Files":   func(c *Config) { c.Files = nil },
		"Pointer": func(c *Config) { c.Pointer = nil },
		"Admit":   func(c *Config) { c.Admit = nil },
		"Logger":  func(c *Config) { c.Logger = nil },
		"not in": func(c *Config) {
			c.Pointer = &memoryPointer{value: "file:///lake/metadata/00001-gone.metadata.json"}
		},
	} {
		c := good
		breakIt(&c)
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
