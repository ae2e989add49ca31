package local

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/ingest"
)

// guardInterval is the number of admitted bytes after which the disk is looked at again. MinFree is far larger, so what
// is admitted between two looks can't use it up.
const guardInterval = 1 << 20

// DiskGuard keeps a part of the disk free, so that sinks can go on and trimming can make room when ingest has filled the
// rest. Safe for concurrent use.
type DiskGuard struct {
	fs      vfs.FS
	dir     string
	minFree int64

	mu       sync.Mutex
	free     int64 // at the last look, less what was admitted since
	admitted int64 // since the last look
	looked   bool
}

// NewDiskGuard watches the disk that holds dir. minFree is in bytes; 0 admits everything.
func NewDiskGuard(fsys vfs.FS, dir string, minFree int64) *DiskGuard {
	return &DiskGuard{fs: fsys, dir: dir, minFree: minFree}
}

// Admit returns ingest.ErrStorageFull when n more bytes would leave less than MinFree.
func (g *DiskGuard) Admit(n int64) error { return g.admit(n, g.minFree) }

// AdmitReserve is for what makes room or keeps sinks moving: it may use up three quarters of the reserve.
func (g *DiskGuard) AdmitReserve(n int64) error { return g.admit(n, g.minFree/4) }

// AdmitScratch is for what only this process needs. It leaves twice the reserve, so that scratch alone has no event
// refused.
func (g *DiskGuard) AdmitScratch(n int64) error { return g.admit(n, 2*g.minFree) }

// ScratchRoom is the number of bytes that AdmitScratch would admit now.
func (g *DiskGuard) ScratchRoom() (int64, error) {
	if g.minFree <= 0 {
		return math.MaxInt64, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.look(); err != nil {
		return 0, err
	}
	return max(g.free-2*g.minFree, 0), nil
}

// Disk tells how many bytes of the disk are free for this process, and how many it has; both are 0 when the file system
// doesn't tell.
func (g *DiskGuard) Disk() (free, size int64, err error) {
	usage, err := g.fs.GetDiskUsage(g.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("reading the free space of %s: %w", g.dir, err)
	}
	return int64(min(usage.AvailBytes, 1<<62)), int64(min(usage.TotalBytes, 1<<62)), nil
}

func (g *DiskGuard) admit(n, reserve int64) error {
	if g.minFree <= 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.looked || g.admitted+n > guardInterval || g.free-n < reserve {
		if err := g.look(); err != nil {
			return err
		}
	}
	if g.free-n < reserve {
		return fmt.Errorf("%w: %d bytes free on the disk of %s, %d are kept in reserve: make room there",
			ingest.ErrStorageFull, g.free, g.dir, reserve)
	}
	g.free -= n
	g.admitted += n
	return nil
}

// look reads the free space. g.mu is held.
func (g *DiskGuard) look() error {
	usage, err := g.fs.GetDiskUsage(g.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		usage.AvailBytes = math.MaxInt64
	} else if err != nil {
		return fmt.Errorf("reading the free space of %s: %w", g.dir, err)
	}
	g.free, g.admitted, g.looked = int64(min(usage.AvailBytes, 1<<62)), 0, true
	return nil
}
