package local

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock/consumer/query"
	"penstock/schemas"
)

// refusals are statements with a part of the message that they get.
var refusals = map[string]string{
	"":                              "there is no statement",
	" -- nothing\n;":                "there is no statement",
	"SELECT 1; SELECT 2":            "there are 2 statements",
	"SELECT 1; DROP VIEW events":    "SELECT",
	"INSERT INTO events VALUES (1)": "INSERT statement is not allowed",
	"WITH a AS (SELECT 1) INSERT INTO events SELECT * FROM a": "INSERT statement is not allowed",
	"UPDATE events SET id = ''":                               "UPDATE statement is not allowed",
	"DELETE FROM events":                                      "DELETE statement is not allowed",
	"TRUNCATE events":                                         "TRUNCATE statement is not allowed",
	"CREATE TABLE t AS SELECT 1":                              "CREATE statement is not allowed",
	"CREATE MACRO f() AS 1":                                   "CREATE statement is not allowed",
	"ALTER VIEW events RENAME TO e":                           "ALTER statement is not allowed",
	"DROP VIEW events":                                        "DROP statement is not allowed",
	"COPY (SELECT 1) TO '/tmp/x'":                             "COPY statement is not allowed",
	"EXPORT DATABASE '/tmp/x'":                                "EXPORT statement is not allowed",
	"ATTACH '/tmp/x.db'":                                      "ATTACH statement is not allowed",
	"INSTALL httpfs":                                          "INSTALL statement is not allowed",
	"LOAD httpfs":                                             "LOAD statement is not allowed",
	"SET threads = 1":                                         "SET statement is not allowed",
	"RESET threads":                                           "RESET statement is not allowed",
	"PRAGMA database_list":                                    "PRAGMA statement is not allowed",
	"CALL pragma_version()":                                   "CALL statement is not allowed",
	"USE memory":                                              "USE statement is not allowed",
	"BEGIN":                                                   "BEGIN statement is not allowed",
	"VACUUM":                                                  "VACUUM statement is not allowed",
	"PREPARE p AS SELECT 1":                                   "PREPARE statement is not allowed",
	"EXPLAIN DELETE FROM events":                              "DELETE statement is not allowed",
	"EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/x'":             "COPY statement is not allowed",
	"EXPLAIN --\rANALYZE COPY (SELECT $q$\nSELECT 1 AS \"x$q$) TO '/tmp/x' --\"":      "COPY statement is not allowed",
	"EXPLAIN ANALYZE --\rCOPY (SELECT $q$\nSELECT 1 AS \"x$q$) TO '/tmp/x' --\"":      "COPY statement is not allowed",
	"EXPLAIN ANALYZE COPY (SELECT $a1$\nSELECT 1 AS \"x$a1$) TO '/tmp/x' --\"":        "COPY statement is not allowed",
	"EXPLAIN (ANALYZE /*\r*/) COPY (SELECT 1) TO '/tmp/x'":                            "COPY statement is not allowed",
	"EXPLAIN (FORMAT 'json') SELECT 1":                                                "line 1, column 17: not an option of EXPLAIN",
	"EXPLAIN (FORMAT \"json\") SELECT 1":                                              "line 1, column 17: not an option of EXPLAIN",
	"EXPLAIN (ANALYZE, FORMAT $$json$$) SELECT 1":                                     "line 1, column 26: not an option of EXPLAIN",
	"EXPLAIN (TYPE LOGICAL) SELECT 1":                                                 "line 1, column 10: not an option of EXPLAIN",
	"EXPLAIN EXPLAIN SELECT 1":                                                        "statement is not allowed",
	"SELECT * FROM read_parquet('/tmp/x')":                                            "table function read_parquet is not allowed",
	"SELECT * FROM read_text('/etc/passwd')":                                          "line 1, column 15: table function read_text is not allowed",
	"EXPLAIN SELECT * FROM read_csv('/etc/passwd')":                                   "line 1, column 23: table function read_csv is not allowed",
	"SELECT * FROM events WHERE id IN (SELECT content FROM read_blob('/etc/passwd'))": "table function read_blob",
	"WITH a AS (SELECT * FROM glob('/*')) SELECT * FROM a":                            "table function glob is not allowed",
	"SELECT * FROM system.main.read_text('/etc/passwd')":                              "table function read_text is not allowed",
	"SELECT * FROM \"read_text\"('/etc/passwd')":                                      "table function read_text is not allowed",
	"SELECT * FROM query('SELECT 1')":                                                 "table function query is not allowed",
	"SELECT * FROM query_table('events')":                                             "table function query_table is not allowed",
	"SELECT * FROM duckdb_secrets()":                                                  "table function duckdb_secrets is not allowed",
	"SELECT * FROM duckdb_views()":                                                    "table function duckdb_views is not allowed",
	"SELECT * FROM duckdb_views":                                                      "table duckdb_views does not exist",
	"SELECT * FROM sqlite_master":                                                     "table sqlite_master does not exist",
	"SELECT * FROM pg_catalog.pg_views":                                               "table pg_catalog.pg_views does not exist",
	"SELECT * FROM information_schema.views":                                          "table information_schema.views does not exist",
	"SELECT * FROM '/etc/passwd'":                                                     "line 1, column 15: table /etc/passwd does not exist",
	"SELECT * FROM \"/tmp/x.parquet\"":                                                "table /tmp/x.parquet does not exist",
	"FROM '/etc/passwd'":                                                              "table /etc/passwd does not exist",
	"DESCRIBE '/etc/passwd'":                                                          "table /etc/passwd does not exist",
	"SUMMARIZE other":                                                                 "table other does not exist",
	"SELECT * FROM \"events$files\"":                                                  "the metadata table events$files is not supported",
	"SELECT getenv('HOME')":                                                           "function getenv is not supported",
	"SELECT current_setting('temp_directory')":                                        "function current_setting is not supported",
	"SELECT system.main.repeat('x', 1)":                                               "line 1, column 8: function repeat must be called by its name alone",
	"SELECT \"system\".repeat('x', 1)":                                                "line 1, column 8: function repeat must be called by its name alone",
	"SELECT memory.main.md5('x')":                                                     "function md5 must be called by its name alone",
	"SELECT system.main.getenv('HOME')":                                               "function getenv must be called by its name alone",
	"SELECT sum(1) FROM events QUALIFY system.main.row_number() OVER () = 1":          "function row_number must be called by its name alone",
	"SELECT id.upper() FROM events":                                                   "function upper must be called by its name alone",
	"SELECT levenshtein(id, type) FROM events":                                        "function levenshtein is not supported; use levenshtein_distance",
	"SELECT id.damerau_levenshtein('x') FROM events":                                  "function damerau_levenshtein",
	"SELECT json_serialize_plan('SELECT 1')":                                          "function json_serialize_plan is not supported",
	"SELECT nope FROM events":                                                         "line 1, column 8: Referenced column \"nope\" not found",
	"SELECT no_such_function(1)":                                                      "line 1, column 8: Scalar Function with name no_such_function does not exist",
	"SELECT *\nFROM events\nWHERE  sise > 1":                                          "line 3, column 8: Referenced column \"sise\" not found",
	"SELECT *\nFROM evnts":                                                            "line 2, column 6: table evnts does not exist: the only tables are events and penstock.events",
	"SELECT FROM WHERE":                                                               "line 1, column 13: syntax error",
	"SELECT 'é', IF(true, 1), nope FROM events":                                       "line 1, column 26: Referenced column \"nope\"", // edits shift nothing
	"SELECT * FROM events FOR TIMESTAMP AS OF current_timestamp":                      "FOR TIMESTAMP AS OF (time travel) is not supported",
	"SELECT CAST(x AS ARRAY<JSON>) FROM events":                                       "ARRAY<type> is not supported; write ARRAY(type)",
	"SHOW COLUMNS FROM events":                                                        "SHOW COLUMNS is not supported; use DESCRIBE events",
	"SELECT * FROM (PIVOT events ON type IN ('a') USING count(*) GROUP BY id)":        "PIVOT and UNPIVOT are not supported",
	"SELECT * FROM events UNPIVOT (x FOR n IN (id, type))":                            "PIVOT and UNPIVOT are not supported",
	"SELECT 1 IN (0" + strings.Repeat(",1", 100_000) + ")":                            "takes too much memory before it runs",
	"SELECT \x00":   "NUL character",
	"SELECT '\xff'": "not valid UTF-8",
	"SELECT '" + strings.Repeat("x", schemas.MaxSQL) + "'": "the limit is 262144",
	"SELECT " + strings.Repeat("(", 100_000):               "memory exhausted",
	"SELECT " + strings.Repeat("1+", 100_000) + "1":        "depth",
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	for sql, part := range refusals {
		err := engine.Check(t.Context(), sql, nil)
		if !errors.Is(err, query.ErrStatement) || !strings.Contains(err.Error(), part) {
			t.Errorf("%.100s\ngot  %v\nwant …%s…", sql, err, part)
		}
		if _, runErr := runSQL(t, engine, sql); runErr == nil || err != nil && runErr.Error() != err.Error() {
			t.Errorf("%.100s\nCheck: %v\nRun:   %v", sql, err, runErr)
		}
	}
}

