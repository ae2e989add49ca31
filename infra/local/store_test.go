package local

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

const testDir = "/var/penstock"

func testConfig(fsys vfs.FS) Config {
	return Config{Dir: testDir, FS: fsys, Shards: 4, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
}

// mustOpen opens a store that the test itself closes.
func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// openTest opens a store that is closed when the test ends.
func openTest(t testing.TB, cfg Config) *Store {
	t.Helper()
	s := mustOpen(t, cfg)
	t.Cleanup(func() { mustClose(t, s) })
	return s
}

func memStore(t testing.TB) *Store {
	t.Helper()
	return openTest(t, testConfig(vfs.NewMem()))
}

// keyIn is a hash key of the shard with the number.
func keyIn(s *Store, shard int) schemas.HashKey { return s.stream.shards[shard].hash.first }

func recordIn(s *Store, shard int, data string) ingest.Record {
	return ingest.Record{PartitionKey: "p", HashKey: keyIn(s, shard), Data: []byte(data)}
}

func mustPut(t testing.TB, s *Store, records ...ingest.Record) {
	t.Helper()
	for i, err := range s.stream.Put(context.Background(), records) {
		if err != nil {
			t.Fatalf("Put, record %d: %v", i, err)
		}
	}
}

// readAll reads a shard from its oldest record to its tip.
func readAll(t testing.TB, s *Store, shard int) []consumer.Record {
	t.Helper()
	var all []consumer.Record
	sh := s.stream.shards[shard]
	after := ""
	for v := sh.view(&s.clock); v.tip > v.horizon && after != formatSequence(v.tip); {
		p, err := s.stream.Source().Read(context.Background(), sh.id, after, 1<<20)
		if err != nil {
			t.Fatalf("Read(%s, %q): %v", sh.id, after, err)
		}
		if len(p.Records) == 0 {
			break
		}
		all = append(all, p.Records...)
		after = all[len(all)-1].Sequence
	}
	return all
}

func TestOpenRefusesConfig(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"relative directory": func(c *Config) { c.Dir = "data" },
		"no file system":     func(c *Config) { c.FS = nil },
		"no clock":           func(c *Config) { c.Now = nil },
		"no logger":          func(c *Config) { c.Logger = nil },
		"no shards":          func(c *Config) { c.Shards = 0 },
		"too many shards":    func(c *Config) { c.Shards = maxShards + 1 },
		"negative retention": func(c *Config) { c.Retention = -1 },
	} {
		cfg := testConfig(vfs.NewMem())
		change(&cfg)
		if _, err := Open(t.Context(), cfg); err == nil {
			t.Errorf("%s: Open succeeded", name)
		}
	}
}

func TestOpenOnDisk(t *testing.T) {
	t.Parallel()
	cfg := testConfig(vfs.Default)
	cfg.Dir = filepath.Join(t.TempDir(), "a", "b")
	s := mustOpen(t, cfg)
	mustPut(t, s, recordIn(s, 2, "kept"))

	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("second Open: %v, want ErrInUse", err)
	}
	mustClose(t, s)

	cfg.Shards = 9
	s = mustOpen(t, cfg)
	if n := len(s.stream.shards); n != 4 {
		t.Errorf("%d shards after opening with 9, want the stored 4", n)
	}
	if got := readAll(t, s, 2); len(got) != 1 || string(got[0].Data) != "kept" {
		t.Errorf("read %v", got)
	}
	mustClose(t, s)
}

