package local

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// cacheSize is what both databases keep of their files in memory, in bytes.
const cacheSize = 64 << 20

// memTableSize is what a flush writes. Large enough that a sink which is up to date reads from memory, small enough to be replayed
// in a moment.
const memTableSize = 16 << 20

// stateOptions fit a log that is written once, read once or twice soon after, and removed in ranges.
func stateOptions(fsys vfs.FS, h *health, cache *pebble.Cache) *pebble.Options {
	// Records of some size are written once to a blob file and not again by every compaction.
	opts := options(fsys, h, cache, 4<<10)
	// A trim gives its disk space back soon, also when nothing is written after it.
	opts.FlushDelayDeleteRange = 10 * time.Second
	// Fresh files stay as they are: most of what is in them is trimmed soon.
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings {
		settings := pebble.DBCompressionBalanced
		settings.Name, settings.Levels[0] = "penstock", sstable.NoCompression
		return settings
	})
	return opts
}

// indexOptions fit a table that is written once and looked up by key, and whose log is the stream.
func indexOptions(fsys vfs.FS, h *health, cache *pebble.Cache) *pebble.Options {
	// Compactions merge the keys; the items stay where the flush wrote them, compressed as far as that costs little.
	opts := options(fsys, h, cache, 256)
	opts.DisableWAL = true
	// A flush is two files and not sixteen: 2.6 million events are in 280 files then and not in 1,330, of which no more than
	// MaxOpenFiles stay open. The stream's are better cut small: most then hold one shard, and go down a level as they are.
	opts.TargetFileSizes[0] = memTableSize
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	return opts
}

// options are what both databases share. Values of separate bytes and more go to blob files.
func options(fsys vfs.FS, h *health, cache *pebble.Cache, separate int) *pebble.Options {
	opts := &pebble.Options{
		FS:     fsys,
		Cache:  cache,
		Logger: h,
		// FormatMajorVersion stands still until we choose otherwise, so that going back one release stays possible.
		FormatMajorVersion:          pebble.FormatValueSeparation,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: 4,
		MaxOpenFiles:                1000,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		EventListener:               h.listener(),
	}
	// The rewrite that reclaims the space of single dead values is rarely needed: the stream's die together, the index's by
	// erasure alone.
	opts.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled:               true,
			MinimumSize:           separate,
			MaxBlobReferenceDepth: 10,
			RewriteMinimumAge:     5 * time.Minute,
			TargetGarbageRatio:    0.3,
		}
	}
	// A client that polls for an id which is not there yet must not cost a disk read per level.
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return opts
}
