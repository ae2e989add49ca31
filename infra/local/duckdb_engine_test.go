package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/consumer/query"
)

// testLake writes 2,000 events into two files, one of them with a path that looks like a pattern, and a third file of an
// older schema with two columns only.
func testLake(t testing.TB) []string {
	t.Helper()
	dir := t.TempDir()
	odd := filepath.Join(dir, "received_at_day=2024-05-06", "it's [o]dd*")
	if err := os.MkdirAll(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{
		writeParquet(t, filepath.Join(dir, "a.parquet"), rowsOf(0, 1000, `'{"n":' || i || ',"user":{"login":"u' || i % 10 || '"}}'`)),
		writeParquet(t, filepath.Join(odd, "b?.parquet"), rowsOf(1000, 1000, `'{"n":' || i || '}'`)),
		writeParquet(t, filepath.Join(dir, "old.parquet"),
			"SELECT 'old' AS id, TIMESTAMPTZ '2023-01-01 00:00:00+00' AS received_at", "id", "received_at"),
	}
}

func wantCSV(t *testing.T, engine *DuckDB, sql, want string, parameters ...string) {
	t.Helper()
	if got, err := runSQL(t, engine, sql, parameters...); err != nil || got != want {
		t.Errorf("%s\ngot  %s %v\nwant %s", sql, got, err, want)
	}
}

func wantError(t *testing.T, err, sentinel error, part string) {
	t.Helper()
	if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), part) {
		t.Errorf("got  %v\nwant %v: …%s…", err, sentinel, part)
	}
}

func TestReadsLake(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t, testLake(t)...)
	wantCSV(t, engine, "SELECT count(*), count(DISTINCT id), count(data) FROM events", "\"_col0\",\"_col1\",\"_col2\"\n\"2001\",\"2001\",\"2000\"\n")
	wantCSV(t, engine, "SELECT * FROM penstock.events WHERE id IN ('id-7', 'old') ORDER BY id",
		`"id","received_at","event_time","landed_at","type","source","subject","partition_key","origin_id","content_type","data_schema","tenant","size","sha256","data","data_ref","extensions","shard","sequence"
"id-7","2024-05-06 07:08:16.123456 UTC","2024-05-06 07:08:16.123456 UTC","2024-05-06 07:08:16.123456 UTC","click","penstock",,,,"application/json",,,"29","d93a5d317acfd674da053cde8f9809a3eb3eb9da8d165c88027b0d4618ce833d","{""n"":7,""user"":{""login"":""u7""}}",,"{region=eu}","shard-0","7/0"
"old","2023-01-01 00:00:00.000000 UTC",,,,,,,,,,,,,,,,,
`)
	wantCSV(t, engine, `SELECT json_extract_scalar(data, '$.user.login') AS login, count(*) AS n FROM events
		WHERE json_extract_scalar(data, '$.user.login') IS NOT NULL GROUP BY 1 ORDER BY 1 LIMIT 2`, "\"login\",\"n\"\n\"u0\",\"100\"\n\"u1\",\"100\"\n")
}

func TestEmptyLake(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	wantCSV(t, engine, "SELECT count(*) AS n, max(received_at) AS at, sum(size) AS s FROM events WHERE extensions['k'] = 'v'",
		"\"n\",\"at\",\"s\"\n\"0\",,\n")
	full := newTestEngine(t, testLake(t)...)
	empty, err := runSQL(t, engine, "DESCRIBE events")
	if err != nil {
		t.Fatal(err)
	}
	wantCSV(t, full, "DESCRIBE events", empty)
	if !strings.Contains(empty, "\"received_at\",\"TIMESTAMP WITH TIME ZONE\"") || !strings.Contains(empty, "\"extensions\",\"MAP(VARCHAR, VARCHAR)\"") {
		t.Errorf("columns: %s", empty)
	}
}

// changingLake gives other files at every call, or an error.
type changingLake struct {
	mu    sync.Mutex
	files []string
	err   error
}

func (l *changingLake) Files(context.Context) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.files, l.err
}

func (l *changingLake) set(files []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files, l.err = files, err
}

