package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/ingest"
)

// maxKnownDays bounds the memory of days whose directory is durable; a day that is forgotten is only synced again.
const maxKnownDays = 8

var (
	bodyID     = regexp.MustCompile(`^[0-9A-Za-z]{1,64}$`)
	bodyKey    = regexp.MustCompile(`^bodies/dt=[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9A-Za-z]{1,64}$`)
	bodyBucket = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)
)

// Bodies keeps each body as a plain file, in the layout of versitygw's posix backend: object key K of bucket B is
// <dir>/B/K. So the S3 endpoint serves what is written here.
//
// It writes the files itself because the gateway would not do for an ack: it syncs neither files nor directories, and
// would put HTTP, a signature and an MD5 between. A body is written beside its place, synced, renamed into it, and its
// directory synced, so that a name never leads to less than all bytes and an acked name is never lost.
type Bodies struct {
	fs     vfs.FS
	dir    string // of the bucket
	bucket string
	guard  *DiskGuard
	temps  atomic.Uint64 // names temporary files

	mu   sync.Mutex
	days map[string]bool // directories whose entry is durable
}

var (
	_ ingest.Bodies   = (*Bodies)(nil)
	_ consumer.Bodies = (*Bodies)(nil)
)

// NewBodies opens the bucket under the absolute path dir, or makes it, and removes what a crash left half-written. One
// process may have it open, which the lock of the data directory provides for.
func NewBodies(fsys vfs.FS, dir, bucket string, guard *DiskGuard) (*Bodies, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("directory of bodies %q: must be an absolute path", dir)
	}
	if !bodyBucket.MatchString(bucket) {
		return nil, fmt.Errorf("bucket %q: must be 3 to 63 lower-case letters, digits and inner hyphens", bucket)
	}
	b := &Bodies{
		fs: fsys, dir: fsys.PathJoin(dir, bucket), bucket: bucket, guard: guard, days: make(map[string]bool),
	}
	if err := fsys.RemoveAll(b.tempDir()); err != nil {
		return nil, fmt.Errorf("removing unfinished bodies: %w", err)
	}
	if err := mkdirSynced(fsys, b.dir); err != nil {
		return nil, fmt.Errorf("making the bucket of bodies: %w", err)
	}
	// The entry of a bucket that was there may still be unsynced, when its maker was killed.
	if err := syncDir(fsys, dir); err != nil {
		return nil, err
	}
	if err := fsys.MkdirAll(b.tempDir(), 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of unfinished bodies: %w", err)
	}
	return b, nil
}

// tempDir lies where versitygw keeps its own temporary files, which it neither lists nor serves.
func (b *Bodies) tempDir() string { return b.fs.PathJoin(b.dir, ".sgwtmp", "penstock") }

// Put implements ingest.Bodies. Errors wrap ingest.ErrStorageFull when the disk has no room. ctx is looked at between
// the steps; a step under way is not cut short.
func (b *Bodies) Put(ctx context.Context, id string, received time.Time, body []byte) (string, error) {
	if !bodyID.MatchString(id) {
		return "", fmt.Errorf("body of event %q: not an event id", id)
	}
	if err := b.guard.Admit(int64(len(body))); err != nil {
		return "", fmt.Errorf("body of event %s: %w", id, err)
	}
	if err := b.put(ctx, bodyDir(received), id, body); err != nil {
		return "", fmt.Errorf("body of event %s: %w", id, withFull(err))
	}
	return b.Ref(id, received), nil
}

// Ref is what Put returns for the body of event id, received at the given time or at another of its day, whether there is one
// or not.
func (b *Bodies) Ref(id string, received time.Time) string {
	return "s3://" + b.bucket + "/bodies/" + bodyDir(received) + "/" + id
}

// bodyDir is the directory of a day's bodies, under that of all.
func bodyDir(received time.Time) string { return "dt=" + received.UTC().Format(time.DateOnly) }

func (b *Bodies) put(ctx context.Context, day, id string, body []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	temp := b.fs.PathJoin(b.tempDir(), fmt.Sprintf("%s.%d", id, b.temps.Add(1)))
	if err := writeSynced(b.fs, temp, body); err != nil {
		return err
	}
	dir := b.fs.PathJoin(b.dir, "bodies", day)
	err := ctx.Err()
	if err == nil {
		err = b.makeDay(dir)
	}
	if err == nil {
		err = b.fs.Rename(temp, b.fs.PathJoin(dir, id))
	}
	if err != nil {
		return errors.Join(err, b.fs.Remove(temp))
	}
	return syncDir(b.fs, dir)
}

// makeDay makes the directory of a day and syncs the entries on the way to it. It does so once in the life of a process
// also for a directory that it finds, because that may come from a process that was killed before its sync; whoever
// comes meanwhile waits, because until then the entry is not durable.
func (b *Bodies) makeDay(dir string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.days[dir] {
		return nil
	}
	if err := b.fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of a day: %w", err)
	}
	bodies := b.fs.PathDir(dir)
	if err := errors.Join(syncDir(b.fs, bodies), syncDir(b.fs, b.dir)); err != nil {
		return err
	}
	if len(b.days) >= maxKnownDays {
		clear(b.days)
	}
	b.days[dir] = true
	return nil
}

// Open implements consumer.Bodies. A ref that can't be one of ours is consumer.ErrNotFound, too.
func (b *Bodies) Open(ctx context.Context, ref string) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("body %s: %w", ref, err)
	}
	path, err := b.path(ref)
	if err != nil {
		return nil, err
	}
	f, err := b.fs.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("body %s: %w", ref, consumer.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("body %s: %w", ref, err)
	}
	return f, nil
}

// path is where the body of a ref lies; consumer.ErrNotFound for a ref that can't be one of ours.
func (b *Bodies) path(ref string) (string, error) {
	key, ok := strings.CutPrefix(ref, "s3://"+b.bucket+"/")
	if !ok || !bodyKey.MatchString(key) {
		return "", fmt.Errorf("body %q is not in bucket %s: %w", ref, b.bucket, consumer.ErrNotFound)
	}
	return b.fs.PathJoin(b.dir, key), nil
}
