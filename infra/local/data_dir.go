package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Errors of Open, besides those of the disk; their messages name the directory and what to do.
var (
	ErrInUse       = errors.New("data directory is in use")
	ErrNotWritable = errors.New("data directory is not writable")
	ErrNewerFormat = errors.New("data directory is from a newer version")
	ErrNotOurs     = errors.New("not a data directory of Penstock")
)

// formatVersion is what this program writes and the newest that it reads.
const formatVersion = 1

// formatPrefix starts the one line of the FORMAT file.
const formatPrefix = "penstock-local "

const (
	lockFile   = "LOCK"
	formatFile = "FORMAT"
)

func stateDir(fsys vfs.FS, dir string) string { return fsys.PathJoin(dir, "state") }
func indexDir(fsys vfs.FS, dir string) string { return fsys.PathJoin(dir, "index") }

// ScratchDir is where in a data directory whatever only one process needs belongs.
func ScratchDir(dir string) string { return filepath.Join(dir, "scratch") }

// emptyScratch removes what an earlier process left. It comes before the state is opened: scratch may have filled the disk,
// and replaying a log needs room.
func emptyScratch(fsys vfs.FS, dir string) error {
	scratch := ScratchDir(dir)
	left, err := fsys.List(scratch)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range left {
		err = errors.Join(err, fsys.RemoveAll(fsys.PathJoin(scratch, name)))
	}
	if err != nil {
		return fmt.Errorf("emptying %s: %w", scratch, err)
	}
	return nil
}

// openDataDir makes the directory if need be, locks it, and checks or writes its format version.
func openDataDir(fsys vfs.FS, dir string) (io.Closer, error) {
	if err := mkdirSynced(fsys, dir); err != nil {
		return nil, notWritable(dir, err)
	}
	lock, err := fsys.Lock(fsys.PathJoin(dir, lockFile))
	if err != nil {
		return nil, lockError(dir, err)
	}
	if err := checkFormat(fsys, dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	err = errors.Join(mkdirSynced(fsys, stateDir(fsys, dir)), mkdirSynced(fsys, indexDir(fsys, dir)))
	if err == nil {
		// Also when it was there: its maker may have been killed before this sync.
		err = syncDir(fsys, dir)
	}
	if err != nil {
		return nil, errors.Join(notWritable(dir, err), lock.Close())
	}
	return lock, nil
}

func notWritable(dir string, err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w: %s: give this user the right to write there, or choose another directory: %w",
			ErrNotWritable, dir, err)
	}
	return fmt.Errorf("preparing data directory %s: %w", dir, err)
}

// lockError tells a held lock from a directory that can't be written. fcntl gives EAGAIN or EACCES for a held lock
// (POSIX, fcntl), and the latter also stands for a missing right, so the open of the file itself is told by its PathError.
func lockError(dir string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return notWritable(dir, err)
	}
	return fmt.Errorf("%w: %s: stop the other Penstock that runs on it, or choose another directory: %w",
		ErrInUse, dir, err)
}

func checkFormat(fsys vfs.FS, dir string) error {
	name := fsys.PathJoin(dir, formatFile)
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return writeFormat(fsys, dir)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 128))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	number, ok := strings.CutPrefix(strings.TrimSuffix(string(b), "\n"), formatPrefix)
	version, err := strconv.Atoi(number)
	if !ok || err != nil || version < 1 {
		return fmt.Errorf("%w: %s holds %q: choose another directory", ErrNotOurs, name, b)
	}
	if version > formatVersion {
		return fmt.Errorf("%w: %s has format %d, this program knows up to %d: run the newer Penstock, or choose another "+
			"directory", ErrNewerFormat, dir, version, formatVersion)
	}
	return nil
}

// writeFormat marks a new directory. It comes before the state, so state without it is somebody else's.
func writeFormat(fsys vfs.FS, dir string) error {
	switch _, err := fsys.Stat(stateDir(fsys, dir)); {
	case err == nil:
		return fmt.Errorf("%w: %s has a state directory but no %s file: choose another directory",
			ErrNotOurs, dir, formatFile)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("looking into %s: %w", dir, err)
	}
	name := fsys.PathJoin(dir, formatFile)
	content := []byte(formatPrefix + strconv.Itoa(formatVersion) + "\n")
	if err := writeSynced(fsys, name+".tmp", content); err != nil {
		return notWritable(dir, err)
	}
	if err := fsys.Rename(name+".tmp", name); err != nil {
		return notWritable(dir, err)
	}
	if err := syncDir(fsys, dir); err != nil {
		return err
	}
	return syncDir(fsys, fsys.PathDir(dir))
}
