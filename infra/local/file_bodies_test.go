package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

var bodyDay = time.Date(2026, 6, 7, 8, 9, 10, 0, time.UTC)

func TestBodiesRefuse(t *testing.T) {
	t.Parallel()
	guard := NewDiskGuard(vfs.NewMem(), testDir, 0)
	if _, err := NewBodies(vfs.NewMem(), "relative", "penstock", guard); err == nil {
		t.Error("a relative directory was taken")
	}
	for _, bucket := range []string{"", "ab", "UPPER", "a/b", "..", "a..b", ".sgwtmp", "-ab", strings.Repeat("a", 64)} {
		if _, err := NewBodies(vfs.NewMem(), testDir, bucket, guard); err == nil {
			t.Errorf("bucket %q was taken", bucket)
		}
	}
	b := testBodies(t, vfs.NewMem(), testDir)
	for _, id := range []string{"", "../x", "a/b", "a.b", "a\x00", strings.Repeat("a", 65)} {
		if ref, err := b.Put(t.Context(), id, bodyDay, []byte("x")); err == nil {
			t.Errorf("id %q was stored at %s", id, ref)
		}
	}
	ref, err := b.Put(t.Context(), "id", bodyDay, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "s3://penstock/", "s3://other" + ref[len("s3://penstock"):], ref + "/", ref + "/../id", ref + "\x00",
		"s3://penstock/bodies/dt=2026-06-07/../dt=2026-06-07/id", "s3://penstock/../penstock/bodies/dt=2026-06-07/id",
		"s3://penstock//bodies/dt=2026-06-07/id", "s3://penstock/.sgwtmp/penstock/id", "s3://penstock/bodies/dt=2026-06-07/",
		"s3://penstock/bodies/dt=2026-06-07/other", "s3://penstock/bodies/dt=2026-06-08/id", "S3" + ref[2:],
	} {
		if _, err := b.Open(t.Context(), bad); !errors.Is(err, consumer.ErrNotFound) {
			t.Errorf("Open(%q): %v, want ErrNotFound", bad, err)
		}
	}
}

func TestBodiesDiskFull(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	b, err := NewBodies(mem, testDir, "penstock", NewDiskGuard(mem, testDir, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 30, UsedBytes: 1<<30 - 1<<20})
	if _, err := b.Put(t.Context(), "id", bodyDay, []byte("x")); !errors.Is(err, ingest.ErrStorageFull) {
		t.Errorf("Put below the reserve: %v, want ErrStorageFull", err)
	}
}

// Whoever knows no more than an event's id knows where its body would lie, up to the last moment of its day and in every zone.
func TestBodyRefByID(t *testing.T) {
	t.Parallel()
	b := testBodies(t, vfs.NewMem(), testDir)
	received := time.Date(2026, 6, 7, 23, 59, 59, 999_999_999, time.UTC).In(time.FixedZone("", 2*3600))
	id := schemas.NewID(received)
	made, err := schemas.IDTime(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(t.Context(), b.Ref(id, made)); err != nil {
		t.Errorf("none on a day without bodies: %v", err)
	}
	ref, err := b.Put(t.Context(), id, received, []byte("x"))
	if err != nil || b.Ref(id, made) != ref || b.Ref(id, received) != ref {
		t.Errorf("stored at %s (%v), not at %s", ref, err, b.Ref(id, made))
	}
	if err := b.Remove(t.Context(), b.Ref(id, made)); err != nil {
		t.Error(err)
	}
	if _, err := b.Open(t.Context(), ref); !errors.Is(err, consumer.ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
}

// An error at any step is reported, leaves no half body under the name, and no temporary file while removing works.
func TestBodiesFaults(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		mem := vfs.NewMem()
		count, armed := 0, false
		fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !armed || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpRemove {
				return nil
			}
			if count++; count == n+1 {
				return &fs.PathError{Op: "test", Path: op.Path, Err: syscall.ENOSPC}
			}
			return nil
		}))
		b := testBodies(t, fsys, testDir)
		armed = true
		body := bytes.Repeat([]byte("b"), 600<<10)
		ref, err := b.Put(t.Context(), "id", bodyDay, body)
		if count <= n {
			if err != nil || n < 6 {
				t.Errorf("after %d faults: %s, %v", n, ref, err)
			}
			return
		}
		if !errors.Is(err, ingest.ErrStorageFull) {
			t.Errorf("fault at step %d: %v, want ErrStorageFull", n, err)
		}
		left, err := mem.List(b.tempDir())
		if err != nil || len(left) != 0 {
			t.Errorf("fault at step %d left %q, %v", n, left, err)
		}
		if r, err := b.Open(t.Context(), "s3://penstock/bodies/dt=2026-06-07/id"); err == nil {
			if st, err := mem.Stat(path.Join(testDir, "penstock/bodies/dt=2026-06-07/id")); err != nil || st.Size() != int64(len(body)) {
				t.Errorf("fault at step %d left half a body: %v", n, err)
			}
			_ = r.Close()
		}
		// The next try succeeds.
		if _, err := b.Put(t.Context(), "id", bodyDay, body); err != nil {
			t.Errorf("Put after the fault at step %d: %v", n, err)
		}
	}
}

