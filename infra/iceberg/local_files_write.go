package iceberg

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"

	icebergio "github.com/apache/iceberg-go/io"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// writeCategory names the lake's writes in Pebble's disk statistics.
const writeCategory vfs.DiskWriteCategory = "penstock-lake"

// Create implements icebergio.WriteFileIO: it makes the file and the directories it lies in. The file is durable when
// the writer's Close has returned nil, and must not be referred to before. One that is there already is fs.ErrExist.
func (f *LocalFiles) Create(name string) (icebergio.FileWriter, error) {
	local, err := f.Path(name)
	if err != nil {
		return nil, err
	}
	// vfs.FS.Create replaces a file. Every name holds a fresh UUID, so this is a guard against a mistake, not a claim.
	if _, err := f.fs.Stat(local); err == nil {
		return nil, &iofs.PathError{Op: "create", Path: local, Err: iofs.ErrExist}
	} else if !errors.Is(err, iofs.ErrNotExist) {
		return nil, err
	}
	dir := f.fs.PathDir(local)
	if err := f.makeDir(dir); err != nil {
		return nil, err
	}
	file, err := f.fs.Create(local, writeCategory)
	if errors.Is(err, iofs.ErrNotExist) {
		// Somebody removed a directory that we had made.
		f.forgetDirs()
		if err := f.makeDir(dir); err != nil {
			return nil, err
		}
		file, err = f.fs.Create(local, writeCategory)
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", local, err)
	}
	return &writer{io: f, file: file, dir: dir, name: local, buf: make([]byte, 0, writeBuffer)}, nil
}

// WriteFile implements icebergio.WriteFileIO; the file is durable when it returns nil.
func (f *LocalFiles) WriteFile(name string, p []byte) error {
	w, err := f.Create(name)
	if err != nil {
		return err
	}
	_, err = w.Write(p)
	return errors.Join(err, w.Close())
}

// makeDir makes dir and returns when the entries that lead to it are durable. The lock is held throughout, so that
// nobody takes a directory that another caller has only just made for a durable one.
func (f *LocalFiles) makeDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.synced[dir]; ok {
		return nil
	}
	if err := f.fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	var made []string
	for d := dir; ; d = f.fs.PathDir(d) {
		if _, ok := f.synced[d]; ok {
			break
		}
		if err := f.syncDir(f.fs.PathDir(d)); err != nil {
			return err
		}
		made = append(made, d)
		if d == f.root {
			break
		}
	}
	for _, d := range made {
		f.synced[d] = struct{}{}
	}
	return nil
}

func (f *LocalFiles) forgetDirs() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.synced)
}

// syncDir makes the entries of a directory durable.
func (f *LocalFiles) syncDir(dir string) error {
	d, err := f.fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory to sync it: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// writeBuffer is how many bytes go to the file system at once.
const writeBuffer = 64 << 10

// writer is a file on its way. All bytes pass through its own buffer, since a vfs.File may change what it is given to
// write, and iceberg-go and Arrow write constants of theirs. An error stays: Close repeats that of a Write, since some
// of their writers look at Close alone.
type writer struct {
	io     *LocalFiles
	file   vfs.File
	dir    string
	name   string
	buf    []byte
	err    error
	closed bool
}

func (w *writer) Write(p []byte) (int, error) {
	written := 0
	for w.err == nil && written < len(p) {
		n := copy(w.buf[len(w.buf):cap(w.buf)], p[written:])
		w.buf = w.buf[:len(w.buf)+n]
		written += n
		if len(w.buf) == cap(w.buf) {
			w.flush()
		}
	}
	return written, w.err
}

// flush hands the buffer to the file system.
func (w *writer) flush() {
	if w.err != nil || len(w.buf) == 0 {
		return
	}
	if _, err := w.file.Write(w.buf); err != nil {
		w.err = fmt.Errorf("write %s: %w", w.name, err)
	}
	w.buf = w.buf[:0]
}

// ReadFrom implements io.ReaderFrom.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, r)
}

// Close makes the file durable. Closing again repeats the outcome.
func (w *writer) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	w.flush()
	if w.err == nil {
		// After a failed sync the kernel may have dropped the dirty pages, so a sync is never tried again.
		if err := w.file.Sync(); err != nil {
			w.err = fmt.Errorf("sync %s: %w", w.name, err)
		}
	}
	if err := w.file.Close(); err != nil && w.err == nil {
		w.err = fmt.Errorf("close %s: %w", w.name, err)
	}
	if w.err == nil {
		w.err = w.io.syncDir(w.dir)
	}
	w.buf = nil
	return w.err
}
