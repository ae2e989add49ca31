package iceberg

import (
	"strings"
	"testing"
	"time"

	"penstock/consumer"
)

// TestFrozenTooLong: a process that was frozen between its files and its commit for so long that the orphan sweep of another
// has removed them does not make the table refer to them.
func TestFrozenTooLong(t *testing.T) {
	t.Parallel()
	l, shared, _ := newLake(t)
	if err := appendSpan(t.Context(), l, "a", 0, 3); err != nil {
		t.Fatal(err)
	}
	frozen := withPointer(l, shared)
	frozen.files = &FileIO{Files: l.files.Files}
	frozen.catalog.files = frozen.files
	at, err := frozen.catalog.LoadTable(t.Context(), tableIdent())
	if err != nil {
		t.Fatal(err)
	}
	made := &madeFiles{FileIO: frozen.files}
	a := &appending{lake: frozen, id: "x", moves: []consumer.Move{move("a", 3, 6)}, began: time.Now()}
	if a.files, err = frozen.writeFiles(t.Context(), made, at, span("a", 3, 6)); err != nil {
		t.Fatal(err)
	}
	a.began = a.began.Add(-CommitWithin - time.Minute)
	u := newTestUpkeep(t, l, dayAfter())
	if done := sweepAll(t, u); done.Files == 0 {
		t.Error("the files were spared")
	}
	if err := a.commit(t.Context()); err == nil || !strings.Contains(err.Error(), "begins anew") || a.mayHaveLanded {
		t.Errorf("commit: %v", err)
	}
	wantOnce(t, l, map[string]int{"a": 3})
	wantOffset(t, l, "a", 3)
	wantNoStray(t, l)
}

func TestInTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for began, late := range map[time.Time]bool{
		now: false, now.Add(-CommitWithin + time.Minute): false, now.Add(-CommitWithin - time.Minute): true,
		// By the clock on the wall alone, as of a machine that slept.
		now.Add(-CommitWithin - time.Minute).Round(0): true,
	} {
		if err := inTime(began); (err != nil) != late {
			t.Errorf("began %s ago: %v", time.Since(began), err)
		}
	}
}
