package tabular_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"penstock/infra/client/tabular"
)

var update = flag.Bool("update", false, "write the golden files anew")

func rows(t *testing.T, csv string, keep int) ([][]tabular.Value, error) {
	t.Helper()
	var all [][]tabular.Value
	r := tabular.NewReader(iotest.OneByteReader(strings.NewReader(csv)), keep)
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, append([]tabular.Value(nil), row...))
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	text, null := func(s string) tabular.Value { return tabular.Value{Text: s} }, tabular.Value{Null: true}
	for csv, want := range map[string][][]tabular.Value{
		"":                               {},
		"\"a\"\n":                        {{text("a")}},
		"\"a\"\n\n\"\"\n":                {{text("a")}, {null}, {text("")}},
		"\"a\",\"b\"\n,\"\"\n\"x\",\n":   {{text("a"), text("b")}, {null, text("")}, {text("x"), null}},
		"\"a\"\r\n\"l\nm\r\n,\"\"\"\r\n": {{text("a")}, {text("l\nm\r\n,\"")}},
		"\"a\",\"b\"\n\"1\",\"\"\"\"":    {{text("a"), text("b")}, {text("1"), text("\"")}},
		"a,b\n1,\n":                      {{text("a"), text("b")}, {text("1"), null}},
		"\"a\"\n\"" + strings.Repeat("é", 70_000) + "\"\n": {{text("a")}, {text(strings.Repeat("é", 70_000))}},
	} {
		got, err := rows(t, csv, 0)
		if err != nil || len(got) != len(want) {
			t.Errorf("%.60q: %.200v, %v", csv, got, err)
			continue
		}
		for i := range want {
			for j := range want[i] {
				if len(got[i]) != len(want[i]) || got[i][j] != want[i][j] {
					t.Errorf("%.60q: row %d is %.200v", csv, i, got[i])
				}
			}
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	for _, csv := range []string{"\"a", "\"a\"\n\"b", "\"a\"x\n", "\"a\",\"b\"\n\"1\"\n", "\"a\"\n\"1\",\"2\"\n", "\"a\"\rb\n", "\"a\"\n\"b\"\"\n"} {
		if got, err := rows(t, csv, 0); !errors.Is(err, tabular.ErrFormat) {
			t.Errorf("%q: %v, %v", csv, got, err)
		}
	}
}

func TestReaderCuts(t *testing.T) {
	t.Parallel()
	got, err := rows(t, "\"head\",\"b\"\n\"123\"\"5678\",\"12\"\n", 3)
	if err != nil || got[1][0] != (tabular.Value{Text: "123", Cut: true}) || got[1][1] != (tabular.Value{Text: "12"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add("\"a\",\"b\"\n,\"x\"\"y\"\n", 0)
	f.Add("\"a\"\r\n\n", 2)
	f.Fuzz(func(t *testing.T, csv string, keep int) {
		r := tabular.NewReader(strings.NewReader(csv), keep)
		for width := -1; ; {
			row, err := r.Read()
			if err != nil {
				return
			}
			if width >= 0 && len(row) != width {
				t.Fatalf("row of %d values after a header of %d", len(row), width)
			}
			width = len(row)
		}
	})
}

func TestObjects(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	csv := "\"n\",\"n\",\"n_2\",\"<é\"\"\"\n\"1\",\"\",,\"a<b\n\x01\"\n\"2\",\"3\",\"4\",\"5\"\n"
	n, err := tabular.WriteObjects(&out, tabular.NewReader(strings.NewReader(csv), 0))
	want := `{"n":"1","n_3":"","n_2":null,"<é\"":"a<b\n\u0001"}` + "\n" + `{"n":"2","n_3":"3","n_2":"4","<é\"":"5"}` + "\n"
	if err != nil || n != 2 || out.String() != want {
		t.Errorf("%d rows, %v:\n%s", n, err, out.String())
	}
	out.Reset()
	if n, err := tabular.WriteObjects(&out, tabular.NewReader(strings.NewReader("\"a\"\n\"1\"\n\"2"), 0)); err == nil || n != 1 || out.String() != "{\"a\":\"1\"}\n" {
		t.Errorf("of a result that breaks off: %d rows, %v, %q", n, err, out.String())
	}
}

const sample = `"type","n","logins","note"
"PushEvent","1234","日本語のログイン","plain"
"Fork","-5.5",,"NULL"
"","7","👩‍👩‍👧 family, e` + "\u0301" + `","two
lines	and` + "\x1b[31m red \u202e" + `"
,,"","a text that is far too long for any terminal of a usual width, and so it has to end somewhere before its own end"
`

func TestTable(t *testing.T) {
	t.Parallel()
	for name, style := range map[string]tabular.Style{
		"plain": {}, "terminal": {Width: 72, Color: true}, "narrow": {Width: 20},
	} {
		table, err := tabular.ReadTable(strings.NewReader(sample))
		if err != nil || table.Total != 4 {
			t.Fatalf("%+v, %v", table, err)
		}
		var got bytes.Buffer
		if err := table.Render(&got, style); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s:\n%s\nwant:\n%s", name, &got, want)
		}
	}
}

// A table holds its beginning and counts the rest, however large the values are.
func TestTableIsBounded(t *testing.T) {
	t.Parallel()
	table, err := tabular.ReadTable(strings.NewReader("\"n\"\n" + strings.Repeat("\"1\"\n", 5_000)))
	if err != nil || table.Total != 5_000 || len(table.Rows) != tabular.MaxTableRows {
		t.Errorf("%d of %d rows, %v", len(table.Rows), table.Total, err)
	}
	row := "\"" + strings.Repeat("x", 1<<20) + "\"\n"
	table, err = tabular.ReadTable(strings.NewReader("\"n\"\n" + strings.Repeat(row, 50)))
	if err != nil || table.Total != 50 || len(table.Rows[0][0].Text) > 1<<13 || !table.Rows[0][0].Cut {
		t.Errorf("%d rows, %v", table.Total, err)
	}
	wide := strings.Repeat("\"c\",", 99) + "\"c\"\n"
	values := strings.Repeat("\""+strings.Repeat("v", 5_000)+"\",", 99) + "\"v\"\n"
	table, err = tabular.ReadTable(strings.NewReader(wide + strings.Repeat(values, 200)))
	if err != nil || table.Total != 200 || len(table.Rows) > 100 {
		t.Errorf("%d of %d wide rows, %v", len(table.Rows), table.Total, err)
	}
}

func TestVisible(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain é 日": "plain é 日", "a\x1b[2J\x07": `a\u001b[2J\u0007`, "\u202eevil\u2066": `\u202eevil\u2066`, "x\xffy": "x\ufffdy", "\u009b31m": `\u009b31m`,
	} {
		if got := tabular.Visible(text); got != want {
			t.Errorf("%q shown as %q, want %q", text, got, want)
		}
	}
}