// What DuckDB is given is what was checked, wherever our lexer and DuckDB's own could see a comment end.
func TestExplainRunsNothingUnchecked(t *testing.T) {
	t.Parallel()
	s, err := newStatement("EXPLAIN /* a\r*/ Analyze --\r(FORMAT\f json) -- é\n SELECT 1 -- c", nil, func(sql string) ([]byte, error) {
		if sql != "SELECT 1 -- c" {
			t.Errorf("checked %q", sql)
		}
		return []byte(`{"statements":[{}]}`), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "explain         analyze    (format  json)        SELECT 1 -- c"; s.text != want {
		t.Errorf("runs %q", s.text)
	}
}

// An allowed path may be written to as well, so a run asks DuckDB what the statement is: the second fence around the
// lake's live files.
func TestRunRefusesWhatWrites(t *testing.T) {
	t.Parallel()
	files := testLake(t)
	before, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	write := "COPY (SELECT 1) TO '" + files[0] + "' (USE_TMP_FILE false)"
	for _, explain := range []string{"", "EXPLAIN ", "EXPLAIN ANALYZE ", "EXPLAIN (ANALYZE, FORMAT json) "} {
		job := workerJob{Prepare: sessionScript("", files, 1<<20), SQL: translate(explain + write).text, Start: len(explain)}
		_, _, err := job.run(openDatabase(t), io.Discard)
		wantError(t, err, query.ErrStatement, "only statements that read are allowed")
	}
	if after, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(after, before) {
		t.Errorf("a live file was changed: %v", err)
	}
}

// What Check accepts, Run runs.
func TestAccepted(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t, testLake(t)...)
	for _, sql := range []string{
		"SELECT 1;", "select 1 -- ; drop", "/* a /* b */ */ SELECT ';'", "VALUES (1)", "FROM events LIMIT 1", "TABLE events LIMIT 1",
		"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r",
		"WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM A) SELECT * FROM B",
		"EXPLAIN SELECT * FROM events", "EXPLAIN ANALYZE SELECT count(*) FROM events", "EXPLAIN (FORMAT json) SELECT 1",
		"DESCRIBE events", "DESCRIBE SELECT id FROM events", "SHOW TABLES", "SUMMARIZE SELECT size FROM events",
		"SELECT * FROM information_schema.columns WHERE table_name = 'events'", "SELECT table_name FROM information_schema.tables",
		"SELECT * FROM events TABLESAMPLE BERNOULLI (10)", "SELECT id FROM events OFFSET 1 ROWS FETCH FIRST 2 ROWS ONLY",
		"SELECT type, count(*) FROM events GROUP BY GROUPING SETS ((type), ())", "SELECT * FROM json_each('{\"a\":1}')",
		"SELECT * FROM events AS a JOIN penstock.events AS b USING (id) LIMIT 1",
	} {
		if err := engine.Check(t.Context(), sql, nil); err != nil {
			t.Errorf("Check %s: %v", sql, err)
		}
		if _, err := runSQL(t, engine, sql); err != nil {
			t.Errorf("Run %s: %v", sql, err)
		}
	}
}

// The second fence: a session refuses all of this even if the policy let it pass.
func TestSessionReachesNothingElse(t *testing.T) {
	t.Parallel()
	files := testLake(t)
	sibling := writeParquet(t, filepath.Join(filepath.Dir(files[0]), "not-live.parquet"), rowsOf(0, 1, `'{}'`))
	macros, err := parseMacros(macrosSQL)
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "target")
	c := openSession(t, macros.script("SELECT 1"), files)
	if err := c.exec("SELECT count(*) FROM events"); err != nil {
		t.Errorf("the live files are not readable: %v", err)
	}
	for _, sql := range []string{
		"SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_blob('/etc/passwd')", "SELECT * FROM read_csv('/etc/passwd')",
		"SELECT * FROM '/etc/passwd'", "SELECT * FROM glob('/etc/*')", "SELECT * FROM read_parquet('" + sibling + "')",
		"SELECT * FROM parquet_metadata('" + sibling + "')", "COPY (SELECT 1) TO '" + target + "'", "EXPORT DATABASE '" + target + "'",
		"ATTACH '" + target + "'", "INSTALL httpfs", "LOAD httpfs", "SELECT * FROM read_text('https://example.com/')",
		"SET enable_external_access = true", "SET allowed_paths = ['/etc/passwd']", "SET memory_limit = '1TB'", "SET threads = 64",
		"SET temp_directory = '/tmp'", "SET profiling_output = '" + target + "'", "RESET lock_configuration", "SET lock_configuration = false",
		"SET GLOBAL allowed_directories = ['/']", "CREATE PERSISTENT SECRET s (TYPE s3)",
	} {
		if err := c.exec(sql); err == nil {
			t.Errorf("DuckDB allowed %s", sql)
		}
	}
	if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}

