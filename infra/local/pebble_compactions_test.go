package local

import (
	"context"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func isTableCreate(op errorfs.Op) bool {
	return filepath.Ext(op.Path) == ".sst" && op.Kind == errorfs.OpCreate
}

// addTables flushes n tables that overlap, so that they lie on one another.
func addTables(t *testing.T, db *pebble.DB, n int) {
	t.Helper()
	for range n {
		for _, key := range []byte{0xf0, 0xff} { // of no part of the store
			if err := db.Set([]byte{key}, make([]byte, 100), pebble.NoSync); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// Opening waits for no compaction, however many are due; they begin right after it.
func TestOpenWaitsForNoCompaction(t *testing.T) {
	t.Parallel()
	f := faults{hung: make(chan struct{}, 1)}
	cfg := testConfig(f.wrap(vfs.NewMem()))
	s := mustOpen(t, cfg)
	mustClose(t, s)
	opts := stateOptions(cfg.FS, s.health, nil, s.syncGap)
	opts.DisableAutomaticCompactions = true
	db, err := pebble.Open(stateDir(cfg.FS, cfg.Dir), opts)
	if err != nil {
		t.Fatal(err)
	}
	addTables(t, db, 2*opts.L0CompactionThreshold)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	release := make(chan struct{})
	f.set(isTableCreate, nil, release)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err = Open(ctx, cfg)
	if err != nil {
		close(release)
		t.Fatalf("while a compaction hangs: %v", err)
	}
	<-f.hung
	f.set(nil, nil, nil)
	close(release)
	for s.db.Metrics().Levels[0].TablesCount > 1 && t.Context().Err() == nil {
		runtime.Gosched()
	}
	mustClose(t, s)
}

// A second compaction begins when flushes have made it needed, though the first has not ended.
func TestCompactionsAtOnce(t *testing.T) {
	t.Parallel()
	f := faults{hung: make(chan struct{}, 1)}
	s := openTest(t, testConfig(f.wrap(vfs.NewMem())))
	release := make(chan struct{})
	f.set(func(op errorfs.Op) bool { return filepath.Ext(op.Path) == ".sst" && op.Kind == errorfs.OpFileReadAt }, nil, release)
	defer close(release)
	addTables(t, s.db, 20)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for s.db.Metrics().Compact.NumInProgress < 2 {
		if ctx.Err() != nil {
			t.Fatalf("%d compactions run", s.db.Metrics().Compact.NumInProgress)
		}
		runtime.Gosched()
	}
}
