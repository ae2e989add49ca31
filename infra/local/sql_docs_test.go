package local

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documentedEvents have every field that the examples of docs/sql.md look at.
const documentedEvents = `'{"user":{"id":' || i % 5 || ',"login":"u' || i % 5 || '"},"page":"https://www.example.com/p/' || i || '","total":' || i ||
	',"items":[{"sku":"s' || i || '","price":"' || i || '.50"},{"sku":"t","price":"1.00"}]}'`

func readDocs(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func TestDocumentedExamplesRun(t *testing.T) {
	t.Parallel()
	rows := strings.NewReplacer("'click'", "'PushEvent'", "TIMESTAMPTZ '2024-05-06 07:08:09.123456+00' + to_seconds(i)",
		"now() + to_microseconds(i)").Replace(rowsOf(0, 20, documentedEvents))
	engine := newTestEngine(t, writeParquet(t, filepath.Join(t.TempDir(), "events.parquet"), rows))
	examples := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(readDocs(t), -1)
	if len(examples) < 8 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, example := range examples {
		result, err := runSQL(t, engine, example[1])
		if err != nil || strings.Count(result, "\n") < 2 {
			t.Errorf("%s\n%s%v", example[1], result, err)
		}
	}
}

// The page lists exactly the functions that are made for Athena's sake.
func TestDocumentedFunctions(t *testing.T) {
	t.Parallel()
	_, section, _ := strings.Cut(readDocs(t), "\n## Functions\n")
	table, _, _ := strings.Cut(section, "\nDuckDB itself")
	documented := map[string]bool{}
	for _, name := range regexp.MustCompile("`([a-z_0-9]+)`").FindAllStringSubmatch(table, -1) {
		documented[name[1]] = true
	}
	for _, name := range athenaFunctions(t) {
		if !documented[name] {
			t.Errorf("docs/sql.md does not list %s", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/sql.md lists %s, which does not exist", name)
	}
}

// What the page says does not work is refused, and what it offers instead works.
func TestDocumentedDifferences(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	for _, sql := range []string{
		"SELECT * FROM UNNEST(MAP(ARRAY[1], ARRAY[2])) AS t(k, v)", "VALUES 1, 2", "SELECT sequence(DATE '2024-01-01', DATE '2024-01-02')",
		"SELECT listagg(id, ',') WITHIN GROUP (ORDER BY id) FROM events", "SELECT json_query(data, 'lax $.a') FROM events",
		"SELECT json_value(data, 'lax $.a' RETURNING bigint) FROM events", "SELECT multimap_agg(id, type) FROM events",
		"SELECT * FROM events MATCH_RECOGNIZE (PATTERN (A))", "SHOW CREATE TABLE events", "SHOW FUNCTIONS", "SHOW PARTITIONS events",
	} {
		if err := engine.Check(t.Context(), sql, nil); err == nil {
			t.Errorf("accepted: %s", sql)
		}
	}
	for sql, want := range map[string]string{
		"SELECT transform(sequence(0, 1), i -> date_add('day', i, DATE '2024-01-01')) AS d":       "\"d\"\n\"[2024-01-01, 2024-01-02]\"\n",
		"SELECT list_reduce(ARRAY[1, 2], lambda s, x: s + x, 5) AS s":                             "\"s\"\n\"8\"\n",
		"SELECT array_join(array_agg(x ORDER BY x), ',') AS s FROM (VALUES (2), (1)) AS t(x)":     "\"s\"\n\"1,2\"\n",
		"SELECT e.entry.key AS k FROM UNNEST(map_entries(MAP(ARRAY['a'], ARRAY[1]))) AS e(entry)": "\"k\"\n\"a\"\n",
		"SELECT 1 / 0 AS z, ARRAY[1][5] AS i":                                                     "\"z\",\"i\"\n,\n",
		"SELECT CAST(1e0 AS varchar) AS d":                                                        "\"d\"\n\"1.0\"\n",
	} {
		wantCSV(t, engine, sql, want)
	}
}
