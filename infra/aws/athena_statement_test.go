package aws

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"penstock/consumer/query"
	"penstock/schemas"
)

// Statements that read are sent, without what Athena's parsers might read otherwise than we do, and at the same places.
func TestReadOnlyStatements(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SELECT 1":                           "SELECT 1",
		" select 1 ; ":                       " select 1 ; ",
		"-- é\nSELECT 1 -- ;DROP":            "    \nSELECT 1         ",
		"/* a\n*/ SELECT 1 /* DROP x */;":    "    \n   SELECT 1             ;",
		"((SELECT 1) UNION (SELECT 2))":      "((SELECT 1) UNION (SELECT 2))",
		"VALUES (1, 'a;b')":                  "VALUES (1, 'a;b')",
		"SHOW TABLES":                        "SHOW TABLES",
		"describe events":                    "describe events",
		"EXPLAIN SELECT 1":                   "EXPLAIN SELECT 1",
		"EXPLAIN ANALYZE VERBOSE (SELECT 1)": "EXPLAIN ANALYZE VERBOSE (SELECT 1)",
		"EXPLAIN (TYPE IO, FORMAT JSON) WITH a AS (SELECT 1) TABLE a": "", // TABLE is none of the allowed words
		"EXPLAIN (FORMAT JSON) SELECT 1":                              "EXPLAIN (FORMAT JSON) SELECT 1",
		"WITH a AS (SELECT 1), b(x) AS (SELECT 2) SELECT * FROM a, b": "WITH a AS (SELECT 1), b(x) AS (SELECT 2) SELECT * FROM a, b",
		"WITH RECURSIVE t(n) AS (VALUES 1) (SELECT n FROM t)":         "WITH RECURSIVE t(n) AS (VALUES 1) (SELECT n FROM t)",
		`WITH "insert" AS (SELECT 1) SELECT "delete", 'drop' FROM x`:  `WITH "insert" AS (SELECT 1) SELECT "delete", 'drop' FROM x`,
		`SELECT 1 AS "price in $", 'for version as of' FROM "events"`: `SELECT 1 AS "price in $", 'for version as of' FROM "events"`,
		`SELECT '\'`:                     `SELECT '\'`,
		"SELECT $$ ; $$":                 "", // no string to Athena, so two statements
		`SELECT E'\'; DROP TABLE x; --'`: "",
	} {
		got, err := readOnly(sql)
		if want == "" {
			if !errors.Is(err, query.ErrStatement) {
				t.Errorf("%s: %q, %v, want ErrStatement", sql, got, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%s:\ngot  %q, %v\nwant %q", sql, got, err, want)
		}
	}
}

// Everything else is refused, however it is dressed.
func TestStatementsThatDoMore(t *testing.T) {
	t.Parallel()
	for sql, part := range map[string]string{
		"":                       "there is no statement",
		" -- SELECT 1":           "there is no statement",
		";;":                     "there is no statement",
		"SELECT 1; SELECT 2":     "there are 2 statements",
		"SELECT 1;; DROP x;":     "there are 2 statements",
		"DROP TABLE events":      "DROP statement is not allowed",
		"INSERT INTO x VALUES 1": "INSERT statement",
		"UNLOAD (SELECT 1) TO 's3://b/' WITH (format = 'JSON')": "UNLOAD statement",
		"CREATE TABLE x AS SELECT 1":                            "CREATE statement",
		"MSCK REPAIR TABLE x":                                   "MSCK statement",
		"PREPARE p FROM SELECT 1":                               "PREPARE statement",
		"EXECUTE p":                                             "EXECUTE statement",
		"USING EXTERNAL FUNCTION f(x int) RETURNS int LAMBDA 'l' SELECT f(1)": "USING statement",
		"EXPLAIN ANALYZE INSERT INTO x SELECT 1":                              "INSERT statement",
		"EXPLAIN DROP TABLE x":                                                "DROP statement",
		"EXPLAIN":                                                             "ends too early",
		"EXPLAIN (FORMAT JSON":                                                "ends too early",
		"EXPLAIN EXPLAIN DROP TABLE x":                                        "EXPLAIN statement",
		strings.Repeat("with a(", 30_000):                                     "ends too early", // at once: nothing is looked at twice
		strings.Repeat("with a as (", 20_000):                                 "ends too early",
		"WITH a AS (SELECT 1) INSERT INTO x SELECT 1":                         "INSERT statement",
		"WITH a AS (SELECT 1), b AS (SELECT 1) DELETE FROM x":                 "DELETE statement",
		"WITH a (b) AS (SELECT 1) (MERGE INTO x)":                             "MERGE statement",
		"WITH a AS (SELECT 1) WITH b AS (SELECT 1) INSERT INTO x SELECT 1":    "INSERT statement",
		"WITH a AS (SELECT 1) (WITH b AS (SELECT 1) DROP TABLE x)":            "DROP statement",
		"WITH":   "ends too early",
		"WITH a": "A statement",
		"WITH FUNCTION f() RETURNS int RETURN 1 SELECT f()": "statement is not allowed",
		"(DROP TABLE x)": "DROP statement",
		"\"SELECT\" 1":   "statement is not allowed",
		"'SELECT' 1":     "statement is not allowed",
		"/* /* */ DROP TABLE x -- */ */ SELECT 1":                             "DROP statement",
		"/*/ SELECT 1 /*/ DROP TABLE x":                                       "DROP statement",
		"--\rDROP TABLE x\n SELECT 1":                                         "DROP statement",
		"\u00a0SELECT 1":                                                      "statement is not allowed",
		"SELECT * FROM TABLE(system.query(query => 'DROP TABLE x'))":          "table functions",
		"SELECT * FROM table /* */ (system.query(''))":                        "table functions",
		"SELECT data FROM events FOR VERSION AS OF 1":                         "filter on received_at",
		"SELECT data FROM events for /* */ timestamp As Of current_timestamp": "filter on received_at",
		"SELECT data FROM events FOR SYSTEM_VERSION AS OF 1":                  "filter on received_at",
		`SELECT * FROM "events$files"`:                                        "metadata tables",
		`SELECT * FROM penstock."Events$Snapshots"`:                           "metadata tables",
		`SELECT "$path" FROM events`:                                          "hidden columns",
		"SELECT \x00":                                                         "NUL",
		"SELECT '\xff'":                                                       "UTF-8",
		"SELECT '" + strings.Repeat("x", schemas.MaxSQL) + "'":                "the limit is 262144",
	} {
		if got, err := readOnly(sql); !errors.Is(err, query.ErrStatement) || !strings.Contains(err.Error(), part) {
			t.Errorf("%.100q: %.100q, %v, want ErrStatement: …%s…", sql, got, err, part)
		}
	}
}

// A parameter can't be anything but one text.
func TestLiterals(t *testing.T) {
	t.Parallel()
	got, err := literals([]string{"", "a", "it's", "'; DROP TABLE x; --", `\'`, "line\ntwo", strings.Repeat("é", maxParameter-2)})
	want := []string{"''", "'a'", "'it''s'", "'''; DROP TABLE x; --'", `'\'''`, "'line\ntwo'", "'" + strings.Repeat("é", maxParameter-2) + "'"}
	if err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{"\xff", "a\x00", strings.Repeat("'", maxParameter/2), strings.Repeat("é", maxParameter-1)} {
		if got, err := literals([]string{"", bad}); !errors.Is(err, query.ErrStatement) || !strings.Contains(err.Error(), "parameter 2") {
			t.Errorf("%.20q: %.100q, %v", bad, got, err)
		}
	}
	if got, err := literals(nil); got != nil || err != nil {
		t.Errorf("no parameters: %q, %v", got, err)
	}
}

func FuzzReadOnly(f *testing.F) {
	for _, sql := range []string{"SELECT 1", "WITH a AS (SELECT 1) SELECT 2", "EXPLAIN (FORMAT JSON) SELECT 1 /* x */ -- y", "WITH a (", "(((", "EXPLAIN ("} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		plain, err := readOnly(sql)
		if err != nil {
			return
		}
		if again, err := readOnly(plain); err != nil || again != plain {
			t.Errorf("%q is sent as %q, which is %q, %v", sql, plain, again, err)
		}
		if got, want := tokenTexts(plain), tokenTexts(sql); !slices.Equal(got, want) {
			t.Errorf("%q is sent as %q: tokens %q, want %q", sql, plain, got, want)
		}
	})
}

func tokenTexts(sql string) (texts []string) {
	for _, t := range athenaDialect.Tokens(sql) {
		texts = append(texts, sql[t.Start:t.End])
	}
	return texts
}
