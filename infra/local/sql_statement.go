package local

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"penstock/consumer/query"
	"penstock/consumer/query/sqllex"
	"penstock/schemas"
)

// sqlStatement is one read-only statement that passed the policy.
type sqlStatement struct {
	translation
	start    int // of the query in the text, behind EXPLAIN
	headings []heading
}

func refuseSQL(format string, args ...any) error {
	return fmt.Errorf("%w: %s", query.ErrStatement, fmt.Sprintf(format, args...))
}

// newStatement translates the SQL and checks, on DuckDB's own syntax tree, that it is one statement that only reads the
// lake. DuckDB's settings forbid access to files as well (sessionScript); this is the first of two fences, and the one
// with the better messages. serialize gives the tree of a statement as JSON.
func newStatement(
	sql string, macros map[string]macroGrowth, serialize func(sql string) ([]byte, error),
) (*sqlStatement, error) {
	switch {
	case len(sql) > schemas.MaxSQL:
		return nil, refuseSQL("the statement has %d bytes; the limit is %d", len(sql), schemas.MaxSQL)
	case !utf8.ValidString(sql):
		return nil, refuseSQL("the statement is not valid UTF-8")
	case strings.IndexByte(sql, 0) >= 0:
		return nil, refuseSQL("the statement contains a NUL character")
	}
	tokens := tokenize(sql)
	if len(tokens) == 0 || tokens[0].Is(";") {
		return nil, refuseSQL("there is no statement")
	}
	s := &sqlStatement{translation: translate(sql)}
	if s.failure != nil {
		line, column := s.place(s.failedAt)
		return nil, refuseSQL("line %d, column %d: %s", line, column, s.failure)
	}
	if err := s.plainExplain(); err != nil {
		return nil, err
	}
	tree, err := serialize(s.text[s.start:])
	if err != nil {
		return nil, s.explain(err, "", nil)
	}
	var parsed syntaxTree
	if err := json.Unmarshal(tree, &parsed); err != nil {
		return nil, fmt.Errorf("reading DuckDB's syntax tree: %w", err)
	}
	if err := parsed.failure(s, tokens); err != nil {
		return nil, err
	}
	root, err := decodeNode(parsed.Statements[0])
	if err != nil {
		return nil, err
	}
	rules := sqlPolicy{statement: s, tables: map[string]bool{}}
	rules.collectNames(root)
	if err := rules.check(root); err != nil {
		return nil, err
	}
	if err := checkGrowth(root, macros); err != nil {
		return nil, err
	}
	if s.start == 0 {
		s.headings = columnHeadings(root)
	}
	return s, nil
}

// explainWords may stand between EXPLAIN and the query.
var explainWords = []string{"explain", "analyze", "format", "text", "json", "html", "graphviz", "(", ")", ","}

// plainExplain finds the query behind an EXPLAIN and leaves nothing but plain words before it. Only the query is checked
// but the whole text runs, so DuckDB must have no way to read the words before it otherwise than we do, as it could read
// a comment. Spaces keep the offsets.
func (s *sqlStatement) plainExplain() error {
	tokens := tokenize(s.text)
	next := explainOptions(tokens)
	if next == 0 || next >= len(tokens) { // no EXPLAIN, a parenthesis that does not close, or nothing behind
		return nil
	}
	plain := bytes.Repeat([]byte(" "), tokens[next].Start)
	for _, t := range tokens[:next] {
		if !slices.Contains(explainWords, t.Lower) {
			line, column := s.place(s.origin(t.Start))
			return refuseSQL("line %d, column %d: not an option of EXPLAIN: it takes ANALYZE or (FORMAT json)", line, column)
		}
		copy(plain[t.Start:], t.Lower)
	}
	s.start = tokens[next].Start
	s.text = string(plain) + s.text[s.start:]
	return nil
}

// explainOptions counts the tokens of an EXPLAIN before the query, 0 if there is none.
func explainOptions(tokens []sqllex.Token) int {
	if !tokens[0].Is("explain") {
		return 0
	}
	next := 1
	if next < len(tokens) && tokens[next].Is("analyze") {
		next++
	}
	if next+1 < len(tokens) && tokens[next].Is("(") &&
		(tokens[next+1].Is("format") || tokens[next+1].Is("analyze") || tokens[next+1].Is("type")) {
		next = sqllex.Closing(tokens, next) + 1
	}
	return next
}

// syntaxTree is what json_serialize_sql answers.
type syntaxTree struct {
	Error      bool              `json:"error"`
	Type       string            `json:"error_type"`
	Message    string            `json:"error_message"`
	Position   json.Number       `json:"position"`
	Statements []json.RawMessage `json:"statements"`
}

func (t *syntaxTree) failure(s *sqlStatement, tokens []sqllex.Token) error {
	switch {
	case t.Error && t.Type == "not implemented": // DuckDB serialises queries only
		return refuseSQL("%s is not allowed: only one SELECT, WITH, VALUES, EXPLAIN, SHOW or DESCRIBE statement",
			statementKind(s.source, tokens))
	case t.Error:
		position, err := strconv.Atoi(t.Position.String())
		return s.syntaxError(t.Message, position+s.start, err == nil)
	case len(t.Statements) == 0:
		return refuseSQL("there is no statement")
	case len(t.Statements) > 1:
		return refuseSQL("there are %d statements; send one at a time", len(t.Statements))
	}
	return nil
}

// statementKind is how the statement calls itself: by its first word, or behind WITH by the word that writes.
func statementKind(sql string, tokens []sqllex.Token) string {
	name, depth := "", 0
	for _, t := range tokens {
		switch {
		case t.Is("("):
			depth++
		case t.Is(")"):
			depth--
		case t.Kind != sqllex.Word || t.Is("explain") || t.Is("analyze"):
		case name == "", depth == 0 && slices.Contains([]string{"insert", "update", "delete", "merge"}, t.Lower):
			name = strings.ToUpper(sql[t.Start:t.End]) + " "
		}
		if name != "" && name != "WITH " {
			break
		}
	}
	return name + "statement"
}

// syntaxError words a parser's error, with a hint where Athena has syntax that is not available here.
func (s *sqlStatement) syntaxError(message string, position int, known bool) error {
	for _, construct := range unsupportedSyntax {
		if at := construct.find(s.source); at >= 0 {
			line, column := s.place(at)
			return refuseSQL("line %d, column %d: %s is not supported%s", line, column, construct.name, construct.hint)
		}
	}
	if !known {
		return refuseSQL("%s", message)
	}
	line, column := s.place(s.origin(position))
	return refuseSQL("line %d, column %d: %s", line, column, message)
}
