package local

import (
	"context"
	"io"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/consumer/consumertest"
	"penstock/ingest/ingesttest"
	"penstock/schemas"
)

const backend = "pebble and files in memory"

func TestStreamConforms(t *testing.T) {
	t.Parallel()
	ingesttest.StreamSuite(t, backend, func(t *testing.T) ingesttest.StreamEnv {
		s := memStore(t)
		return ingesttest.StreamEnv{Stream: s.Stream(), Ordered: true, ReadAll: func(t *testing.T, shard string) [][]byte {
			t.Helper()
			var all [][]byte
			for _, r := range readAll(t, s, s.stream.byID[shard].number) {
				all = append(all, r.Data)
			}
			return all
		}}
	})
}

func TestSourceConforms(t *testing.T) {
	t.Parallel()
	consumertest.SourceSuite(t, backend, func(t *testing.T) consumertest.SourceEnv {
		cfg := testConfig(vfs.NewMem())
		cfg.Retention = time.Nanosecond
		s := openTest(t, cfg)
		return consumertest.SourceEnv{
			Source: s.Stream().Source(),
			Now:    time.Now,
			Put: func(t *testing.T, shard string, data []byte) {
				t.Helper()
				mustPut(t, s, recordIn(s, s.stream.byID[shard].number, string(data)))
			},
			Trim: func(t *testing.T, shard, sequence string) {
				t.Helper()
				if _, err := s.Stream().Trim(t.Context(), map[string]string{shard: sequence}); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

func TestIndexConforms(t *testing.T) {
	t.Parallel()
	consumertest.IndexSuite(t, backend, func(t *testing.T) consumer.Index { return memStore(t).Index() })
}

func TestLeasesConform(t *testing.T) {
	t.Parallel()
	consumertest.LeasesSuite(t, backend, func(t *testing.T) consumer.Leases { return memStore(t).Leases() })
}

func TestDeadLettersConform(t *testing.T) {
	t.Parallel()
	consumertest.DeadLettersSuite(t, backend, func(t *testing.T) consumer.DeadLetters { return memStore(t).DeadLetters() })
}

// testClock is a clock that a test moves.
type testClock struct{ nanos atomic.Int64 }

func newTestClock() *testClock {
	c := &testClock{}
	c.nanos.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *testClock) Now() time.Time          { return timeOf(c.nanos.Load()) }
func (c *testClock) Advance(d time.Duration) { c.nanos.Add(int64(d)) }

func TestClaimsConform(t *testing.T) {
	t.Parallel()
	ingesttest.ClaimsSuite(t, backend, func(t *testing.T) ingesttest.ClaimsEnv {
		clock := newTestClock()
		cfg := testConfig(vfs.NewMem())
		cfg.Now = clock.Now
		return ingesttest.ClaimsEnv{Claims: openTest(t, cfg).Claims(), Now: clock.Now, Advance: clock.Advance}
	})
}

func TestLedgerConforms(t *testing.T) {
	t.Parallel()
	ingesttest.LedgerSuite(t, backend, func(t *testing.T) ingesttest.LedgerEnv {
		s := memStore(t)
		return ingesttest.LedgerEnv{Ledger: s.Ledger(), Stream: s.Stream(), CatchUp: func(t *testing.T) {
			t.Helper()
			for i := range s.stream.shards {
				indexShardOf(t, s, i)
			}
		}}
	})
}

// indexShardOf does what the index sink does with everything that a shard holds.
func indexShardOf(t testing.TB, s *Store, shard int) {
	t.Helper()
	id := s.stream.shards[shard].id
	for _, r := range readAll(t, s, shard) {
		events, err := schemas.Deaggregate(r.Data)
		if err != nil {
			t.Fatal(err)
		}
		var entries []consumer.Entry
		for i, encoded := range events {
			e, err := schemas.DecodeEvent(encoded)
			if err != nil {
				t.Fatal(err)
			}
			p := schemas.Position{Sequence: r.Sequence, Sub: i}
			entries = append(entries, consumer.Entry{Event: e, Encoded: encoded, Shard: id, Position: p})
		}
		to := consumer.Checkpoint{Position: schemas.Position{Sequence: r.Sequence, Sub: len(entries) - 1}}
		if err := s.Index().Apply(context.Background(), id, entries, to); err != nil {
			t.Fatal(err)
		}
	}
}

func testBodies(t *testing.T, fsys vfs.FS, dir string) *Bodies {
	t.Helper()
	b, err := NewBodies(fsys, dir, "penstock", NewDiskGuard(fsys, dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readBody(t *testing.T, b consumer.Bodies, ref string) []byte {
	t.Helper()
	r, err := b.Open(context.Background(), ref)
	if err != nil {
		t.Fatalf("Open(%s): %v", ref, err)
	}
	defer func() { _ = r.Close() }()
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestBodiesConform(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) *Bodies{
		"memory": func(t *testing.T) *Bodies { return testBodies(t, vfs.NewMem(), testDir) },
		"disk": func(t *testing.T) *Bodies {
			return testBodies(t, vfs.Default, filepath.Join(t.TempDir(), strconv.Itoa(1)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ingesttest.BodiesSuite(t, "files in "+name, func(t *testing.T) ingesttest.BodiesEnv {
				b := open(t)
				return ingesttest.BodiesEnv{Bodies: b, Read: func(t *testing.T, ref string) []byte {
					t.Helper()
					return readBody(t, b, ref)
				}}
			})
			consumertest.BodiesSuite(t, "files in "+name, func(t *testing.T) consumertest.BodiesEnv {
				b := open(t)
				return consumertest.BodiesEnv{
					Bodies: b,
					Put: func(t *testing.T, id string, received time.Time, body []byte) string {
						t.Helper()
						ref, err := b.Put(t.Context(), id, received, body)
						if err != nil {
							t.Fatal(err)
						}
						return ref
					},
				}
			})
		})
	}
}
