//go:build !frontend

package aws_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"penstock/infra/aws"
)

const stubLocation = "s3://bucket/lake/events"

func stubPointer(t *testing.T, s *glueStub) *aws.Pointer {
	t.Helper()
	p, err := aws.NewPointer(s.client(), "penstock", "events", stubLocation)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// versionAt is the location of a version of the table.
func versionAt(n int) string { return fmt.Sprintf("%s/metadata/%05d-x.metadata.json", stubLocation, n) }

// madePointer points at version 0.
func madePointer(t *testing.T) (*aws.Pointer, *glueStub) {
	t.Helper()
	s := newGlueStub(t)
	p := stubPointer(t, s)
	if swapped, err := p.Swap(t.Context(), "", versionAt(0)); err != nil || !swapped {
		t.Fatalf("create: %t, %v", swapped, err)
	}
	s.seen()
	return p, s
}

func wantPointer(t *testing.T, p *aws.Pointer, want string) {
	t.Helper()
	if got, err := p.Load(t.Context()); err != nil || got != want {
		t.Errorf("Load = %q, %v; want %q", got, err, want)
	}
}

// TestPointer: the steps of a table's life, and what Glue is told of it.
func TestPointer(t *testing.T) {
	t.Parallel()
	s := newGlueStub(t)
	p := stubPointer(t, s)
	wantPointer(t, p, "")
	for i, c := range []struct {
		prev, next string
		want       bool
	}{
		{versionAt(0), versionAt(1), false}, // there is no table
		{"", versionAt(0), true},
		{"", versionAt(1), false},
		{versionAt(1), versionAt(2), false},
		{versionAt(0), versionAt(1), true},
		{versionAt(0), versionAt(2), false},
		{versionAt(1), versionAt(2), true},
	} {
		if got, err := p.Swap(t.Context(), c.prev, c.next); err != nil || got != c.want {
			t.Errorf("step %d: %t, %v", i, got, err)
		}
	}
	wantPointer(t, p, versionAt(2))
	table := s.table("penstock.events")
	parameters, _ := table["Parameters"].(map[string]any)
	want := map[string]any{
		"table_type": "ICEBERG", "metadata_location": versionAt(2), "previous_metadata_location": versionAt(1),
	}
	if fmt.Sprint(parameters) != fmt.Sprint(want) || table["TableType"] != "EXTERNAL_TABLE" {
		t.Errorf("%v table with parameters %v", table["TableType"], parameters)
	}
	descriptor, _ := table["StorageDescriptor"].(map[string]any)
	columns, _ := descriptor["Columns"].([]any)
	if descriptor["Location"] != stubLocation || len(columns) != 19 {
		t.Fatalf("storage descriptor: %v", descriptor)
	}
	for i, want := range map[int]string{
		0:  "id string KSUID made by ingest map[iceberg.field.current:true iceberg.field.id:1 iceberg.field.optional:false]",
		1:  "received_at timestamp when ingest took the event; the table is partitioned by its day map[iceberg.field.current:true iceberg.field.id:2 iceberg.field.optional:false]",
		12: "size bigint bytes of the body map[iceberg.field.current:true iceberg.field.id:13 iceberg.field.optional:false]",
		16: "extensions map<string,string> other CloudEvents attributes map[iceberg.field.current:true iceberg.field.id:17 iceberg.field.optional:true]",
	} {
		c, _ := columns[i].(map[string]any)
		if got := fmt.Sprint(c["Name"], " ", c["Type"], " ", c["Comment"], " ", c["Parameters"]); got != want {
			t.Errorf("column %d: %s", i, got)
		}
	}
	calls, bodies := s.seen()
	for i, call := range calls {
		if call == "UpdateTable" && (bodies[i]["VersionId"] == nil || bodies[i]["SkipArchive"] != true) {
			t.Errorf("UpdateTable with version %v, SkipArchive %v", bodies[i]["VersionId"], bodies[i]["SkipArchive"])
		}
	}
}

// TestPointerKeeps: what others put into the Glue table is still there after a commit.
func TestPointerKeeps(t *testing.T) {
	t.Parallel()
	p, s := madePointer(t)
	s.change("penstock.events", func(table map[string]any) {
		table["Description"], table["Owner"] = "described", "somebody"
		table["Parameters"].(map[string]any)["optimizer"] = "on"
	})
	if swapped, err := p.Swap(t.Context(), versionAt(0), versionAt(1)); err != nil || !swapped {
		t.Fatal(swapped, err)
	}
	table := s.table("penstock.events")
	parameters, _ := table["Parameters"].(map[string]any)
	if table["Description"] != "described" || table["Owner"] != "somebody" || parameters["optimizer"] != "on" {
		t.Errorf("left: %v", table)
	}
}

// TestPointerRace: of many who swap from the same version one does.
func TestPointerRace(t *testing.T) {
	t.Parallel()
	s := newGlueStub(t)
	for round, prev := 0, ""; round < 5; round++ {
		var won atomic.Int32
		var last atomic.Value
		var swappers sync.WaitGroup
		for i := range 8 {
			swappers.Go(func() {
				p, next := stubPointer(t, s), fmt.Sprintf("%s-%d", versionAt(round), i)
				swapped, err := p.Swap(t.Context(), prev, next)
				if swapped {
					won.Add(1)
					last.Store(next)
				}
				// Who met the winner between his look and his update can't know it.
				if err != nil && !strings.Contains(err.Error(), "ConcurrentModificationException") {
					t.Error(err)
				}
			})
		}
		swappers.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d have won", round, won.Load())
		}
		prev, _ = last.Load().(string)
		wantPointer(t, stubPointer(t, s), prev)
	}
}

