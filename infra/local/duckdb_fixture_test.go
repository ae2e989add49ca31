package local

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock/schemas"
)

// parquetFiles is a lake of fixed files.
type parquetFiles []string

func (f parquetFiles) Files(context.Context) ([]string, error) { return f, nil }

const testMemory = 128 << 20

func anyRoom() (int64, error) { return math.MaxInt64, nil }

// testWorker is this test binary as a worker (TestMain).
func testWorker() (*exec.Cmd, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asWorker+"=1")
	return cmd, nil
}

const asWorker = "PENSTOCK_TEST_AS_SQL_WORKER"

// newTestEngine makes an engine over the files.
func newTestEngine(t testing.TB, files ...string) *DuckDB {
	t.Helper()
	return newEngineWith(t, testMemory, files...)
}

// newEngineWith makes one whose runs have so many bytes of memory.
func newEngineWith(t testing.TB, memory int64, files ...string) *DuckDB {
	t.Helper()
	d, err := NewDuckDB(DuckDBConfig{
		TempDir: filepath.Join(t.TempDir(), "spill"), MaxTemp: 1 << 30, Room: anyRoom, MemoryLimit: memory, Threads: 2, Now: time.Now,
		Worker: testWorker,
	}, parquetFiles(files))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// openDatabase opens one that nothing has been done with.
func openDatabase(t *testing.T) *duckdbConn {
	t.Helper()
	c, err := openEmpty(workerLimits{testMemory, 1, filepath.Join(t.TempDir(), "spill")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// openSession opens one as a run has it.
func openSession(t *testing.T, macros string, files []string) *duckdbConn {
	t.Helper()
	c := openDatabase(t)
	if err := c.exec(sessionScript(macros, files, 1<<20)); err != nil {
		t.Fatal(err)
	}
	return c
}

// writeParquet writes rows, a SELECT with the columns that it has of the events table, as a Parquet file with the
// table's field ids, like the lake's writer does.
func writeParquet(t testing.TB, path, rows string, columns ...string) string {
	t.Helper()
	c, err := openDuckDB(map[string]string{"threads": "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var ids []string
	for _, column := range schemas.EventColumns {
		switch {
		case columns != nil && !slices.Contains(columns, column.Name):
		case column.Type == schemas.TypeStringMap:
			ids = append(ids, fmt.Sprintf("%s: {__duckdb_field_id: %d, key: 20, value: 21}", column.Name, column.FieldID))
		default:
			ids = append(ids, fmt.Sprintf("%s: %d", column.Name, column.FieldID))
		}
	}
	err = c.exec(fmt.Sprintf("SET TimeZone = 'UTC'; COPY (%s) TO '%s' (FORMAT parquet, COMPRESSION zstd, FIELD_IDS {%s})",
		rows, strings.ReplaceAll(path, "'", "''"), strings.Join(ids, ", ")))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// rowsOf is a SELECT that makes count events with ids from first on; data is an SQL expression over i.
func rowsOf(first, count int, data string) string {
	return fmt.Sprintf(`SELECT 'id-' || i AS id, TIMESTAMPTZ '2024-05-06 07:08:09.123456+00' + to_seconds(i) AS received_at,
		received_at AS event_time, received_at AS landed_at, CASE i %% 2 WHEN 0 THEN 'order' ELSE 'click' END AS type,
		'penstock' AS source, NULL::VARCHAR AS subject, NULL::VARCHAR AS partition_key, NULL::VARCHAR AS origin_id,
		'application/json' AS content_type, NULL::VARCHAR AS data_schema, NULL::VARCHAR AS tenant, length(json) AS size,
		sha256(json) AS sha256, json AS data, NULL::VARCHAR AS data_ref,
		MAP {'region': 'eu'} AS extensions, 'shard-0' AS shard, i || '/0' AS sequence
		FROM (SELECT i, %s AS json FROM range(%d, %d) t(i))`, data, first, first+count)
}