func TestOpenRefusesFormat(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]error{
		"penstock-local 2\n":  ErrNewerFormat,
		"penstock-local 99\n": ErrNewerFormat,
		"penstock-local 0\n":  ErrNotOurs,
		"something else":      ErrNotOurs,
		"":                    ErrNotOurs,
	} {
		cfg := testConfig(vfs.Default)
		cfg.Dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(cfg.Dir, "FORMAT"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), cfg); !errors.Is(err, want) {
			t.Errorf("Open of format %q: %v, want %v", content, err, want)
		}
		// The refusal lets go of the directory.
		if err := os.Remove(filepath.Join(cfg.Dir, "FORMAT")); err != nil {
			t.Fatal(err)
		}
		mustClose(t, mustOpen(t, cfg))
	}

	cfg := testConfig(vfs.Default)
	cfg.Dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(cfg.Dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrNotOurs) {
		t.Errorf("Open of a directory with foreign state: %v, want ErrNotOurs", err)
	}
}

func TestOpenNotWritable(t *testing.T) {
	t.Parallel()
	// Permissions don't stop root, so the file system says no itself.
	denied := func(kinds ...errorfs.OpKind) vfs.FS {
		return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			for _, k := range kinds {
				if op.Kind == k {
					return &os.PathError{Op: "open", Path: op.Path, Err: syscall.EACCES}
				}
			}
			return nil
		}))
	}
	for name, fsys := range map[string]vfs.FS{
		"directory can't be made": denied(errorfs.OpMkdirAll),
		"lock can't be made":      denied(errorfs.OpLock),
		"file can't be made":      denied(errorfs.OpCreate),
	} {
		if _, err := Open(t.Context(), testConfig(fsys)); !errors.Is(err, ErrNotWritable) {
			t.Errorf("%s: %v, want ErrNotWritable", name, err)
		}
	}
}

func TestClosedStore(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, testConfig(vfs.NewMem()))
	mustPut(t, s, recordIn(s, 0, "x"))
	reading := make(chan error, 1)
	go func() {
		_, err := s.stream.Source().Read(context.Background(), s.stream.shards[0].id, "1", 1)
		reading <- err
	}()
	mustClose(t, s)
	if err := <-reading; err != nil && !errors.Is(err, ErrClosed) {
		t.Errorf("a waiting reader got %v", err)
	}
	ctx := t.Context()
	_, errRead := s.stream.Source().Read(ctx, s.stream.shards[0].id, "", 1)
	_, errTrim := s.stream.Trim(ctx, nil)
	_, errGet := s.index.Get(ctx, "x")
	_, _, errClaim := s.claims.Claim(ctx, "k", ingest.Claim{})
	_, errList := s.deadLetters.List(ctx, "index", "", schemas.Position{}, 1)
	_, errSwap := s.pointer.Swap(ctx, "", "x")
	_, errLeases := s.leases.List(ctx, "index")
	_, errExpire := s.ExpireClaims(ctx)
	for name, err := range map[string]error{
		"Close":       s.Close(),
		"Put":         s.stream.Put(ctx, []ingest.Record{recordIn(s, 0, "x")})[0],
		"Read":        errRead,
		"Trim":        errTrim,
		"Index.Get":   errGet,
		"Index.Apply": s.index.Apply(ctx, "s", nil, consumer.Checkpoint{Position: schemas.Position{Sequence: "1"}}),
		"Claim":       errClaim, "Finish": s.claims.Finish(ctx, "k"), "ExpireClaims": errExpire,
		"DeadLetters": errList, "Pointer": errSwap, "Leases": errLeases,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s on a closed store: %v, want ErrClosed", name, err)
		}
	}
}

// Large values are written to blob files, which compactions leave alone.
func TestLargeValuesAreSeparated(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	s := openTest(t, testConfig(mem))
	large := string(make([]byte, 100<<10))
	mustPut(t, s, recordIn(s, 0, large), recordIn(s, 0, "small"), recordIn(s, 0, large))
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	names, err := mem.List(stateDir(mem, testDir))
	if err != nil || !slices.ContainsFunc(names, func(n string) bool { return filepath.Ext(n) == ".blob" }) {
		t.Errorf("no blob file among %q, %v", names, err)
	}
	if got := readAll(t, s, 0); len(got) != 3 || string(got[2].Data) != large || string(got[1].Data) != "small" {
		t.Errorf("%d records came back", len(got))
	}
}
