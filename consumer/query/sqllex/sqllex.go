// Package sqllex splits SQL into tokens, as far as who must tell statements apart, or rewrite one, needs them. Engines read the
// same text differently, and what one takes for a comment another may run; so each has a Dialect.
//
// It imports the standard library alone. It knows no grammar: what is not SQL is for a parser to refuse.
package sqllex

import "strings"

// Dialect is in what an engine's tokens differ from standard SQL's.
type Dialect struct {
	// NestedComments: a block comment may hold others. Else the first */ ends it.
	NestedComments bool
	// EscapeStrings: E'text' has escapes that begin with a backslash.
	EscapeStrings bool
	// DollarStrings: $$text$$ and $tag$text$tag$ are strings.
	DollarStrings bool
}

// Kind sorts tokens.
type Kind int

// The kinds of tokens.
const (
	Word   Kind = iota // keyword or unquoted identifier
	Quoted             // "identifier"
	String             // 'text', also with a prefix: X'00', and where the dialect has them E'\n' and $$text$$
	Number
	Symbol // one character of anything else
)

// Token is text[Start:End] of a statement.
type Token struct {
	Kind       Kind
	Start, End int
	// Lower is the text in lower case, of words and symbols.
	Lower string
}

// Is reports whether the token is a word or a symbol, given in lower case.
func (t Token) Is(lower string) bool {
	return t.Lower == lower && t.Kind != Quoted && t.Kind != String
}

// Tokens splits SQL into tokens without white space and comments. It accepts anything. A string, quoted identifier or comment that
// does not end runs to the end of the text.
func (d Dialect) Tokens(sql string) []Token {
	var tokens []Token
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
			i++
		case strings.HasPrefix(sql[i:], "--"):
			i = afterLine(sql, i)
		case strings.HasPrefix(sql[i:], "/*"):
			i = d.afterComment(sql, i)
		default:
			t := d.scan(sql, i)
			if t.Kind == Word || t.Kind == Symbol {
				t.Lower = strings.ToLower(sql[t.Start:t.End])
			}
			tokens = append(tokens, t)
			i = t.End
		}
	}
	return tokens
}

func (d Dialect) scan(sql string, i int) Token {
	c := sql[i]
	switch {
	case c == '\'':
		return Token{Kind: String, Start: i, End: afterQuote(sql, i, '\'', false)}
	case c == '"':
		return Token{Kind: Quoted, Start: i, End: afterQuote(sql, i, '"', false)}
	case (c == 'x' || c == 'X') && i+1 < len(sql) && sql[i+1] == '\'':
		return Token{Kind: String, Start: i, End: afterQuote(sql, i+1, '\'', false)}
	case d.EscapeStrings && (c == 'e' || c == 'E') && i+1 < len(sql) && sql[i+1] == '\'':
		return Token{Kind: String, Start: i, End: afterQuote(sql, i+1, '\'', true)}
	case isWordStart(c):
		end := i + 1
		for end < len(sql) && (isWordStart(sql[end]) || isDigit(sql[end]) || sql[end] == '$') {
			end++
		}
		return Token{Kind: Word, Start: i, End: end}
	case isDigit(c) || c == '.' && i+1 < len(sql) && isDigit(sql[i+1]):
		end := i + 1
		for end < len(sql) && (isWordStart(sql[end]) || isDigit(sql[end]) || sql[end] == '.') {
			end++
		}
		return Token{Kind: Number, Start: i, End: end}
	case d.DollarStrings && c == '$':
		if end, ok := afterDollarQuote(sql, i); ok {
			return Token{Kind: String, Start: i, End: end}
		}
	}
	return Token{Kind: Symbol, Start: i, End: i + 1}
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

// afterLine is the index after the end of the line, which is \r as well: to DuckDB and to Trino.
func afterLine(sql string, from int) int {
	if i := strings.IndexAny(sql[from:], "\r\n"); i >= 0 {
		return from + i + 1
	}
	return len(sql)
}

// afterComment is the index after the block comment at i.
func (d Dialect) afterComment(sql string, i int) int {
	if !d.NestedComments {
		return afterOr(sql, i+len("/*"), "*/")
	}
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

// AfterText is the index after the ' that closes the one at i; two of them stand for one.
func AfterText(text string, i int) int { return afterQuote(text, i, '\'', false) }

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

// Closing is the index of the token that closes the parenthesis at tokens[open], or -1.
func Closing(tokens []Token, open int) int {
	depth := 0
	for i := open; i < len(tokens); i++ {
		switch {
		case tokens[i].Is("("):
			depth++
		case tokens[i].Is(")"):
			depth--
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

// TopLevel lists the tokens between open and shut that are the given word or symbol and stand in no inner parenthesis
// or bracket.
func TopLevel(tokens []Token, open, shut int, lower string) []int {
	var found []int
	depth := 0
	for i := open + 1; i < shut; i++ {
		switch {
		case depth == 0 && tokens[i].Is(lower):
			found = append(found, i)
		case tokens[i].Is("("), tokens[i].Is("["):
			depth++
		case tokens[i].Is(")"), tokens[i].Is("]"):
			depth--
		}
	}
	return found
}
