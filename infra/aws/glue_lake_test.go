//go:build !frontend

package aws_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/infra/aws"
	"penstock/infra/iceberg"
	"penstock/schemas"
)

// Adapters don't know each other; these tests put two together as the root does.

func openLake(t *testing.T, files iceberg.Files, p iceberg.Pointer) *iceberg.Lake {
	t.Helper()
	l, err := tryLake(t.Context(), files, p)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tryLake(ctx context.Context, files iceberg.Files, p iceberg.Pointer) (*iceberg.Lake, error) {
	return iceberg.Open(ctx, iceberg.Config{
		Files: files, Pointer: p, Admit: func(int64) error { return nil }, Logger: slog.New(slog.DiscardHandler),
	})
}

// span makes the events from+1 … to of a shard, and the move over them.
func span(shard string, from, to int) ([]consumer.Row, []consumer.Move) {
	var rows []consumer.Row
	received := time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
	for n := from + 1; n <= to; n++ {
		body := fmt.Appendf(nil, `{"shard": %q, "n": %d}`, shard, n)
		rows = append(rows, consumer.Row{
			Event: schemas.Event{
				ID: fmt.Sprintf("%s-%06d", shard, n), Type: "test", Source: "test", Time: received, ReceivedTime: received,
				ContentType: "application/json", Size: int64(len(body)), Data: body,
				Extensions: map[string]string{"n": strconv.Itoa(n)},
			},
			Body: body, Landed: received, Shard: shard, Position: schemas.Position{Sequence: strconv.Itoa(n)},
		})
	}
	return rows, []consumer.Move{{Shard: shard, From: place(from), To: place(to)}}
}

func place(n int) consumer.Checkpoint {
	if n == 0 {
		return consumer.Checkpoint{}
	}
	return consumer.Checkpoint{Position: schemas.Position{Sequence: strconv.Itoa(n)}}
}

func appendSpan(ctx context.Context, l *iceberg.Lake, shard string, from, to int) error {
	rows, moves := span(shard, from, to)
	return l.Append(ctx, rows, moves)
}

// wantOnce fails unless the table holds the events 1 … n of each shard, each once, and every file of it is there.
func wantOnce(t *testing.T, files iceberg.Files, l *iceberg.Lake, shards map[string]int) {
	t.Helper()
	bodies := lakeBodies(t, files, l)
	for shard, n := range shards {
		rows, _ := span(shard, 0, n)
		for _, r := range rows {
			if got := bodies[r.Event.ID]; len(got) != 1 || got[0] != string(r.Body) {
				t.Errorf("%s is in the table as %q", r.Event.ID, got)
			}
			delete(bodies, r.Event.ID)
		}
	}
	if len(bodies) > 0 {
		t.Errorf("%d events that should not be in the table: %v", len(bodies), bodies)
	}
}

// stubLake is a lake in memory whose pointer is in the stub.
func stubLake(t *testing.T) (*iceberg.Lake, iceberg.Files, *glueStub) {
	t.Helper()
	files, err := iceberg.NewLocalFiles(vfs.NewMem(), "/lake")
	if err != nil {
		t.Fatal(err)
	}
	s := newGlueStub(t)
	return openLake(t, files, stubPointer(t, s)), files, s
}

// TestUpdateLandsAnswerLost: UpdateTable lands, its answer is lost, and whoever repeats it is told of a conflict, which is one
// with itself. Each id is in the table once, and no live file is gone.
func TestUpdateLandsAnswerLost(t *testing.T) {
	t.Parallel()
	conflict := glueError("ConcurrentModificationException")
	for name, peers := range map[string]int{
		"nobody else":                  0,
		"a peer went on":               1,
		"peers went on":                3,
		"peers went on, out of memory": 40, // the table's log of versions does not reach back any more
	} {
		for answer, lost := range map[string]glueAnswer{"conflict": conflict, "500": {500, nil}, "cut": {}} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				t.Parallel()
				l, files, s := stubLake(t)
				if err := appendSpan(t.Context(), l, "a", 0, 10); err != nil {
					t.Fatal(err)
				}
				peer := openLake(t, files, stubPointer(t, s))
				var once sync.Once
				s.setFault(func(call string, next func() glueAnswer) glueAnswer {
					result := next()
					if call == "UpdateTable" {
						once.Do(func() {
							s.setFault(nil)
							for n := range peers { // without rows, since the other side waits
								if err := peer.Append(t.Context(), nil, []consumer.Move{{Shard: "b", From: place(n), To: place(n + 1)}}); err != nil {
									t.Error(err)
								}
							}
							result = lost
						})
					}
					return result
				})
				if err := appendSpan(t.Context(), l, "a", 10, 20); err != nil {
					t.Errorf("an append that landed: %v", err)
				}
				wantOnce(t, files, l, map[string]int{"a": 20})
				sweepAll(t, l)
				wantOnce(t, files, peer, map[string]int{"a": 20})
			})
		}
	}
}

