package querytest

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func testEngineCSV(t *testing.T, env EngineEnv) {
	for sql, want := range map[string]string{
		`SELECT * FROM (VALUES (1, 'a "b", c'), (2, NULL), (3, ''), (4, 'ä€😀'), (5, ' x ')) AS t(n, s) ORDER BY n`: "\"n\",\"s\"\n\"1\",\"a \"\"b\"\", c\"\n\"2\",\n\"3\",\"\"\n\"4\",\"ä€😀\"\n\"5\",\" x \"\n",
		"SELECT 'line' || chr(10) || 'two' || chr(13) || chr(10) || chr(9) AS s":                                   "\"s\"\n\"line\ntwo\r\n\t\"\n",
		"SELECT 'line\ntwo' AS s":                                      "\"s\"\n\"line\ntwo\"\n",
		"SELECT 1 AS n WHERE 1 = 0":                                    "\"n\"\n",
		"SELECT id FROM events WHERE 1 = 0":                            "\"id\"\n",
		"SELECT CAST(NULL AS varchar) AS a, CAST(NULL AS bigint) AS b": "\"a\",\"b\"\n,\n",
		"SELECT TIMESTAMP '2024-05-06 07:08:09.123456 UTC' AS at":      "\"at\"\n\"2024-05-06 07:08:09.123456 UTC\"\n",
		"SELECT true AS yes, DATE '2024-05-06' AS day, CAST(1.50 AS decimal(10, 2)) AS price, CAST(9007199254740993 AS bigint) AS big": "\"yes\",\"day\",\"price\",\"big\"\n\"true\",\"2024-05-06\",\"1.50\",\"9007199254740993\"\n",
		`SELECT 1 AS "a ""b"""`:                                         "\"a \"\"b\"\"\"\n\"1\"\n",
		"VALUES ('x', 2)":                                               "\"_col0\",\"_col1\"\n\"x\",\"2\"\n",
		"WITH a AS (SELECT 1 AS n) SELECT n FROM a":                     "\"n\"\n\"1\"\n",
		" -- a comment; of two\n/* SELECT 2; */ (SELECT 'a;b' AS s) ; ": "\"s\"\n\"a;b\"\n",
	} {
		if _, got := env.result(t, statement(sql)); got != want {
			t.Errorf("%s\ngot  %q\nwant %q", sql, got, want)
		}
	}
}

// testEngineText: whatever an engine makes of a plan or a description, it is CSV in the one dialect.
func testEngineText(t *testing.T, env EngineEnv) {
	for sql, part := range map[string]string{
		"DESCRIBE events": "received_at", "SHOW TABLES": "events", "EXPLAIN SELECT count(*) AS n FROM events": "", "EXPLAIN ANALYZE SELECT 1 AS n": "",
	} {
		e, got := env.result(t, statement(sql))
		if e.ResultBytes != int64(len(got)) {
			t.Errorf("%s: %d bytes, %d were told", sql, len(got), e.ResultBytes)
		}
		rows, err := parseCSV(got)
		if err != nil || len(rows) < 2 || len(rows[0]) == 0 || !strings.Contains(got, part) {
			t.Errorf("%s: %d rows, %v:\n%s", sql, len(rows), err, got)
		}
	}
}

// parseCSV reads CSV strictly as query.Engine's contract has it.
func parseCSV(text string) ([][]string, error) {
	if !strings.HasSuffix(text, "\n") {
		return nil, errors.New("no end of line at the end")
	}
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		return nil, err
	}
	var again strings.Builder
	for _, row := range rows {
		for i, value := range row {
			if i > 0 {
				again.WriteByte(',')
			}
			again.WriteString(`"` + strings.ReplaceAll(value, `"`, `""`) + `"`)
		}
		again.WriteByte('\n')
	}
	// encoding/csv knows no NULL, so empty values are held to be either.
	if strings.ReplaceAll(again.String(), `""`, "") != strings.ReplaceAll(text, `""`, "") {
		return nil, errors.New("values are not quoted, or quoted in another way")
	}
	return rows, nil
}

func testEngineParameters(t *testing.T, env EngineEnv) {
	const sql = "SELECT n FROM (VALUES ('it''s \"x\"; --', 1), ('\\', 2), ('', 3), ('line\ntwo', 4), ('ä?', 5), ('''', 6)) AS t(s, n) " +
		"WHERE s = ? AND n < CAST(? AS bigint)"
	for value, want := range map[string]string{
		`it's "x"; --`: "1", `\`: "2", "": "3", "line\ntwo": "4", "ä?": "5", "'": "6", "' OR 1=1 --": "", "NULL": "",
	} {
		if want != "" {
			want = fmt.Sprintf("%q\n", want)
		}
		if _, got := env.result(t, statement(sql, value, "100")); got != "\"n\"\n"+want {
			t.Errorf("with %q: %q, want %q", value, got, want)
		}
	}
	if _, got := env.result(t, statement(sql, "'", "6")); got != "\"n\"\n" {
		t.Errorf("a number as a parameter: %q", got)
	}
}

// testEngineLarge: a result that is larger than any buffer comes as a whole.
func testEngineLarge(t *testing.T, env EngineEnv) {
	e := env.await(t, env.start(t, statement("SELECT a * 100 + b AS n, rpad('', 100, 'x') AS x "+
		"FROM UNNEST(sequence(0, 1999)) AS s(a) CROSS JOIN UNNEST(sequence(0, 99)) AS t(b) ORDER BY 1")).ID, ended)
	r, size, err := env.Engine.Open(t.Context(), e.ID)
	if err != nil {
		t.Fatalf("%+v: %v", e, err)
	}
	lines := bufio.NewScanner(r)
	tail := ",\"" + strings.Repeat("x", 100) + "\""
	n, read := 0, int64(0)
	for lines.Scan() {
		read += int64(len(lines.Bytes())) + 1
		want := fmt.Sprintf("\"%d\"", n-1) + tail
		if n == 0 {
			want = `"n","x"`
		}
		if lines.Text() != want {
			t.Fatalf("row %d: %q, want %q", n, lines.Text(), want)
		}
		n++
	}
	if err := errors.Join(lines.Err(), r.Close()); err != nil || n != 200_001 || read != size || size != e.ResultBytes {
		t.Errorf("%d rows, %d bytes, %d and %d were told; %v", n-1, read, size, e.ResultBytes, err)
	}
}
