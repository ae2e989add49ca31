package local

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"penstock/consumer/query"
)

// goldenCase is an expression or a statement and what it gives: NULL or a CSV cell for an expression, the whole CSV for a
// statement, or "error: " and a part of the message.
type goldenCase struct{ sql, want string }

// readGolden reads testdata/sql: "# name" opens a section, then come pairs of one line of SQL and its result, which is
// indented by two spaces where it begins.
func readGolden(t *testing.T) map[string][]goldenCase {
	t.Helper()
	files, err := filepath.Glob("testdata/sql/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	sections := map[string][]goldenCase{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, section := range strings.Split("\n"+string(content), "\n# ")[1:] {
			name, body, _ := strings.Cut(section, "\n")
			if strings.HasPrefix(name, "native") || name == "types" {
				name = strings.TrimSuffix(filepath.Base(file), ".txt") + " " + name
			}
			if _, double := sections[name]; double {
				t.Errorf("%s: two sections %q", file, name)
			}
			sections[name] = parseCases(t, name, body)
		}
	}
	return sections
}

// caseStart is where a case begins: SQL (maybe with a line break inside) up to a line that begins with two spaces.
var caseStart = regexp.MustCompile(`\n  `)

func parseCases(t *testing.T, section, body string) []goldenCase {
	t.Helper()
	var cases []goldenCase
	for rest := strings.TrimRight(body, "\n"); rest != ""; {
		at := caseStart.FindStringIndex(rest)
		if at == nil {
			t.Fatalf("%s: no result for %s", section, rest)
		}
		c := goldenCase{sql: rest[:at[0]]}
		rest = rest[at[1]:]
		end := resultEnd(rest)
		c.want, rest = rest[:end], strings.TrimPrefix(rest[end:], "\n")
		cases = append(cases, c)
	}
	return cases
}

// resultEnd is the length of the result at the start of s: lines that begin with a quote, a comma or NULL or error, and
// whatever is inside quotes.
func resultEnd(s string) int {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"' && !strings.HasPrefix(s, "error:"):
			quoted = !quoted
		case s[i] == '\n' && !quoted && (i+1 == len(s) || s[i+1] != '"' && s[i+1] != ','):
			return i
		}
	}
	return len(s)
}

var isStatement = regexp.MustCompile(`^(SELECT|WITH|VALUES) `)

func TestFunctions(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	for name, cases := range readGolden(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var expressions, cells []string
			for _, c := range cases {
				statement := isStatement.MatchString(c.sql)
				switch {
				case strings.HasPrefix(c.want, "error: "):
					if !statement {
						c.sql = "SELECT " + c.sql
					}
					if got, err := runSQL(t, engine, c.sql); !errors.Is(err, query.ErrStatement) ||
						!strings.Contains(err.Error(), strings.TrimPrefix(c.want, "error: ")) {
						t.Errorf("%s\ngot  %s %v\nwant %s", c.sql, got, err, c.want)
					}
				case statement:
					if got, err := runSQL(t, engine, c.sql); err != nil || got != c.want+"\n" {
						t.Errorf("%s\ngot  %s %v\nwant %s", c.sql, got, err, c.want)
					}
				default:
					expressions, cells = append(expressions, c.sql), append(cells, c.want)
				}
			}
			if len(expressions) > 0 {
				compareCells(t, engine, expressions, cells)
			}
		})
	}
}

// compareCells runs all expressions in one SELECT.
func compareCells(t *testing.T, engine *DuckDB, expressions, want []string) {
	t.Helper()
	got, err := runSQL(t, engine, "SELECT "+strings.Join(expressions, ",\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, row, _ := strings.Cut(strings.TrimSuffix(got, "\n"), "\n")
	cells := splitCells(row)
	if len(cells) != len(want) {
		t.Fatalf("%d cells for %d expressions: %s", len(cells), len(want), row)
	}
	for i, cell := range cells {
		if cell == "" {
			cell = "NULL"
		}
		if cell != want[i] {
			t.Errorf("%s\ngot  %s\nwant %s", expressions[i], cell, want[i])
		}
	}
}

func splitCells(row string) []string {
	var cells []string
	start, quoted := 0, false
	for i := range len(row) {
		switch {
		case row[i] == '"':
			quoted = !quoted
		case row[i] == ',' && !quoted:
			cells = append(cells, row[start:i])
			start = i + 1
		}
	}
	return append(cells, row[start:])
}

// runSQL checks and runs a statement.
func runSQL(t testing.TB, engine *DuckDB, sql string, parameters ...string) (string, error) {
	t.Helper()
	var result bytes.Buffer
	_, err := engine.Run(t.Context(), sql, parameters, &result)
	return result.String(), err
}

// athenaFunctions are the functions that are made or renamed for Athena's sake.
func athenaFunctions(t *testing.T) []string {
	t.Helper()
	macros, err := parseMacros(macrosSQL)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range macros {
		if !strings.HasPrefix(m.name, "athena_") {
			names = append(names, m.name)
		}
	}
	for name := range renamedFunctions {
		names = append(names, name)
	}
	for name := range formatFunctions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestEveryFunctionHasGoldenCases(t *testing.T) {
	t.Parallel()
	sections := readGolden(t)
	for _, name := range athenaFunctions(t) {
		if len(sections[name]) == 0 {
			t.Errorf("no golden cases for %s", name)
		}
	}
}