// sweepAll removes every file that nothing refers to, however young.
func sweepAll(t *testing.T, l *iceberg.Lake) iceberg.Sweep {
	t.Helper()
	u, err := iceberg.NewUpkeep(l, iceberg.UpkeepConfig{
		TargetBytes: iceberg.DefaultTargetBytes, Room: func(int64) error { return nil }, Busy: func() bool { return false },
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	done, err := u.Sweep(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// TestPropertyOnlyCommitRefuses: a peer commits nothing but an offset between the load and the commit of an append. iceberg-go
// alone would take its older value for good.
func TestPropertyOnlyCommitRefuses(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"GetTable", "UpdateTable"} {
		for moment := 1; moment <= 4; moment++ {
			t.Run(fmt.Sprint(call, moment), func(t *testing.T) {
				t.Parallel()
				l, files, s := stubLake(t)
				if err := appendSpan(t.Context(), l, "a", 0, 10); err != nil {
					t.Fatal(err)
				}
				peer, seen, moved := openLake(t, files, stubPointer(t, s)), 0, false
				s.setFault(func(got string, next func() glueAnswer) glueAnswer {
					if got == call {
						if seen++; seen == moment {
							s.setFault(nil)
							moved = true
							if err := peer.Append(t.Context(), nil, []consumer.Move{{Shard: "a", From: place(10), To: place(12)}}); err != nil {
								t.Error(err)
							}
						}
					}
					return next()
				})
				err := appendSpan(t.Context(), l, "a", 10, 20)
				if !moved { // an append updates once
					if call == "GetTable" || moment == 1 || err != nil {
						t.Errorf("the peer did nothing; %v", err)
					}
					return
				}
				if !errors.Is(err, consumer.ErrFenced) {
					t.Errorf("answer is %v", err)
				}
				wantOnce(t, files, l, map[string]int{"a": 10})
				if offsets, err := l.Offsets(t.Context()); err != nil || !offsets["a"].SamePlace(place(12)) {
					t.Errorf("offset is %v, %v", offsets["a"], err)
				}
			})
		}
	}
}

// TestForeignTableAtStart: a table of that name that is none of ours is a clear error when the lake is opened.
func TestForeignTableAtStart(t *testing.T) {
	t.Parallel()
	_, files, s := stubLake(t)
	s.change("penstock.events", func(table map[string]any) { table["Parameters"] = map[string]any{"classification": "csv"} })
	if _, err := tryLake(t.Context(), files, stubPointer(t, s)); !errors.Is(err, aws.ErrForeignTable) {
		t.Errorf("opened: %v", err)
	}
}

// TestSmallParameters: the table's properties, and its offsets above all, stay out of Glue.
func TestSmallParameters(t *testing.T) {
	t.Parallel()
	l, _, s := stubLake(t)
	if err := appendSpan(t.Context(), l, "a", 0, 10); err != nil {
		t.Fatal(err)
	}
	parameters, _ := s.table("penstock.events")["Parameters"].(map[string]any)
	if len(parameters) != 3 {
		t.Errorf("parameters: %v", parameters)
	}
}

// TestOpenTogether: workers that find neither table nor database make one.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	files, err := iceberg.NewLocalFiles(fs, "/lake")
	if err != nil {
		t.Fatal(err)
	}
	s := newGlueStub(t)
	want := map[string]int{}
	var workers sync.WaitGroup
	for i := range 8 {
		shard := fmt.Sprint("s", i)
		want[shard] = 2
		workers.Go(func() {
			own, err := iceberg.NewLocalFiles(fs, "/lake") // as every process has
			if err != nil {
				t.Error(err)
				return
			}
			l, err := tryLake(t.Context(), own, stubPointer(t, s))
			if err == nil {
				err = appendSpan(t.Context(), l, shard, 0, 2)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	workers.Wait()
	wantOnce(t, files, openLake(t, files, stubPointer(t, s)), want)
}