// TestPointerOutcomes: what a swap says when Glue's answers are not what happened.
func TestPointerOutcomes(t *testing.T) {
	t.Parallel()
	cut, fault := glueAnswer{}, glueAnswer{500, map[string]any{"__type": "InternalServiceException"}}
	for name, c := range map[string]struct {
		// update is what becomes of the n-th UpdateTable.
		update  func(n int, s *glueStub, next func() glueAnswer) glueAnswer
		swapped bool
		failed  bool
		updates int // at most
		at      string
	}{
		"landed, 500": {func(_ int, _ *glueStub, next func() glueAnswer) glueAnswer { next(); return fault }, true, false, 1, versionAt(1)},
		"landed, cut": {func(_ int, _ *glueStub, next func() glueAnswer) glueAnswer { next(); return cut }, true, false, 1, versionAt(1)},
		"landed, conflict with itself": {func(_ int, _ *glueStub, next func() glueAnswer) glueAnswer {
			next()
			return glueError("ConcurrentModificationException")
		}, true, false, 1, versionAt(1)},
		"landed, answer lost, and a peer went on": {func(_ int, s *glueStub, next func() glueAnswer) glueAnswer {
			next()
			s.move(versionAt(7))
			return cut
		}, false, true, 1, versionAt(7)},
		"a peer was first": {func(_ int, s *glueStub, next func() glueAnswer) glueAnswer {
			s.move(versionAt(7))
			return next()
		}, false, true, 1, versionAt(7)},
		"somebody changed something else": {func(n int, s *glueStub, next func() glueAnswer) glueAnswer {
			if n == 1 {
				s.change("penstock.events", func(map[string]any) {})
			}
			return next()
		}, true, false, 2, versionAt(1)},
		"not landed, twice": {func(n int, _ *glueStub, next func() glueAnswer) glueAnswer {
			if n <= 2 {
				return fault
			}
			return next()
		}, true, false, 3, versionAt(1)},
		"throttled": {func(n int, _ *glueStub, next func() glueAnswer) glueAnswer {
			if n == 1 {
				return glueError("ThrottlingException")
			}
			return next()
		}, true, false, 2, versionAt(1)},
		"throttled for good": {func(int, *glueStub, func() glueAnswer) glueAnswer { return glueError("ThrottlingException") }, false, true, 5, versionAt(0)},
		"denied":             {func(int, *glueStub, func() glueAnswer) glueAnswer { return glueError("AccessDeniedException") }, false, true, 1, versionAt(0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, s := madePointer(t)
			updates := 0
			s.setFault(func(call string, next func() glueAnswer) glueAnswer {
				if call != "UpdateTable" {
					return next()
				}
				updates++
				return c.update(updates, s, next)
			})
			swapped, err := p.Swap(t.Context(), versionAt(0), versionAt(1))
			if swapped != c.swapped || (err != nil) != c.failed || updates > c.updates {
				t.Errorf("after %d updates: %t, %v", updates, swapped, err)
			}
			wantPointer(t, p, c.at)
			calls, _ := s.seen()
			if i := slices.Index(calls, "UpdateTable"); i+1 < len(calls) && calls[i+1] == "UpdateTable" {
				t.Errorf("an update was repeated unseen: %v", calls)
			}
		})
	}
}

// move is a peer's commit.
func (s *glueStub) move(location string) {
	s.change("penstock.events", func(table map[string]any) {
		table["Parameters"].(map[string]any)["metadata_location"] = location
	})
}

// TestPointerForeign: what is no Iceberg table is refused, not overwritten.
func TestPointerForeign(t *testing.T) {
	t.Parallel()
	for name, parameters := range map[string]map[string]any{
		"a Hive table":       {"classification": "parquet"},
		"without a location": {"table_type": "ICEBERG"},
		"Delta":              {"table_type": "DELTA", "metadata_location": versionAt(0)},
	} {
		p, s := madePointer(t)
		s.change("penstock.events", func(table map[string]any) { table["Parameters"] = parameters })
		if _, err := p.Load(t.Context()); !errors.Is(err, aws.ErrForeignTable) || !strings.Contains(err.Error(), "penstock.events") {
			t.Errorf("%s: Load: %v", name, err)
		}
		if swapped, err := p.Swap(t.Context(), versionAt(0), versionAt(1)); swapped || !errors.Is(err, aws.ErrForeignTable) {
			t.Errorf("%s: Swap: %t, %v", name, swapped, err)
		}
		if swapped, err := p.Swap(t.Context(), "", versionAt(1)); swapped || err != nil {
			t.Errorf("%s: create: %t, %v", name, swapped, err)
		}
	}
}

func TestPointerConfig(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "Events", "my-events", "a b", strings.Repeat("x", 256)} {
		if _, err := aws.NewPointer(nil, "penstock", name, stubLocation); err == nil {
			t.Errorf("table %q was taken", name)
		}
		if _, err := aws.NewPointer(nil, name, "events", stubLocation); err == nil {
			t.Errorf("database %q was taken", name)
		}
	}
}
