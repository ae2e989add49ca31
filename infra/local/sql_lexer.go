package local

import "strings"

// tokenKind sorts the tokens of SQL as far as translation needs.
type tokenKind int

const (
	tokenWord   tokenKind = iota // keyword or unquoted identifier
	tokenQuoted                  // "identifier"
	tokenString                  // 'text', also with a prefix: X'00', E'\n'; $$text$$
	tokenNumber
	tokenSymbol // one character of anything else
)

// sqlToken is text[start:end] of a statement.
type sqlToken struct {
	kind       tokenKind
	start, end int
	// lower is the text in lower case, of words and symbols.
	lower string
}

func (t sqlToken) is(lower string) bool {
	return t.lower == lower && t.kind != tokenQuoted && t.kind != tokenString
}

// tokenize splits SQL into tokens without white space and comments. It accepts anything: what is not SQL is for the
// parser to refuse. A string, quoted identifier or comment that does not end runs to the end of the text.
func tokenize(sql string) []sqlToken {
	var tokens []sqlToken
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
			i++
		case strings.HasPrefix(sql[i:], "--"):
			i = afterLine(sql, i)
		case strings.HasPrefix(sql[i:], "/*"):
			i = afterComment(sql, i)
		default:
			t := scanToken(sql, i)
			if t.kind == tokenWord || t.kind == tokenSymbol {
				t.lower = strings.ToLower(sql[t.start:t.end])
			}
			tokens = append(tokens, t)
			i = t.end
		}
	}
	return tokens
}

func scanToken(sql string, i int) sqlToken {
	c := sql[i]
	switch {
	case c == '\'':
		return sqlToken{kind: tokenString, start: i, end: afterQuote(sql, i, '\'', false)}
	case c == '"':
		return sqlToken{kind: tokenQuoted, start: i, end: afterQuote(sql, i, '"', false)}
	case (c == 'x' || c == 'X' || c == 'e' || c == 'E') && i+1 < len(sql) && sql[i+1] == '\'':
		return sqlToken{kind: tokenString, start: i, end: afterQuote(sql, i+1, '\'', c == 'e' || c == 'E')}
	case isWordStart(c):
		end := i + 1
		for end < len(sql) && (isWordStart(sql[end]) || isDigit(sql[end]) || sql[end] == '$') {
			end++
		}
		return sqlToken{kind: tokenWord, start: i, end: end}
	case isDigit(c) || c == '.' && i+1 < len(sql) && isDigit(sql[i+1]):
		end := i + 1
		for end < len(sql) && (isWordStart(sql[end]) || isDigit(sql[end]) || sql[end] == '.') {
			end++
		}
		return sqlToken{kind: tokenNumber, start: i, end: end}
	case c == '$':
		if end, ok := afterDollarQuote(sql, i); ok {
			return sqlToken{kind: tokenString, start: i, end: end}
		}
	}
	return sqlToken{kind: tokenSymbol, start: i, end: i + 1}
}

func isWordStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// afterOr is the index after the next mark, or the end of the text.
func afterOr(sql string, from int, mark string) int {
	if i := strings.Index(sql[from:], mark); i >= 0 {
		return from + i + len(mark)
	}
	return len(sql)
}

// afterLine is the index after the end of the line, which is \r to DuckDB as well.
func afterLine(sql string, from int) int {
	if i := strings.IndexAny(sql[from:], "\r\n"); i >= 0 {
		return from + i + 1
	}
	return len(sql)
}

// afterComment is the index after a block comment; such comments nest.
func afterComment(sql string, i int) int {
	for depth := 0; i < len(sql); {
		switch {
		case strings.HasPrefix(sql[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(sql[i:], "*/"):
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(sql)
}

// afterQuote is the index after the quote that closes the one at i; a doubled quote stands for itself.
func afterQuote(sql string, i int, quote byte, backslash bool) int {
	for i++; i < len(sql); i++ {
		switch {
		case backslash && sql[i] == '\\':
			i++
		case sql[i] == quote && i+1 < len(sql) && sql[i+1] == quote:
			i++
		case sql[i] == quote:
			return i + 1
		}
	}
	return len(sql)
}

// afterDollarQuote recognises $$text$$ and $tag$text$tag$.
func afterDollarQuote(sql string, i int) (int, bool) {
	end := i + 1
	for end < len(sql) && (isWordStart(sql[end]) || end > i+1 && isDigit(sql[end])) {
		end++
	}
	if end >= len(sql) || sql[end] != '$' {
		return 0, false
	}
	tag := sql[i : end+1]
	return afterOr(sql, end+1, tag), true
}

// closingToken is the index of the token that closes the parenthesis at tokens[open], or -1.
func closingToken(tokens []sqlToken, open int) int {
	depth := 0
	for i := open; i < len(tokens); i++ {
		switch {
		case tokens[i].is("("):
			depth++
		case tokens[i].is(")"):
			depth--
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

// topLevelTokens lists the tokens between open and shut that are the given word or symbol and stand in no inner parenthesis
// or bracket.
func topLevelTokens(tokens []sqlToken, open, shut int, lower string) []int {
	var found []int
	depth := 0
	for i := open + 1; i < shut; i++ {
		switch {
		case depth == 0 && tokens[i].is(lower):
			found = append(found, i)
		case tokens[i].is("("), tokens[i].is("["):
			depth++
		case tokens[i].is(")"), tokens[i].is("]"):
			depth--
		}
	}
	return found
}
