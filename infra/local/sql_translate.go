package local

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"penstock/consumer/query/sqllex"
)

// Most of Athena's functions are macros in DuckDB (sql_macros.sql). What a macro can't do is rewritten here, token by
// token: syntax (types in CAST, two-armed IF, TABLESAMPLE), and names of functions that take a lambda or may be used
// with FILTER, DISTINCT and OVER.

// renamedFunctions behave like Trino's under another name.
var renamedFunctions = map[string]string{
	"transform":         "list_transform",
	"array_max":         "list_max",
	"array_min":         "list_min",
	"approx_distinct":   "approx_count_distinct",
	"approx_percentile": "approx_quantile",
	"arbitrary":         "any_value",
	"every":             "bool_and",
	"geometric_mean":    "geomean",
}

// Macros that stand for a cast whose meaning differs between the engines.
const (
	castToVarchar = "athena_varchar"
	castToJSON    = "athena_json"
)

// sqlEdit replaces source[start:end] by text.
type sqlEdit struct {
	start, end int
	text       string
}

// translation is a statement in DuckDB's dialect that remembers where its parts came from.
type translation struct {
	source, text string
	edits        []sqlEdit
	// failure is about the first construct that can't be translated, at source[failedAt:].
	failure  error
	failedAt int
}

// translate rewrites what DuckDB spells differently.
func translate(sql string) translation {
	tokens := tokenize(sql)
	r := rewriter{sql: sql, tokens: tokens}
	for i := range tokens {
		r.visit(i)
	}
	slices.SortStableFunc(r.edits, func(a, b sqlEdit) int { return a.start - b.start })
	var text strings.Builder
	from := 0
	for _, e := range r.edits {
		text.WriteString(sql[from:e.start])
		text.WriteString(e.text)
		from = e.end
	}
	text.WriteString(sql[from:])
	return translation{source: sql, text: text.String(), edits: r.edits, failure: r.failure, failedAt: r.failedAt}
}

// origin gives the offset in the source of an offset in the translated text.
func (t *translation) origin(offset int) int {
	shift := 0 // how much longer the text is than the source, before offset
	for _, e := range t.edits {
		at := e.start + shift
		if offset < at {
			break
		}
		if offset < at+len(e.text) {
			return e.start
		}
		shift += len(e.text) - (e.end - e.start)
	}
	return min(max(offset-shift, 0), len(t.source))
}

// place gives line and column, from 1 and in characters, of an offset in the source.
func (t *translation) place(offset int) (line, column int) {
	before := t.source[:offset]
	line = 1 + strings.Count(before, "\n")
	column = 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return line, column
}

type rewriter struct {
	sql      string
	tokens   []sqllex.Token
	edits    []sqlEdit
	failure  error
	failedAt int
}

func (r *rewriter) replace(t sqllex.Token, text string) {
	r.edits = append(r.edits, sqlEdit{t.Start, t.End, text})
}

func (r *rewriter) at(i int) sqllex.Token {
	if i < 0 || i >= len(r.tokens) {
		return sqllex.Token{Start: len(r.sql), End: len(r.sql), Kind: sqllex.Symbol}
	}
	return r.tokens[i]
}

func (r *rewriter) visit(i int) {
	t := r.tokens[i]
	if t.Kind == sqllex.String && (r.sql[t.Start] == 'x' || r.sql[t.Start] == 'X') {
		digits := strings.Join(strings.Fields(r.sql[t.Start+1:t.End]), "")
		r.replace(t, "unhex("+digits+")") // X'68 69' is varbinary
		return
	}
	if t.Kind != sqllex.Word {
		return
	}
	switch {
	case t.Lower == "timestamp" && r.at(i+1).Kind == sqllex.String:
		literal := r.sql[r.at(i+1).Start:r.at(i+1).End]
		if zone := zoned.FindStringSubmatchIndex(literal); zone != nil {
			r.replace(t, "TIMESTAMPTZ")
			if sign := literal[zone[2]]; sign == '+' || sign == '-' { // must follow the seconds at once
				r.replace(r.at(i+1), strings.TrimRight(literal[:zone[2]], " ")+literal[zone[2]:])
			}
		}
	case t.Lower == "tablesample":
		r.percent(i)
	case !r.at(i+1).Is("(") || r.at(i-1).Is("."):
	case t.Lower == "cast", t.Lower == "try_cast":
		r.cast(i)
	case t.Lower == "if":
		r.twoArmedIf(i)
	default:
		if name, ok := renamedFunctions[t.Lower]; ok {
			r.replace(t, name)
		} else if function, ok := formatFunctions[t.Lower]; ok {
			r.format(i, function)
		}
	}
}

