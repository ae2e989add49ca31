package iceberg

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func newLocalFiles(t *testing.T, fs vfs.FS) *LocalFiles {
	t.Helper()
	f, err := NewLocalFiles(fs, "/top/lake")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestDurable: many writers make files in the same new directories at once; each must find its own after a power cut
// that comes right after its Close.
func TestDurable(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	f := newLocalFiles(t, mem)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 8 {
				name := fmt.Sprintf("%s/data/day=%d/part=%d/%d.parquet", f.Location(), j, i%2, i)
				if err := f.WriteFile(name, []byte(name)); err != nil {
					t.Error(err)
					return
				}
				after, err := NewLocalFiles(mem.CrashClone(vfs.CrashCloneCfg{}), "/top/lake")
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := after.ReadFile(name); err != nil || string(got) != name {
					t.Errorf("after the cut: %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestDirectoryOfDeadProcess: a directory that is there need not be durable; whoever made it may have died in between.
func TestDirectoryOfDeadProcess(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	newLocalFiles(t, mem)
	if err := mem.MkdirAll("/top/lake/data/day=1", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := newLocalFiles(t, mem).WriteFile("/top/lake/data/day=1/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	if _, err := after.Stat("/top/lake/data/day=1/x"); err != nil {
		t.Error(err)
	}
}

func TestRemovedDirectory(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	f := newLocalFiles(t, mem)
	for _, name := range []string{"/top/lake/data/day=1/x", "/top/lake/data/day=1/y"} {
		if err := f.WriteFile(name, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := mem.RemoveAll("/top/lake/data"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesAreImmutable(t *testing.T) {
	t.Parallel()
	f := newLocalFiles(t, vfs.NewMem())
	if err := f.WriteFile("/top/lake/x", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFile("/top/lake/x", []byte("2")); !errors.Is(err, iofs.ErrExist) {
		t.Errorf("second write: %v", err)
	}
	if got, err := f.ReadFile("/top/lake/x"); err != nil || string(got) != "1" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	f := newLocalFiles(t, vfs.NewMem())
	if err := f.Adopt("file:///old%20place/lake"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"file:///old%20place/lake/data/a%20b": "/top/lake/data/a b",
		"/old place/lake/x":                   "/top/lake/x",
		"file:///old%20place/lake":            "/top/lake",
		"/top/lake/x":                         "/top/lake/x",
		"/top/lake2/x":                        "",
		"/old place/lake2/x":                  "",
		"/old place/lake/../../etc/passwd":    "",
		"file://host/old%20place/lake/x":      "",
		"file:///old%20place/lake/x?y":        "",
		"s3://bucket/x":                       "",
		"lake/x":                              "",
		"":                                    "",
	} {
		got, err := f.Path(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("Path(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestReadAndWalk(t *testing.T) {
	t.Parallel()
	f := newLocalFiles(t, vfs.NewMem())
	root := f.Location()
	for _, name := range []string{"/b/2", "/b/1 x", "/a", "/c/d/e"} {
		if err := f.WriteFile(strings.ReplaceAll(root+name, " ", "%20"), []byte("0123456789")); err != nil {
			t.Fatal(err)
		}
	}
	file, err := f.Open(root + "/a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Seek(-3, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(file); err != nil || string(rest) != "789" {
		t.Errorf("after seek: %q, %v", rest, err)
	}
	if info, err := file.Stat(); err != nil || info.Size() != 10 {
		t.Errorf("size: %v, %v", info, err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	walk := func(skip string) []string {
		var names []string
		err := f.WalkDir(root, func(name string, d iofs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if name == root+skip {
				return iofs.SkipDir
			}
			if !d.IsDir() {
				names = append(names, strings.TrimPrefix(name, root))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	for skip, want := range map[string][]string{
		"/none":    {"/a", "/b/1%20x", "/b/2", "/c/d/e"},
		"/c":       {"/a", "/b/1%20x", "/b/2"},
		"/b/1%20x": {"/a", "/c/d/e"},
		"":         nil,
	} {
		if got := walk(skip); !slices.Equal(got, want) {
			t.Errorf("skipping %q: %q, want %q", skip, got, want)
		}
	}
	if err := f.Remove(root + "/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Stat(root + "/a"); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("after removal: %v", err)
	}
	if _, err := f.Open(root + "/a"); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("open after removal: %v", err)
	}
}

// TestWriteErrorStays: a writer that failed once never claims to be durable.
func TestWriteErrorStays(t *testing.T) {
	t.Parallel()
	for _, failing := range []string{"write", "sync"} {
		done := false
		fs := &steppedFS{FS: vfs.NewMem(), step: func(op, name string) error {
			if op == failing && name == "/top/lake/x" && !done {
				done = true
				return errInjected
			}
			return nil
		}}
		w, err := newLocalFiles(t, fs).Create("/top/lake/x")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte("a"))
		_, _ = w.ReadFrom(strings.NewReader("b"))
		for range 2 {
			if err := w.Close(); !errors.Is(err, errInjected) {
				t.Errorf("%s failed: Close says %v", failing, err)
			}
		}
	}
}
