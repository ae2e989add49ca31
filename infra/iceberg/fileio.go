package iceberg

import (
	"context"
	"errors"
	iofs "io/fs"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
)

// Files is the place of a table's files. A name is an absolute one as the table's metadata holds it, or one that Path or
// List gave. The calls that iceberg-go makes carry no context, so each must end by itself in a bounded time.
type Files interface {
	// Create makes a file that must not exist yet (fs.ErrExist). The file is durable, and can be read by everybody, when the
	// writer's Close has returned nil; until then nobody sees it, or nobody refers to it. WriteFile does both.
	icebergio.WriteFileIO
	// Open, also of Remove and ReadFile, is fs.ErrNotExist when there is no such file; a Remove may also be nil then.
	icebergio.ReadFileIO

	// Location is the address of the table's directory, as its metadata holds it.
	Location() string
	// Adopt is told at the start which directory the table's metadata names as its own. It is an error when the files can't
	// be found by those names.
	Adopt(location string) error
	// Path gives the one spelling of a name, by which files are compared. It is an error for one outside of the directory.
	Path(name string) (string, error)
	// List calls fn for every file under the directory, as Path spells it, until one returns an error. clock is a time by
	// the clock that modified is of, at or before the listing; zero: it is the one of time.Now.
	List(ctx context.Context, fn func(name string, size int64, modified time.Time) error) (clock time.Time, err error)
}

// FileIO gives iceberg-go the table's files, and knows which of them are fresh.
type FileIO struct {
	Files

	mu sync.Mutex
	// holders are the operations under way, and created is every file that was made since there is one.
	holders int
	created map[string]struct{}
}

var (
	_ icebergio.WriteFileIO = (*FileIO)(nil)
	_ icebergio.ReadFileIO  = (*FileIO)(nil)
)

// Create implements icebergio.WriteFileIO.
func (f *FileIO) Create(name string) (icebergio.FileWriter, error) {
	if err := f.remember(name); err != nil {
		return nil, err
	}
	return f.Files.Create(name)
}

// WriteFile implements icebergio.WriteFileIO.
func (f *FileIO) WriteFile(name string, p []byte) error {
	if err := f.remember(name); err != nil {
		return err
	}
	return f.Files.WriteFile(name, p)
}

// hold begins an operation: until it is released, fresh has all files that are made. The last release forgets them.
func (f *FileIO) hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holders++; f.created == nil {
		f.created = make(map[string]struct{})
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.holders--; f.holders == 0 {
			f.created = nil
		}
	}
}

func (f *FileIO) remember(name string) error {
	path, err := f.Path(name)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holders > 0 {
		f.created[path] = struct{}{}
	}
	return nil
}

// fresh are the files that an operation under way may have made and not yet committed.
func (f *FileIO) fresh() map[string]struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.created)
}

// operations is how many are under way.
func (f *FileIO) operations() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.holders
}

// madeFiles remembers the files that are made through it, so that they can be removed when nothing will refer to them.
type madeFiles struct {
	*FileIO
	mu    sync.Mutex
	names []string
}

// of is the table with what is written for it remembered.
func (m *madeFiles) of(t *table.Table) *table.Table {
	io := func(context.Context) (icebergio.IO, error) { return m, nil }
	return table.New(t.Identifier(), t.Metadata(), t.MetadataLocation(), io, nil)
}

// Create implements icebergio.WriteFileIO.
func (m *madeFiles) Create(name string) (icebergio.FileWriter, error) {
	m.mu.Lock()
	m.names = append(m.names, name)
	m.mu.Unlock()
	return m.FileIO.Create(name)
}

// WriteFile implements icebergio.WriteFileIO.
func (m *madeFiles) WriteFile(name string, p []byte) error {
	m.mu.Lock()
	m.names = append(m.names, name)
	m.mu.Unlock()
	return m.FileIO.WriteFile(name, p)
}

func (m *madeFiles) remove(log *slog.Logger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range m.names {
		removeFile(m.FileIO, name, log)
	}
}

// removeFile removes a file that nothing refers to, if it is there.
func removeFile(files *FileIO, name string, log *slog.Logger) {
	if err := files.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		log.Warn("a file that the lake does not need stays on disk", "file", name, "error", err)
	}
}

// dirOf is the directory that a name lies in, the name's scheme and host as they are: path.Dir would take one of the two
// slashes behind "s3:" away.
func dirOf(name string) string { return name[:max(0, strings.LastIndexByte(name, '/'))] }
