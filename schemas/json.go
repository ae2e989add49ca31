package schemas

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// JSONError says why a body is not acceptable JSON.
type JSONError struct {
	// Offset is the 0-based index of the offending byte; len(body) when the body ends too early.
	Offset int
	// Reason is for people, and never quotes the body beyond one character.
	Reason string
}

func (e *JSONError) Error() string {
	return fmt.Sprintf("malformed JSON at byte %d: %s", e.Offset, e.Reason)
}

// ValidateJSON checks that b is exactly one JSON value by RFC 8259, in valid UTF-8, nested at most MaxDepth deep. It
// needs constant stack whatever the input. The error is a *JSONError.
//
// An escaped surrogate without its partner ("\ud800") is within the RFC's grammar and accepted; a byte order mark is not
// (RFC 8259, section 8.1).
func ValidateJSON(b []byte) error {
	i, fault := openDocument(b)
	if fault == nil {
		i, fault = scanValue(b, i, MaxDepth)
	}
	if fault == nil {
		fault = closeDocument(b, i)
	}
	if fault != nil {
		return fault
	}
	return nil
}

// openDocument gives the index of the first byte that is not whitespace.
func openDocument(b []byte) (int, *JSONError) {
	if bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) {
		return 0, &JSONError{Offset: 0, Reason: "expected a value, found a byte order mark; send UTF-8 without one"}
	}
	return space(b, 0), nil
}

// closeDocument checks that nothing but whitespace follows at i, after the document's value.
func closeDocument(b []byte, i int) *JSONError {
	i = space(b, i)
	if i == len(b) {
		return nil
	}
	if startsValue(b[i]) {
		return &JSONError{Offset: i, Reason: "expected the end, found a second value; a body is exactly one JSON value"}
	}
	return expected(b, i, "the end after the value")
}

// startsValue reports whether a JSON value may begin with c.
func startsValue(c byte) bool {
	switch c {
	case '{', '[', '"', '-', 't', 'f', 'n':
		return true
	default:
		return isDigit(c)
	}
}

// expected is the error of a byte, or an end, that the grammar does not allow at i.
func expected(b []byte, i int, what string) *JSONError {
	return &JSONError{Offset: i, Reason: "expected " + what + ", found " + describe(b, i)}
}

// describe names the character at b[i] for people.
func describe(b []byte, i int) string {
	if i >= len(b) {
		return "the end"
	}
	r, size := utf8.DecodeRune(b[i:])
	if (r == utf8.RuneError && size == 1) || !unicode.IsPrint(r) {
		return fmt.Sprintf("the byte 0x%02X", b[i])
	}
	return strconv.QuoteRune(r)
}