// A removal that was cut before it was durable is so when it is done again, though there is no body any more.
func TestBodiesRemovedTwice(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	ref, err := testBodies(t, mem, testDir).Put(t.Context(), "id", bodyDay, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	broken := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync {
			return syscall.EIO
		}
		return nil
	}))
	b := testBodies(t, mem, testDir)
	b.fs = broken
	if err := b.Remove(t.Context(), ref); err == nil {
		t.Error("a removal that is not synced passed for one")
	}
	if err := testBodies(t, mem, testDir).Remove(t.Context(), ref); err != nil {
		t.Errorf("again: %v", err)
	}
	crashed := testBodies(t, mem.CrashClone(vfs.CrashCloneCfg{}), testDir)
	if _, err := crashed.Open(t.Context(), ref); !errors.Is(err, consumer.ErrNotFound) {
		t.Errorf("after a power cut: %v", err)
	}
}

func TestBodiesRemoveLeftovers(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	b := testBodies(t, mem, testDir)
	if err := writeSynced(mem, path.Join(b.tempDir(), "id.1"), []byte("half")); err != nil {
		t.Fatal(err)
	}
	b = testBodies(t, mem, testDir)
	if left, err := mem.List(b.tempDir()); err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

// The power goes before every operation of many first puts of a day: what was acked is there, byte for byte.
func TestBodiesPowerCut(t *testing.T) {
	t.Parallel()
	type bodyCut struct {
		disk  *vfs.MemFS
		acked map[string][]byte
	}
	for _, percent := range []int{0, 50} {
		t.Run(fmt.Sprintf("%d percent survive", percent), func(t *testing.T) {
			t.Parallel()
			disk := vfs.NewCrashableMem()
			rng := rand.New(rand.NewPCG(uint64(percent), 2))
			var mu sync.Mutex
			acked := make(map[string][]byte)
			var cuts []bodyCut
			cutPower := func() {
				mu.Lock()
				defer mu.Unlock()
				c := bodyCut{acked: make(map[string][]byte, len(acked))}
				for ref, body := range acked {
					c.acked[ref] = body
				}
				c.disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
				cuts = append(cuts, c)
			}
			fsys := errorfs.Wrap(disk, errorfs.InjectorFunc(func(errorfs.Op) error {
				cutPower()
				return nil
			}))
			b := testBodies(t, fsys, testDir)
			var wg sync.WaitGroup
			for i := range 12 {
				wg.Go(func() {
					body := fmt.Appendf(nil, "%*d", 1+i*1000, i)
					ref, err := b.Put(t.Context(), schemas.NewID(bodyDay), bodyDay.AddDate(0, 0, i%2), body)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					acked[ref] = body
				})
			}
			wg.Wait()
			cutPower()
			if len(cuts) < 50 {
				t.Errorf("only %d power cuts: the file system is not watched", len(cuts))
			}
			for _, c := range cuts {
				b := testBodies(t, c.disk, testDir)
				for ref, want := range c.acked {
					if got := readBody(t, b, ref); !bytes.Equal(got, want) {
						t.Errorf("%s has %d bytes, want %d", ref, len(got), len(want))
					}
				}
			}
		})
	}
}