func TestEachRunReadsTheCurrentSnapshot(t *testing.T) {
	t.Parallel()
	lake := &changingLake{}
	engine := newTestEngine(t)
	engine.table = lake
	wantCSV(t, engine, "SELECT count(*) AS n FROM events", "\"n\"\n\"0\"\n")
	lake.set(testLake(t), nil)
	wantCSV(t, engine, "SELECT count(*) AS n FROM events", "\"n\"\n\"2001\"\n")
	broken := errors.New("catalog is away")
	lake.set(nil, broken)
	if _, err := runSQL(t, engine, "SELECT 1"); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t, testLake(t)...)
	statistics, err := engine.Run(t.Context(), "SELECT id FROM events", nil, io.Discard)
	if err != nil || statistics.Rows != 2001 || statistics.ScannedBytes <= 0 || statistics.Elapsed <= 0 {
		t.Errorf("%+v, %v", statistics, err)
	}
	statistics, err = engine.Run(t.Context(), "SELECT 1", nil, io.Discard)
	if err != nil || statistics.Rows != 1 || statistics.ScannedBytes != 0 {
		t.Errorf("%+v, %v", statistics, err)
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t, testLake(t)...)
	const byType = "SELECT count(*) AS n FROM events WHERE size > ? AND type = ? AND received_at < ?"
	wantCSV(t, engine, byType, "\"n\"\n\"500\"\n", "20", "order", "2030-01-01")
	wantCSV(t, engine, "SELECT ? AS a, CAST(? AS bigint) + 1 AS b", "\"a\",\"b\"\n\"it's \"\"x\"\"; --\",\"42\"\n", `it's "x"; --`, "41")
	for _, run := range []func(sql string, parameters []string) error{
		func(sql string, parameters []string) error { return engine.Check(t.Context(), sql, parameters) },
		func(sql string, parameters []string) error {
			_, err := runSQL(t, engine, sql, parameters...)
			return err
		},
	} {
		wantError(t, run(byType, []string{"1"}), query.ErrStatement, "the statement has 3 parameter(s), 1 given")
		wantError(t, run("SELECT 1", []string{"1"}), query.ErrStatement, "the statement has 0 parameter(s), 1 given")
	}
	_, err := runSQL(t, engine, byType, "many", "order", "2030-01-01")
	wantError(t, err, query.ErrStatement, "many")
}

func TestHeadings(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	for sql, want := range map[string]string{
		"SELECT 1, 2 AS b, count(*) FROM events":                              `"_col0","b","_col2"`,
		"SELECT id, upper(id), e.type FROM events AS e":                       `"id","_col1","type"`,
		"SELECT 1, t.*, 2, x, 3 FROM (VALUES (1, 2)) AS t(x, y)":              `"_col0","x","y","_col3","x","_col5"`,
		"SELECT (SELECT count(*) FROM events), EXISTS (SELECT * FROM events)": `"_col0","_col1"`,
		"SELECT 1 UNION ALL SELECT 2":                                         `"_col0"`,
		"WITH a AS (SELECT 1 AS x) SELECT x, x + 1 FROM a":                    `"x","_col1"`,
		"VALUES (1, 2)":               `"_col0","_col1"`,
		"SELECT 1 AS \"a \"\"b\"\"\"": `"a ""b"""`,
		"SHOW TABLES":                 `"name"`,
		"EXPLAIN SELECT 1":            `"explain_key","explain_value"`,
	} {
		got, err := runSQL(t, engine, sql)
		if header, _, _ := strings.Cut(got, "\n"); err != nil || header != want {
			t.Errorf("%s\ngot  %s %v\nwant %s", sql, header, err, want)
		}
	}
}

// A query that would run for ages ends soon after its context.
func TestCancel(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	for name, sql := range map[string]string{
		"computing": "SELECT count(*) FROM range(1000000) AS a(x), range(1000000) AS b(y) WHERE (x * y) % 7 = 3",
		"streaming": "SELECT x FROM range(1000000000000) AS a(x)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stop := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			timer := time.AfterFunc(100*time.Millisecond, func() { cancel(stop) })
			defer timer.Stop()
			start := time.Now()
			_, err := engine.Run(ctx, sql, nil, io.Discard)
			if !errors.Is(err, stop) {
				t.Errorf("got %v", err)
			}
			if elapsed := time.Since(start); elapsed > 10*time.Second {
				t.Errorf("it took %v", elapsed)
			}
			if err := engine.Check(ctx, "SELECT 1", nil); !errors.Is(err, stop) && !errors.Is(err, context.Canceled) {
				t.Errorf("Check: %v", err)
			}
		})
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// The result is written while it is computed: otherwise this query would never get to its first row.
func TestStreamsAndReturnsTheWritersError(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	full := errors.New("disk full")
	if _, err := engine.Run(t.Context(), "SELECT x FROM range(1000000000000) AS a(x)", nil, failingWriter{full}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if _, err := engine.Run(t.Context(), "SELECT 1", nil, failingWriter{full}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	t.Run("row", func(t *testing.T) {
		t.Parallel()
		roomy := newEngineWith(t, 1<<30)
		_, err := runSQL(t, roomy, "SELECT string_agg(rpad(CAST(x AS varchar), 10000, 'y'), '') FROM range(4000) AS t(x)")
		wantError(t, err, query.ErrLimit, "a row of the result is larger than 33554432 bytes")
	})
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		_, err := runSQL(t, engine, "SELECT cardinality(array_agg(rpad(CAST(x AS varchar), 1000, 'x'))) FROM range(1000000) AS t(x)")
		wantError(t, err, query.ErrLimit, "128 and 1024 MiB")
		if strings.Contains(err.Error(), engine.cfg.TempDir) || strings.Contains(err.Error(), "SET ") {
			t.Errorf("message not for clients: %v", err)
		}
	})
}

