package schemas

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	eachByte = 0x0101010101010101 // times a byte: that byte eight times
	eachHigh = 0x80 * eachByte
)

// scanString checks a string from b[i], after its opening quote, and gives the index after its closing quote.
func scanString(b []byte, i int) (int, *JSONError) {
	for {
		i = plain(b, i)
		if i < len(b) && b[i] == '"' {
			return i + 1, nil
		}
		var fault *JSONError
		if i, fault = scanSpecial(b, i); fault != nil {
			return 0, fault
		}
	}
}

// plain gives the index of the first byte from i that is no ASCII character which stands for itself in a string.
func plain(b []byte, i int) int {
	for len(b)-i >= 8 {
		special := specials(binary.LittleEndian.Uint64(b[i:]))
		if special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
		i += 8
	}
	return plainBytes(b, i)
}

// plainBytes is plain, byte by byte.
func plainBytes(b []byte, i int) int {
	for j, c := range b[i:] {
		if !plainByte[c] {
			return i + j
		}
	}
	return len(b)
}

// specials marks the bytes of w that are no ASCII characters that stand for themselves in a string. Only the lowest mark
// is sure.
func specials(w uint64) uint64 {
	// In each byte the highest bit becomes 1 for a byte >= 0x80 (w itself), < 0x20, '"' or '\\' (the subtraction goes
	// below zero). A borrow disturbs higher bytes only.
	return (w | (w - ' '*eachByte) | ((w ^ '"'*eachByte) - eachByte) | ((w ^ '\\'*eachByte) - eachByte)) & eachHigh
}

// plainByte has the ASCII characters that stand for themselves in a string.
var plainByte = func() (table [256]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// scanSpecial checks what stands in a string at b[i] and is neither plain nor the closing quote, and gives the index
// after it.
func scanSpecial(b []byte, i int) (int, *JSONError) {
	switch {
	case i >= len(b):
		return 0, expected(b, i, `'"' at the end of a string`)
	case b[i] == '\\':
		return scanEscape(b, i+1)
	case b[i] < ' ':
		return 0, &JSONError{Offset: i,
			Reason: fmt.Sprintf("expected control characters in a string to be escaped, found the byte 0x%02X", b[i])}
	default:
		return scanMultibyte(b, i)
	}
}

// scanMultibyte checks the run of UTF-8 sequences of two to four bytes at b[i].
func scanMultibyte(b []byte, i int) (int, *JSONError) {
	for i < len(b) && b[i] >= utf8.RuneSelf {
		// Three bytes are what most scripts beyond Latin, Greek, Cyrillic and Semitic ones use.
		if len(b)-i >= 3 && isThreeBytes(b[i], b[i+1], b[i+2]) {
			i += 3
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return 0, &JSONError{Offset: i, Reason: fmt.Sprintf("expected UTF-8, found the byte 0x%02X", b[i])}
		}
		i += size
	}
	return i, nil
}

// isThreeBytes reports whether the bytes are a sequence from U+1000 to U+CFFF, so neither overlong nor a surrogate.
func isThreeBytes(first, second, third byte) bool {
	return first-0xE1 < 0xED-0xE1 && second&0xC0 == 0x80 && third&0xC0 == 0x80
}

// scanEscape checks the escape sequence whose backslash stands before b[i], and gives the index after it.
func scanEscape(b []byte, i int) (int, *JSONError) {
	if i < len(b) {
		switch b[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			return i + 1, nil
		case 'u':
			return scanHex4(b, i+1)
		}
	}
	return 0, expected(b, i, `one of "\/bfnrtu after a backslash`)
}

func isHex(c byte) bool { return isDigit(c) || (c|0x20)-'a' < 6 }

// unescape gives the text of a scanned string, without its quotes. It is false when a surrogate lacks its partner, which
// has no form in UTF-8.
func unescape(s []byte) (string, bool) {
	i := bytes.IndexByte(s, '\\')
	if i < 0 {
		return intern(s), true
	}
	text := append(make([]byte, 0, len(s)), s[:i]...)
	for i < len(s) {
		if s[i] != '\\' {
			text = append(text, s[i])
			i++
			continue
		}
		c := s[i+1]
		i += 2
		if c != 'u' {
			text = append(text, unescaped(c))
			continue
		}
		r := hex4(s[i:])
		i += 4
		if utf16.IsSurrogate(r) {
			if len(s)-i < 6 || s[i] != '\\' || s[i+1] != 'u' {
				return "", false
			}
			if r = utf16.DecodeRune(r, hex4(s[i+2:])); r == utf8.RuneError {
				return "", false
			}
			i += 6
		}
		text = utf8.AppendRune(text, r)
	}
	return string(text), true
}

// intern is string(s), without an allocation for what stands in nearly every event.
func intern(s []byte) string {
	switch string(s) {
	case DefaultType:
		return DefaultType
	case DefaultSource:
		return DefaultSource
	case DefaultContentType:
		return DefaultContentType
	default:
		return string(s)
	}
}

// unescaped is what a backslash and c stand for.
func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default:
		return c
	}
}

func scanHex4(b []byte, i int) (int, *JSONError) {
	for end := i + 4; i < end; i++ {
		if i >= len(b) || !isHex(b[i]) {
			return 0, expected(b, i, `four hexadecimal digits after \u`)
		}
	}
	return i, nil
}

// hex4 reads four hexadecimal digits that scanHex4 has seen.
func hex4(s []byte) rune {
	var r rune
	for _, c := range s[:4] {
		if isDigit(c) {
			c -= '0'
		} else {
			c = (c | 0x20) - 'a' + 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
