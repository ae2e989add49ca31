package aws

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"penstock/consumer/query"
	"penstock/consumer/query/sqllex"
	"penstock/schemas"
)

// maxParameter is the most characters that a parameter may have, with its quotes
// (https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html).
const maxParameter = 1024

// athenaDialect is Trino's: a block comment ends at the first */, and a backslash is a character as any other.
var athenaDialect = sqllex.Dialect{}

func refuseSQL(format string, args ...any) error {
	return fmt.Errorf("%w: %s", query.ErrStatement, fmt.Sprintf(format, args...))
}

// readOnly returns the statement as it may be sent to Athena, which runs whatever it is permitted to, and errors with
// query.ErrStatement unless it is one statement that reads. Athena knows by the first word which of its two parsers (Trino's, and
// Hive's for SHOW and DESCRIBE) reads a statement, and these differ in what a comment is; so no comment is sent. Blanks stand in
// its place, so that the line and column of Athena's errors are those of the client's text.
func readOnly(sql string) (string, error) {
	switch {
	case len(sql) > schemas.MaxSQL:
		return "", refuseSQL("the statement has %d bytes; the limit is %d", len(sql), schemas.MaxSQL)
	case !utf8.ValidString(sql):
		return "", refuseSQL("the statement is not valid UTF-8")
	case strings.IndexByte(sql, 0) >= 0:
		return "", refuseSQL("the statement contains a NUL character")
	}
	tokens := athenaDialect.Tokens(sql)
	plain := withoutComments(sql, tokens)
	for len(tokens) > 0 && tokens[len(tokens)-1].Is(";") {
		tokens = tokens[:len(tokens)-1]
	}
	if len(tokens) == 0 {
		return "", refuseSQL("there is no statement")
	}
	if n := countStatements(tokens); n > 1 {
		return "", refuseSQL("there are %d statements; send one at a time", n)
	}
	if err := onlyReads(sql, tokens); err != nil {
		return "", err
	}
	return plain, nil
}

// withoutComments blanks all that is between tokens but line ends.
func withoutComments(sql string, tokens []sqllex.Token) string {
	var plain strings.Builder
	plain.Grow(len(sql))
	from := 0
	blank := func(between string) {
		for _, c := range between {
			if c != '\n' && c != '\r' {
				c = ' ' // one for each character: Athena counts columns in characters
			}
			plain.WriteRune(c)
		}
	}
	for _, t := range tokens {
		blank(sql[from:t.Start])
		plain.WriteString(sql[t.Start:t.End])
		from = t.End
	}
	blank(sql[from:])
	return plain.String()
}

func countStatements(tokens []sqllex.Token) int {
	n, began := 0, false
	for _, t := range tokens {
		switch {
		case t.Is(";"):
			began = false
		case !began:
			began = true
			n++
		}
	}
	return n
}

// onlyReads judges one statement by the words that decide what it does.
func onlyReads(sql string, tokens []sqllex.Token) error {
	decides := tokens
	if decides[0].Is("explain") {
		decides = explained(decides)
	}
	for len(decides) > 0 && (decides[0].Is("(") || decides[0].Is("with")) {
		if decides[0].Is("(") {
			decides = decides[1:]
		} else {
			decides = afterWith(decides)
		}
	}
	if len(decides) == 0 {
		return refuseSQL("the statement ends too early")
	}
	first := decides[0]
	if !slices.Contains([]string{"select", "values", "show", "describe"}, first.Lower) || first.Kind != sqllex.Word {
		return refuseSQL("%.60s statement is not allowed: only one SELECT, WITH, VALUES, EXPLAIN, SHOW or DESCRIBE statement",
			strings.ToUpper(sql[first.Start:first.End]))
	}
	for i, t := range tokens {
		switch next := tokens[i+1:]; {
		// A table function may pass SQL on to another database, which runs whatever it is.
		case t.Is("table") && startsWith(next, "("):
			return refuseSQL("table functions are not supported")
		// What was erased is in older snapshots until they expire.
		case t.Is("for") && len(next) > 0 && startsWith(next[1:], "as", "of"):
			return refuseSQL("older snapshots can't be read (FOR %s AS OF): filter on received_at", strings.ToUpper(next[0].Lower))
		// These tell where the data lie.
		case t.Kind == sqllex.Quoted && hidden.MatchString(sql[t.Start:t.End]):
			return refuseSQL("Athena's hidden columns and metadata tables, such as %s, can't be read", sql[t.Start:t.End])
		}
	}
	return nil
}

// hidden are names of hidden columns and of metadata tables
// (https://docs.aws.amazon.com/athena/latest/ug/querying-iceberg-table-metadata.html).
var hidden = regexp.MustCompile(`(?i)^"(\$[a-z_]+|` + schemas.LakeTable + `\$[a-z_]*)"$`)

func startsWith(tokens []sqllex.Token, words ...string) bool {
	for i, word := range words {
		if i >= len(tokens) || !tokens[i].Is(word) {
			return false
		}
	}
	return true
}

// explained are the tokens behind EXPLAIN and its options.
func explained(tokens []sqllex.Token) []sqllex.Token {
	tokens = tokens[1:]
	for len(tokens) > 0 && (tokens[0].Is("analyze") || tokens[0].Is("verbose")) {
		tokens = tokens[1:]
	}
	if len(tokens) > 1 && tokens[0].Is("(") && (tokens[1].Is("format") || tokens[1].Is("type")) {
		return behind(tokens)
	}
	return tokens
}

// behind are the tokens behind the parentheses that open at the first; none where they don't close, so that the statement is refused
// and nothing is looked at twice.
func behind(tokens []sqllex.Token) []sqllex.Token {
	shut := sqllex.Closing(tokens, 0)
	if shut < 0 {
		return nil
	}
	return tokens[shut+1:]
}

// afterWith are the tokens behind WITH and the tables that it names, as far as they are what Trino's grammar has there.
func afterWith(tokens []sqllex.Token) []sqllex.Token {
	tokens = tokens[1:]
	if len(tokens) > 0 && tokens[0].Is("recursive") {
		tokens = tokens[1:]
	}
	for len(tokens) > 1 {
		tokens = tokens[1:] // the name
		if tokens[0].Is("(") {
			tokens = behind(tokens)
		}
		if len(tokens) < 2 || !tokens[0].Is("as") || !tokens[1].Is("(") {
			break
		}
		tokens = behind(tokens[1:])
		if len(tokens) == 0 || !tokens[0].Is(",") {
			break
		}
		tokens = tokens[1:]
	}
	return tokens
}

// literals makes SQL literals of parameters, which Athena takes for expressions: text must be quoted
// (https://docs.aws.amazon.com/athena/latest/ug/querying-with-prepared-statements.html).
func literals(parameters []string) ([]string, error) {
	var quoted []string // nil for none: Athena refuses an empty list
	for i, p := range parameters {
		literal := "'" + strings.ReplaceAll(p, "'", "''") + "'"
		switch {
		case !utf8.ValidString(p) || strings.IndexByte(p, 0) >= 0:
			return nil, refuseSQL("parameter %d is not valid UTF-8, or has a NUL character", i+1)
		case utf8.RuneCountInString(literal) > maxParameter:
			return nil, refuseSQL("parameter %d has over %d characters with its quotes", i+1, maxParameter)
		}
		quoted = append(quoted, literal)
	}
	return quoted, nil
}