// groupsMuch gathers about 200 MB in groups.
const groupsMuch = "SELECT count(*) AS n, max(l) AS l FROM (SELECT m, count(*) AS l FROM " +
	"(SELECT rpad(CAST(x AS varchar), 300, 'x') AS m FROM range(600000) AS t(x)) GROUP BY m)"

func TestSpills(t *testing.T) {
	t.Parallel()
	engine := newEngineWith(t, minMemory)
	wantCSV(t, engine, groupsMuch, "\"n\",\"l\"\n\"600000\",\"1\"\n")
	if left, err := os.ReadDir(engine.cfg.TempDir); err != nil || len(left) != 0 {
		t.Errorf("spilled data stays: %v, %v", left, err)
	}
	engine.cfg.MaxTemp = 1 << 20
	_, err := runSQL(t, engine, groupsMuch)
	wantError(t, err, query.ErrLimit, "64 and 1 MiB")
	engine.cfg.MaxTemp = 1 << 30
	engine.cfg.Room = func() (int64, error) { return 2 << 20, nil }
	_, err = runSQL(t, engine, groupsMuch)
	wantError(t, err, query.ErrLimit, "64 and 2 MiB")
	unreadable := errors.New("no such disk")
	engine.cfg.Room = func() (int64, error) { return 0, unreadable }
	if _, err = runSQL(t, engine, "SELECT 1"); !errors.Is(err, unreadable) {
		t.Errorf("got %v", err)
	}
}

func TestRunsAreIsolated(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t, testLake(t)...)
	var runs sync.WaitGroup
	for i := range 8 {
		runs.Go(func() {
			for j := range 3 {
				sql := fmt.Sprintf("SELECT count(*) AS n FROM events WHERE json_extract_scalar(data, '$.n') = '%d'", i*3+j)
				if got, err := runSQL(t, engine, sql); err != nil || got != "\"n\"\n\"1\"\n" {
					t.Errorf("%s: %s %v", sql, got, err)
				}
			}
		})
	}
	runs.Wait()
}

func TestDuckDBConfig(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*DuckDBConfig){
		"MemoryLimit": func(c *DuckDBConfig) { c.MemoryLimit = 1 << 20 },
		"MaxTemp":     func(c *DuckDBConfig) { c.MaxTemp = -1 },
		"Threads":     func(c *DuckDBConfig) { c.Threads = 0 },
		"TempDir":     func(c *DuckDBConfig) { c.TempDir = "" },
		"Room":        func(c *DuckDBConfig) { c.Room = nil },
		"Now":         func(c *DuckDBConfig) { c.Now = nil },
		"Worker":      func(c *DuckDBConfig) { c.Worker = nil },
	} {
		cfg := DuckDBConfig{TempDir: t.TempDir(), MaxTemp: 0, Room: anyRoom, MemoryLimit: testMemory, Threads: 1, Now: time.Now, Worker: testWorker}
		change(&cfg)
		if d, err := NewDuckDB(cfg, parquetFiles(nil)); err == nil {
			d.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

// BenchmarkSmallQuery measures what a run costs besides its query: a database of its own, macros, the view.
func BenchmarkSmallQuery(b *testing.B) {
	engine := newTestEngine(b, testLake(b)...)
	for b.Loop() {
		if _, err := engine.Run(b.Context(), "SELECT count(json_extract_scalar(data, '$.n')) FROM events", nil, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
