package iceberg

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	icebergio "github.com/apache/iceberg-go/io"
	"github.com/cockroachdb/pebble/v2/vfs"
)

var (
	_ Files                = (*LocalFiles)(nil)
	_ icebergio.StatIO     = (*LocalFiles)(nil)
	_ icebergio.ListableIO = (*LocalFiles)(nil)
)

// errOutside: a name that does not lie in the table's directory.
var errOutside = errors.New("outside the table's directory")

// LocalFiles are the files of one table under one directory of a vfs.FS. A file is durable when its writer's Close has
// returned nil: its bytes, its directory entry, and the entries of every directory above it up to and including the
// table's own. Files are immutable: creating one that exists is an error.
//
// Names are file:// URLs or absolute paths.
type LocalFiles struct {
	fs   vfs.FS
	root string
	// named is the directory that the table's own names lie in. It differs from root after the data directory was
	// moved or copied, since Iceberg's metadata holds absolute names; these are then read as names under root, so that
	// a copy never reads or writes the files of its original.
	named string

	mu sync.Mutex
	// synced holds the directories whose entries are known to be durable. It starts empty in each process: a directory
	// that exists may have been made by a process that died before it synced the entry.
	synced map[string]struct{}
}

// NewLocalFiles opens root, an absolute directory, and makes it durably if it is missing; that its parent survives a power
// cut is up to whoever made that.
func NewLocalFiles(fs vfs.FS, root string) (*LocalFiles, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("open table directory %q: not an absolute path", root)
	}
	root = filepath.Clean(root)
	f := &LocalFiles{fs: fs, root: root, named: root, synced: make(map[string]struct{})}
	missing, err := f.missing(root)
	if err != nil {
		return nil, fmt.Errorf("open table directory: %w", err)
	}
	if err := fs.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("make table directory: %w", err)
	}
	for dir := root; fs.PathDir(dir) != dir; dir = fs.PathDir(dir) {
		// A process that died may have made the directories above too; but most are not ours, and may be on a file
		// system that can't be synced.
		if err := f.syncDir(fs.PathDir(dir)); err != nil && (dir == root || slices.Contains(missing, dir)) {
			return nil, err
		}
	}
	return f, nil
}

// missing lists dir and its ancestors that don't exist yet.
func (f *LocalFiles) missing(dir string) ([]string, error) {
	var dirs []string
	for {
		_, err := f.fs.Stat(dir)
		if err == nil {
			return dirs, nil
		}
		if !errors.Is(err, iofs.ErrNotExist) {
			return nil, err
		}
		dirs = append(dirs, dir)
		parent := f.fs.PathDir(dir)
		if parent == dir {
			return dirs, nil
		}
		dir = parent
	}
}

// Location is the URL of the table's directory.
func (f *LocalFiles) Location() string { return (&url.URL{Scheme: "file", Path: f.root}).String() }

// Adopt makes the LocalFiles take names under the directory of location, which the table's metadata gives, as names under
// its own.
func (f *LocalFiles) Adopt(location string) error {
	named, err := localName(location)
	if err != nil {
		return fmt.Errorf("table location: %w", err)
	}
	f.named = named
	return nil
}

// Path gives the absolute path on the file system of a name.
func (f *LocalFiles) Path(name string) (string, error) {
	local, err := localName(name)
	if err != nil {
		return "", err
	}
	if local == f.named {
		return f.root, nil
	}
	if rest, ok := strings.CutPrefix(local, f.named+string(filepath.Separator)); ok {
		return f.fs.PathJoin(f.root, rest), nil
	}
	if local == f.root || strings.HasPrefix(local, f.root+string(filepath.Separator)) {
		return local, nil
	}
	return "", fmt.Errorf("%s: %w %s", name, errOutside, f.named)
}

