package iceberg

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
)

// wantErased fails unless the table holds the events 1 … n of shard a once each, but for those given.
func wantErased(t fataler, l *Lake, n int, erased ...int) {
	t.Helper()
	got := ids(t, l)
	for i := 1; i <= n; i++ {
		want := 1
		for _, e := range erased {
			if e == i {
				want = 0
			}
		}
		if id := row("a", i).Event.ID; got[id] != want {
			t.Errorf("id %s is in the table %d times, want %d", id, got[id], want)
		}
	}
	wantFiles(t, l)
}

func eraseRow(t fataler, u *Upkeep, n int) error {
	return u.Erase(t.Context(), row("a", n).Event.ID, received)
}

// TestErase: an event goes from whatever files hold it, and nothing else changes.
func TestErase(t *testing.T) {
	t.Parallel()
	l, _, _ := newLake(t)
	if err := appendSpan(t.Context(), l, "a", 0, 5); err != nil {
		t.Fatal(err)
	}
	appendEach(t, l, "a", 5, 8)
	u := newTestUpkeep(t, l, dayAfter(), func(c *UpkeepConfig) { c.SafeAge, c.SnapshotAge = 0, 0 })
	for _, n := range []int{3, 7} { // of a file with others, and alone in its file
		if there, err := u.Contains(t.Context(), row("a", n).Event.ID, received); !there || err != nil {
			t.Errorf("event %d is there: %t, %v", n, there, err)
		}
		if err := eraseRow(t, u, n); err != nil {
			t.Fatal(err)
		}
	}
	wantErased(t, l, 8, 3, 7)
	wantOffset(t, l, "a", 8)
	before, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{3, 7, 99} { // again, and what never was
		if there, err := u.Contains(t.Context(), row("a", n).Event.ID, received); there || err != nil {
			t.Errorf("event %d is there: %t, %v", n, there, err)
		}
		if err := eraseRow(t, u, n); err != nil {
			t.Fatal(err)
		}
	}
	after, err := l.Status(t.Context())
	if err != nil || after.MetadataLocation != before.MetadataLocation {
		t.Errorf("there was a commit for nothing: %v", err)
	}
	if err := u.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := eraseRow(t, u, 4); err != nil { // from a compacted file
		t.Fatal(err)
	}
	// Received at midnight: the id may be of the day before.
	late := row("a", 9)
	late.Event.ReceivedTime = received.Truncate(24*time.Hour).AddDate(0, 0, 1)
	if err := l.Append(t.Context(), []consumer.Row{late}, []consumer.Move{move("a", 8, 9)}); err != nil {
		t.Fatal(err)
	}
	if err := eraseRow(t, u, 9); err != nil {
		t.Fatal(err)
	}
	if err := u.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantErased(t, l, 9, 3, 4, 7, 9)
	wantNoOrphans(t, l)
}

// TestEraseBesideOthers: an append or a compaction by a peer comes at every moment of an erasure.
func TestEraseBesideOthers(t *testing.T) {
	t.Parallel()
	for moment := 1; moment <= 6; moment++ {
		for _, what := range []string{"append", "compact"} {
			t.Run(fmt.Sprint(what, moment), func(t *testing.T) {
				t.Parallel()
				l, shared, fs := newLake(t)
				appendEach(t, l, "a", 0, 4)
				peer := openLake(t, fs, "/data/lake", shared)
				n := 4
				p := interrupt(shared, moment, func() error {
					if what == "compact" {
						_, err := newTestUpkeep(t, peer, dayAfter()).Compact(t.Context(), nil)
						return err
					}
					n = 5
					return appendSpan(t.Context(), peer, "a", 4, 5)
				})
				if err := eraseRow(t, newTestUpkeep(t, withPointer(l, p), dayAfter()), 2); err != nil {
					t.Fatal(err)
				}
				wantErased(t, l, n, 2)
				wantOffset(t, l, "a", n)
			})
		}
	}
}

// TestEraseFaults fails the first operation on the file system, then the second, and so on: the erasure says so, has no
// other effect, and can be done again.
func TestEraseFaults(t *testing.T) {
	t.Parallel()
	for k := 1; ; k++ {
		var mu sync.Mutex
		count, armed, hit := 0, false, false
		fs := &steppedFS{FS: vfs.NewMem(), step: func(string, string) error {
			mu.Lock()
			defer mu.Unlock()
			if armed {
				count++
			}
			if armed && count == k {
				hit = true
				return errInjected
			}
			return nil
		}}
		l := openLake(t, fs, "/data/lake", &memoryPointer{})
		if err := appendSpan(t.Context(), l, "a", 0, 3); err != nil {
			t.Fatal(err)
		}
		u := newTestUpkeep(t, l, dayAfter())
		mu.Lock()
		armed = true
		mu.Unlock()
		err := eraseRow(t, u, 2)
		mu.Lock()
		armed = false
		mu.Unlock()
		switch {
		case err == nil:
			wantErased(t, l, 3, 2)
		case errors.Is(err, errInjected):
			wantErased(t, l, 3)
		default:
			t.Errorf("fault %d: %v", k, err)
		}
		if err := eraseRow(t, u, 2); err != nil {
			t.Errorf("after fault %d: %v", k, err)
		}
		wantErased(t, l, 3, 2)
		if t.Failed() {
			t.Fatalf("after fault %d", k)
		}
		if !hit {
			return
		}
	}
}
