package local

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// copyChunk is the most that is written at once. vfs.File.Write may scribble over what it is given, so callers' bytes
// go through a buffer of this size.
const copyChunk = 256 << 10

// mkdirSynced makes dir and its missing parents, and syncs the directory above each new one: a directory whose entry is
// not synced is lost with all that is in it. What exists is taken to be synced by whoever made it.
func mkdirSynced(fsys vfs.FS, dir string) error {
	switch _, err := fsys.Stat(dir); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("looking for %s: %w", dir, err)
	}
	parent := fsys.PathDir(dir)
	if err := mkdirSynced(fsys, parent); err != nil {
		return err
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	return syncDir(fsys, parent)
}

// syncDir makes the entries of dir durable.
func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("opening directory %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing directory %s: %w", dir, err)
	}
	return nil
}

// writeSynced makes the file and returns when its bytes are durable; its name is not until its directory is synced.
// A file that could not be written is removed.
func writeSynced(fsys vfs.FS, name string, content []byte) error {
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("making file: %w", err)
	}
	buf := make([]byte, min(copyChunk, len(content)))
	for len(content) > 0 && err == nil {
		n := copy(buf, content)
		_, err = f.Write(buf[:n])
		content = content[n:]
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", name, err), fsys.Remove(name))
	}
	return nil
}