// localName takes a file:// URL or an absolute path apart.
func localName(name string) (string, error) {
	local := name
	if strings.HasPrefix(name, "file:") {
		u, err := url.Parse(name)
		if err != nil {
			return "", fmt.Errorf("parse file name: %w", err)
		}
		if u.Host != "" || u.RawQuery != "" || u.Fragment != "" {
			return "", fmt.Errorf("%s: not a plain file URL", name)
		}
		local = u.Path
	}
	if !filepath.IsAbs(local) {
		return "", fmt.Errorf("%s: neither a file URL nor an absolute path", name)
	}
	return filepath.Clean(local), nil
}

// Open implements icebergio.IO.
func (f *LocalFiles) Open(name string) (icebergio.File, error) {
	local, err := f.Path(name)
	if err != nil {
		return nil, err
	}
	file, err := f.fs.Open(local)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &reader{SectionReader: io.NewSectionReader(file, 0, info.Size()), file: file, info: info}, nil
}

// ReadFile implements icebergio.ReadFileIO.
func (f *LocalFiles) ReadFile(name string) ([]byte, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", name, err), file.Close())
	}
	return data, file.Close()
}

// Stat implements icebergio.StatIO.
func (f *LocalFiles) Stat(name string) (iofs.FileInfo, error) {
	local, err := f.Path(name)
	if err != nil {
		return nil, err
	}
	return f.fs.Stat(local)
}

// List implements Files; the names are paths. Its clock is this machine's.
func (f *LocalFiles) List(
	ctx context.Context, fn func(name string, size int64, modified time.Time) error,
) (clock time.Time, err error) {
	return time.Time{}, f.WalkDir(f.root, func(name string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		return fn(name, info.Size(), info.ModTime())
	})
}

// Remove implements icebergio.IO. The removal may not survive a power cut.
func (f *LocalFiles) Remove(name string) error {
	local, err := f.Path(name)
	if err != nil {
		return err
	}
	return f.fs.Remove(local)
}

// WalkDir implements icebergio.ListableIO; entries of a directory come in the order of their names.
func (f *LocalFiles) WalkDir(root string, fn iofs.WalkDirFunc) error {
	info, err := f.Stat(root)
	if err != nil {
		err = fn(root, nil, err)
	} else {
		err = f.walk(root, iofs.FileInfoToDirEntry(info), fn)
	}
	if errors.Is(err, iofs.SkipDir) || errors.Is(err, iofs.SkipAll) {
		return nil
	}
	return err
}

func (f *LocalFiles) walk(name string, entry iofs.DirEntry, fn iofs.WalkDirFunc) error {
	err := fn(name, entry, nil)
	if err != nil || !entry.IsDir() {
		if entry.IsDir() && errors.Is(err, iofs.SkipDir) {
			return nil
		}
		return err
	}
	local, err := f.Path(name)
	if err != nil {
		return err
	}
	children, err := f.fs.List(local)
	if err != nil {
		if err = fn(name, entry, err); errors.Is(err, iofs.SkipDir) {
			return nil
		}
		return err
	}
	slices.Sort(children)
	for _, child := range children {
		childName := name + "/" + url.PathEscape(child)
		if !strings.HasPrefix(name, "file:") {
			childName = f.fs.PathJoin(name, child)
		}
		info, err := f.Stat(childName)
		switch {
		case errors.Is(err, iofs.ErrNotExist): // removed since it was listed
			continue
		case err != nil:
			err = fn(childName, nil, err)
		default:
			err = f.walk(childName, iofs.FileInfoToDirEntry(info), fn)
		}
		if errors.Is(err, iofs.SkipDir) {
			return nil // for a file: skip the rest of its directory
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reader adds to a vfs.File the Seek that iceberg-go wants.
type reader struct {
	*io.SectionReader
	file vfs.File
	info vfs.FileInfo
}

func (r *reader) Stat() (iofs.FileInfo, error) { return r.info, nil }
func (r *reader) Close() error                 { return r.file.Close() }