// zoned matches a timestamp literal with a time zone, which Trino reads as timestamp with time zone.
var zoned = regexp.MustCompile(`:\d\d(?:\.\d+)? ?([+-]\d\d(?::?\d\d)?|[A-Za-z][A-Za-z0-9_+/-]*)'$`)

// percent turns TABLESAMPLE BERNOULLI (10) into … (10 PERCENT).
func (r *rewriter) percent(i int) {
	if r.at(i+2).Is("(") && r.at(i+3).Kind == sqllex.Number && r.at(i+4).Is(")") {
		at := r.at(i + 3).End
		r.edits = append(r.edits, sqlEdit{at, at, " PERCENT"})
	}
}

// twoArmedIf completes IF(condition, value).
func (r *rewriter) twoArmedIf(i int) {
	shut := sqllex.Closing(r.tokens, i+1)
	if shut > 0 && len(sqllex.TopLevel(r.tokens, i+1, shut, ",")) == 1 {
		at := r.tokens[shut].Start
		r.edits = append(r.edits, sqlEdit{at, at, ", NULL"})
	}
}

// format rewrites a call of a function that takes a date format.
func (r *rewriter) format(i int, function formatFunction) {
	shut := sqllex.Closing(r.tokens, i+1)
	if shut < 0 {
		return
	}
	commas := sqllex.TopLevel(r.tokens, i+1, shut, ",")
	if len(commas) != 1 {
		return // DuckDB knows no such function and says so
	}
	literal := r.at(commas[0] + 1)
	if literal.Kind != sqllex.String || commas[0]+2 != shut || r.sql[literal.Start] != '\'' {
		r.fail(literal, errors.New("the format must be a string literal"))
		return
	}
	format, err := function.translate(unquote(r.sql[literal.Start:literal.End]))
	if err != nil {
		r.fail(literal, err)
		return
	}
	r.edits = append(r.edits, sqlEdit{r.tokens[i].Start, r.tokens[i+1].End, function.open})
	r.replace(literal, "'"+strings.ReplaceAll(format, "'", "''")+"'")
	r.replace(r.tokens[shut], function.close)
}

func (r *rewriter) fail(t sqllex.Token, err error) {
	if r.failure == nil {
		r.failure, r.failedAt = err, t.Start
	}
}

// unquote reads a plain string literal.
func unquote(literal string) string {
	return strings.ReplaceAll(strings.TrimSuffix(literal[1:], "'"), "''", "'")
}

// cast rewrites CAST(x AS type): to VARCHAR and JSON by macros, since DuckDB keeps the quotes of a JSON string and parses
// a varchar as JSON; to ARRAY(type) as type[].
func (r *rewriter) cast(i int) {
	shut := sqllex.Closing(r.tokens, i+1)
	if shut < 0 {
		return
	}
	as := sqllex.TopLevel(r.tokens, i+1, shut, "as")
	if len(as) != 1 || as[0]+1 == shut {
		return
	}
	target := r.tokens[as[0]+1 : shut]
	macro, suffix := "", ""
	switch {
	case len(target) == 1 && target[0].Is("json"):
		macro = castToJSON
	case len(target) == 1 && target[0].Is("varchar"):
		macro = castToVarchar
	case len(target) == 4 && target[0].Is("varchar") && target[2].Kind == sqllex.Number:
		macro, suffix = castToVarchar, ", "+r.sql[target[2].Start:target[2].End]
	}
	if macro != "" {
		r.replace(r.tokens[i], macro)
		r.edits = append(r.edits, sqlEdit{r.tokens[as[0]].Start, r.tokens[shut].Start, suffix})
		return
	}
	r.arrays(as[0]+1, shut)
}

// arrays rewrites ARRAY(type) to type[] in the type between two tokens.
func (r *rewriter) arrays(from, to int) {
	for i := from; i < to; i++ {
		if !r.tokens[i].Is("array") || !r.at(i+1).Is("(") {
			continue
		}
		shut := sqllex.Closing(r.tokens, i+1)
		if shut < 0 || shut >= to {
			continue
		}
		r.edits = append(r.edits, sqlEdit{r.tokens[i].Start, r.tokens[i+1].End, ""})
		r.replace(r.tokens[shut], "[]")
	}
}
