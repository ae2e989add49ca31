package local

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleOptions fit a log that is written once, read once or twice soon after, and removed in ranges, beside a table
// that is written once and looked up by key.
// syncGap is how long after a sync the next one waits.
func pebbleOptions(fsys vfs.FS, h *health, syncGap func() time.Duration) *pebble.Options {
	opts := &pebble.Options{
		FS:     fsys,
		Logger: h,
		// FormatMajorVersion stands still until we choose otherwise, so that going back one release stays possible.
		FormatMajorVersion: pebble.FormatValueSeparation,
		// Large enough that a sink which is up to date reads from memory, small enough to replay in a second.
		MemTableSize:                32 << 20,
		MemTableStopWritesThreshold: 4,
		CacheSize:                   64 << 20,
		MaxOpenFiles:                1000,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		// A trim gives its disk space back soon, also when nothing is written after it.
		FlushDelayDeleteRange: 10 * time.Second,
		WALMinSyncInterval:    syncGap,
	}
	// Records and bodies of some size are written once to a blob file and not again by every compaction. The rewrite
	// that reclaims the space of single dead values is rarely needed: whole ranges die together.
	opts.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled:               true,
			MinimumSize:           4 << 10,
			MaxBlobReferenceDepth: 10,
			RewriteMinimumAge:     5 * time.Minute,
			TargetGarbageRatio:    0.3,
		}
	}
	// A client that polls for an id which is not there yet must not cost a disk read per level.
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	opts.ApplyCompressionSettings(compression)
	opts.EventListener = h.listener()
	return opts
}

// compression leaves fresh files as they are: most of what is in them moves on or is trimmed soon. What settles at the bottom
// stays for ever and is compressed well.
func compression() pebble.DBCompressionSettings {
	settings := pebble.DBCompressionBalanced
	settings.Name, settings.Levels[0] = "penstock", sstable.NoCompression
	return settings
}
