package local

import (
	"strings"
	"testing"
)

func TestTranslate(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SELECT 'CAST(x AS ARRAY(JSON))' -- IF(a, b)":    "SELECT 'CAST(x AS ARRAY(JSON))' -- IF(a, b)",
		"SELECT \"if\", t.transform(x), transform(x, y)": "SELECT \"if\", t.transform(x), list_transform(x, y)",
		"CAST(x AS ARRAY(ARRAY(JSON)))":                  "CAST(x AS JSON[][])",
		"CAST(x AS MAP(varchar, ARRAY(JSON)))":           "CAST(x AS MAP(varchar, JSON[]))",
		"CAST(CAST(x AS JSON) AS varchar)":               "athena_varchar(athena_json(x ) )",
		"TRY_CAST(x AS VARCHAR(10))":                     "athena_varchar(x , 10)",
		"CAST(x AS decimal(10, 2))":                      "CAST(x AS decimal(10, 2))",
		"CAST((SELECT a AS b) AS JSON)":                  "athena_json((SELECT a AS b) )",
		"IF(a, IF(b, c), d)":                             "IF(a, IF(b, c, NULL), d)",
		"IF(a, f(b, c))":                                 "IF(a, f(b, c), NULL)",
		"TIMESTAMP '2024-01-01 00:00:00 UTC'":            "TIMESTAMPTZ '2024-01-01 00:00:00 UTC'",
		"TIMESTAMP '2024-01-01 00:00:00'":                "TIMESTAMP '2024-01-01 00:00:00'",
		"TIMESTAMP '2024-01-01'":                         "TIMESTAMP '2024-01-01'",
		"x'0a 0B'":                                       "unhex('0a0B')",
		"date_format(x, '%Y''%i')":                       "athena_strftime(x, '%Y''%M')",
		"parse_datetime(f(a, b), 'yyyy')":                "athena_utc(strptime(f(a, b), '%Y'))",
		"CAST(x AS":                                      "CAST(x AS",
		"IF(a, b":                                        "IF(a, b",
		"'open":                                          "'open",
		"$$ IF(a, b) $$ || $q$ IF(a, b) $$ $q$":          "$$ IF(a, b) $$ || $q$ IF(a, b) $$ $q$",
		"$a1$ IF(a, b) $a1$":                             "$a1$ IF(a, b) $a1$",
		"-- IF(a, b)\rIF(a, b)":                          "-- IF(a, b)\rIF(a, b, NULL)",
	} {
		if got := translate(sql); got.text != want || got.failure != nil {
			t.Errorf("%s\ngot  %s %v\nwant %s", sql, got.text, got.failure, want)
		}
	}
}

// An offset behind a rewritten part leads back to the same text.
func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"transform(a, b), CAST(x AS ARRAY(JSON)), IF(p, q), marker", "CAST(x AS varchar) || date_format(y, '%i') || marker", "marker",
	} {
		translated := translate(sql)
		at := strings.Index(translated.text, "marker")
		if got := translated.origin(at); sql[got:] != "marker" {
			t.Errorf("%s: offset %d of %s leads to %q", sql, at, translated.text, sql[got:])
		}
	}
}

func FuzzTranslate(f *testing.F) {
	for sql := range refusals {
		if len(sql) < 1000 {
			f.Add(sql)
		}
	}
	f.Add("SELECT CAST(json_extract(data, '$.x') AS ARRAY(MAP(varchar, JSON))), IF(a, b), date_parse(x, '%Y-%i'), X'00', TIMESTAMP '1:00:00 UTC'")
	f.Fuzz(func(t *testing.T, sql string) {
		translated := translate(sql)
		end := 0
		for _, token := range tokenize(sql) {
			if token.Start < end || token.End <= token.Start || token.End > len(sql) {
				t.Fatalf("token %+v after %d of %d", token, end, len(sql))
			}
			end = token.End
		}
		for offset := range len(translated.text) + 1 {
			line, column := translated.place(translated.origin(offset))
			if line < 1 || column < 1 {
				t.Fatalf("offset %d is at %d:%d", offset, line, column)
			}
		}
		for _, construct := range unsupportedSyntax {
			construct.find(sql)
		}
	})
}

// FuzzCheck: no statement may do more than be accepted or refused, least of all end the process.
func FuzzCheck(f *testing.F) {
	engine := newTestEngine(f)
	for sql := range refusals {
		if len(sql) < 1000 {
			f.Add(sql)
		}
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if err := engine.Check(t.Context(), sql, nil); err != nil && strings.Contains(err.Error(), "INTERNAL") {
			t.Fatal(err)
		}
	})
}

func TestJSONPaths(t *testing.T) {
	t.Parallel()
	for path, part := range map[string]string{
		"$": "", "$.a": "", "$.a.b[0].c": "", `$["a.b"]`: "", `$["a\"]"].x`: "", "$.été": "", "$[12]": "", "$.a-b_c:d": "",
		"": "no $", "a": "no $", "$a": "unexpected 'a'", "$.": "no key", "$.a..b": "recursive", "$.*": "wildcard", "$[*]": "wildcard",
		"$[-1]": "[ without", "$[]": "[ without", "$[a]": "[ without", `$["a`: "without", "$[?(@.a)]": "filter", "$.a.'b'": "no key",
	} {
		err := checkJSONPath(path)
		if (err == nil) != (part == "") || err != nil && !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, want %q", path, err, part)
		}
	}
}