// No text that a client gets may say where the data lies.
func TestNoPathsForClients(t *testing.T) {
	t.Parallel()
	files := testLake(t)
	engine := newTestEngine(t, files...)
	dir := filepath.Dir(files[0])
	for _, sql := range []string{
		"EXPLAIN SELECT * FROM events", "EXPLAIN ANALYZE SELECT * FROM events", "EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM events",
		"EXPLAIN (FORMAT json) SELECT * FROM events", "SHOW ALL TABLES", "SELECT * FROM information_schema.tables",
		"SELECT filename FROM events", "SELECT * FROM events WHERE nope", "SHOW DATABASES", "SELECT CAST(data AS bigint) FROM events",
		"SELECT file_row_number FROM events",
	} {
		var result bytes.Buffer
		_, err := engine.Run(t.Context(), sql, nil, &result)
		if strings.Contains(result.String(), dir) || err != nil && strings.Contains(err.Error(), dir) {
			t.Errorf("%s shows the path: %s %v", sql, result.String(), err)
		}
	}
	// A broken or missing file is the server's affair, so not an error of the statement's; the operator needs the path.
	for name, breaks := range map[string]func() error{
		"broken":  func() error { return os.WriteFile(files[0], []byte("not Parquet"), 0o600) },
		"missing": func() error { return os.Remove(files[0]) },
	} {
		if err := breaks(); err != nil {
			t.Fatal(err)
		}
		_, err := runSQL(t, engine, "SELECT count(data) FROM events")
		if err == nil || errors.Is(err, query.ErrStatement) || errors.Is(err, query.ErrLimit) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s file: %v", name, err)
		}
	}
}
