package local

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
)

// TestTombstonesSurvivePowerCut: what was put, and the removal of the item, are there after a cut right behind them, and the
// ledger still knows that the event was stored.
func TestTombstonesSurvivePowerCut(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	s := openTest(t, testConfig(mem))
	e, encoded := event(t, 1)
	if err := s.Index().Apply(t.Context(), s.stream.shards[0].id, []consumer.Entry{{Event: e, Encoded: encoded}}, consumer.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	want := consumer.Tombstone{ID: e.ID, Received: time.Unix(1, 2).UTC(), Erased: time.Unix(3, 4).UTC(), DataRef: "s3://b/k"}
	if err := s.Tombstones().Put(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	buried := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Index().Remove(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Index().Remove(t.Context(), e.ID); err != nil {
		t.Errorf("removed again: %v", err)
	}
	removed := mem.CrashClone(vfs.CrashCloneCfg{})
	for name, fs := range map[string]vfs.FS{"after the tombstone": buried, "after the removal": removed} {
		s := openTest(t, testConfig(fs))
		got, err := s.Tombstones().Get(t.Context(), e.ID)
		if err != nil || got != want || !s.Tombstones().Has(e.ID) || s.Tombstones().Has("other") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if open, err := s.Tombstones().Unfinished(t.Context()); err != nil || len(open) != 1 || open[0] != want {
			t.Errorf("%s: unfinished %+v, %v", name, open, err)
		}
		if _, err := s.Index().Get(t.Context(), e.ID); errors.Is(err, consumer.ErrNotFound) != (name == "after the removal") {
			t.Errorf("%s: %v", name, err)
		}
		if stored, err := s.Ledger().Stored(t.Context(), []string{e.ID}); err != nil || !stored[0] {
			t.Errorf("%s: the ledger says %v, %v", name, stored, err)
		}
		done := want
		done.Done = true
		if err := s.Tombstones().Put(t.Context(), done); err != nil {
			t.Fatal(err)
		}
		if open, err := s.Tombstones().Unfinished(t.Context()); err != nil || len(open) != 0 {
			t.Errorf("%s: unfinished %+v, %v", name, open, err)
		}
	}
}

// TestRemoveBody: a body goes for good, and what is none of ours is left alone.
func TestRemoveBody(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	bodies, err := NewBodies(mem, "/data/objects", "bucket", NewDiskGuard(mem, "/", 0))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := bodies.Put(t.Context(), "id1", time.Now(), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{ref, ref, "s3://other/bodies/x", "s3://bucket/../../FORMAT", ""} {
		if err := bodies.Remove(t.Context(), gone); err != nil {
			t.Errorf("%q: %v", gone, err)
		}
	}
	after, err := NewBodies(mem.CrashClone(vfs.CrashCloneCfg{}), "/data/objects", "bucket", NewDiskGuard(mem, "/", 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.Open(t.Context(), ref); !errors.Is(err, consumer.ErrNotFound) {
		t.Errorf("after a power cut: %v", err)
	}
}
