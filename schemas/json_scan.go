package schemas

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// nesting remembers for each level of depth whether it is an object (bit set) or an array.
type nesting [(MaxDepth+1)/64 + 1]uint64

func (n *nesting) open(depth int, object bool) {
	word, bit := &n[uint(depth)/64%uint(len(n))], uint64(1)<<(uint(depth)%64)
	if object {
		*word |= bit
	} else {
		*word &^= bit
	}
}

func (n *nesting) isObject(depth int) bool {
	return n[uint(depth)/64%uint(len(n))]>>(uint(depth)%64)&1 != 0
}

// scanValue checks the value that is expected at b[i], or after whitespace, nested at most as deep as deepest, which is
// at most MaxDepth+1. It gives the index after the value. It does not recurse: the body decides the depth, and a stack
// overflow can't be recovered from.
func scanValue(b []byte, i, deepest int) (int, *JSONError) {
	var levels nesting
	var fault *JSONError
	depth, object := 0, false // object: the innermost open level is an object
	for {
		if object {
			if i, fault = scanName(b, i); fault != nil {
				return 0, fault
			}
		}
		i = space(b, i)
		if i >= len(b) {
			return 0, expected(b, i, "a value")
		}
		switch c := b[i]; c {
		case '"':
			i, fault = scanString(b, i+1)
		case '{', '[':
			if depth == deepest {
				return 0, tooDeep(i)
			}
			i = space(b, i+1)
			if i < len(b) && b[i] == c+2 { // the closing bracket, of an empty object or array
				i++
				break
			}
			depth++
			object = c == '{'
			levels.open(depth, object)
			continue
		case 't', 'f', 'n':
			i, fault = scanLiteral(b, i)
		default:
			i, fault = scanNumber(b, i)
		}
		if fault != nil {
			return 0, fault
		}
		// After a value: close what ends here, up to the comma before the next one.
		for {
			if depth == 0 {
				return i, nil
			}
			i = space(b, i)
			if i < len(b) && b[i] == ',' {
				i++
				break
			}
			if i >= len(b) || b[i] != closing(object) {
				return 0, unfinished(b, i, object)
			}
			i++
			depth--
			object = levels.isObject(depth)
		}
	}
}

func closing(object bool) byte {
	if object {
		return '}'
	}
	return ']'
}

func tooDeep(i int) *JSONError {
	return &JSONError{Offset: i, Reason: fmt.Sprintf("arrays and objects are nested more than %d deep", MaxDepth)}
}

func unfinished(b []byte, i int, object bool) *JSONError {
	if object {
		return expected(b, i, "',' or '}' after a member of an object")
	}
	return expected(b, i, "',' or ']' after an element of an array")
}

// scanName checks the name of a member that is expected at b[i], or after whitespace, and its colon, and gives the index
// after the colon.
func scanName(b []byte, i int) (int, *JSONError) {
	i = space(b, i)
	if i >= len(b) || b[i] != '"' {
		return 0, expected(b, i, "a member's name in double quotes")
	}
	// Names are short: byte by byte is faster here than eight at a time.
	if i = plainBytes(b, i+1); i < len(b) && b[i] == '"' {
		i++
	} else {
		var fault *JSONError
		if i, fault = scanString(b, i); fault != nil {
			return 0, fault
		}
	}
	i = space(b, i)
	if i >= len(b) || b[i] != ':' {
		return 0, expected(b, i, "':' after a member's name")
	}
	return i + 1, nil
}

// scanLiteral checks the literal whose first letter is at b[i].
func scanLiteral(b []byte, i int) (int, *JSONError) {
	literal := "true"
	switch b[i] {
	case 'f':
		literal = "false"
	case 'n':
		literal = "null"
	}
	if len(b)-i >= len(literal) && string(b[i:i+len(literal)]) == literal {
		return i + len(literal), nil
	}
	for j := range len(literal) {
		if i+j >= len(b) || b[i+j] != literal[j] {
			i += j
			break
		}
	}
	return 0, expected(b, i, literal)
}

// scanNumber checks the number that is expected at b[i], as nothing else can be a value there; i is within b.
func scanNumber(b []byte, i int) (int, *JSONError) {
	if b[i] == '-' {
		i++
		if i >= len(b) || !isDigit(b[i]) {
			return 0, expected(b, i, "a digit after '-'")
		}
	} else if !isDigit(b[i]) {
		return 0, expected(b, i, "a value")
	}
	if b[i] == '0' {
		i++
		if i < len(b) && isDigit(b[i]) {
			return 0, &JSONError{Offset: i, Reason: "expected a number without leading zeros, found a digit after 0"}
		}
	} else {
		i = digits(b, i+1)
	}
	if i < len(b) && b[i] == '.' {
		i++
		if i >= len(b) || !isDigit(b[i]) {
			return 0, expected(b, i, "a digit after the decimal point")
		}
		i = manyDigits(b, i+1)
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i >= len(b) || !isDigit(b[i]) {
			return 0, expected(b, i, "a digit in the exponent")
		}
		i = digits(b, i+1)
	}
	return i, nil
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// digits gives the index after a run of digits.
func digits(b []byte, i int) int {
	for j, c := range b[i:] {
		if !isDigit(c) {
			return i + j
		}
	}
	return len(b)
}

// manyDigits is digits for a run that is probably long and of any length: eight at a time, without a branch per digit.
func manyDigits(b []byte, i int) int {
	for len(b)-i >= 8 {
		// A digit becomes 0 to 9, anything else more; adding 0x76 or being above 0x7F shows it in the highest bit.
		x := binary.LittleEndian.Uint64(b[i:]) ^ '0'*eachByte
		if other := (x | (x + 0x76*eachByte)) & eachHigh; other != 0 {
			return i + bits.TrailingZeros64(other)/8
		}
		i += 8
	}
	return digits(b, i)
}

// space gives the index of the first byte from i that is not whitespace.
func space(b []byte, i int) int {
	if i < len(b) && b[i] <= ' ' {
		return skipSpace(b, i)
	}
	return i
}

// skipSpace is space for a byte that is probably whitespace: eight spaces at a time, since indentation is long.
func skipSpace(b []byte, i int) int {
	for len(b)-i >= 8 {
		other := binary.LittleEndian.Uint64(b[i:]) ^ (' ' * eachByte)
		if other == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(other) / 8
		if c := b[i]; c != '\n' && c != '\r' && c != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}
