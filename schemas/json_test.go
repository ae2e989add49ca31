package schemas_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"penstock/schemas"
)

func TestValidateJSONAccepts(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		`null`, `true`, `false`, `0`, `-0`, `-0.0`, `12`, `1.5e10`, `1E+2`, `0e-0`, `9999999999999999999999`, `""`,
		`{}`, `[]`, ` [ ] `, "\t{ }\r\n", `{"a":1,"a":1}`, `[{},[],{"":[]}]`, `{"a":{"b":[1,{"c":null}]}}`, `"\ud800"`,
		`"\u0000\b\f\n\r\t\/\\\""`, "\"\x7f\"", `"é 語 😀 ` + "\u2028\uFFFF\uFEFF" + `"`, `"\uD83D\uDE00"`,
		"[1 , 2\n,\n        3]", strings.Repeat("[", 1000) + strings.Repeat("]", 1000),
		strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000),
		strings.Repeat(`[{"a":`, 500) + "1" + strings.Repeat("}]", 500),
	} {
		if err := schemas.ValidateJSON([]byte(document)); err != nil {
			t.Errorf("%.60q: %v", document, err)
		}
	}
}

func TestValidateJSONRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		document string
		offset   int
		reason   string
	}{
		{"", 0, "expected a value, found the end"},
		{" \n", 2, "expected a value, found the end"},
		{"\xef\xbb\xbf{}", 0, "expected a value, found a byte order mark; send UTF-8 without one"},
		{"{}{}", 2, "expected the end, found a second value; a body is exactly one JSON value"},
		{"1 2", 2, "expected the end, found a second value; a body is exactly one JSON value"},
		{"{}\n{}\n", 3, "expected the end, found a second value; a body is exactly one JSON value"},
		{"{} x", 3, "expected the end after the value, found 'x'"},
		{"{}]", 2, "expected the end after the value, found ']'"},
		{"\x00", 0, "expected a value, found the byte 0x00"},
		{"é", 0, "expected a value, found 'é'"},
		{"\xff", 0, "expected a value, found the byte 0xFF"},
		{"NaN", 0, "expected a value, found 'N'"},
		{"nul", 3, "expected null, found the end"},
		{"nulL", 3, "expected null, found 'L'"},
		{"trux", 3, "expected true, found 'x'"},
		{"fals", 4, "expected false, found the end"},
		{"-", 1, "expected a digit after '-', found the end"},
		{"-x", 1, "expected a digit after '-', found 'x'"},
		{"+1", 0, "expected a value, found '+'"},
		{"01", 1, "expected a number without leading zeros, found a digit after 0"},
		{"-00", 2, "expected a number without leading zeros, found a digit after 0"},
		{"1.", 2, "expected a digit after the decimal point, found the end"},
		{"[1.]", 3, "expected a digit after the decimal point, found ']'"},
		{".5", 0, "expected a value, found '.'"},
		{"1e", 2, "expected a digit in the exponent, found the end"},
		{"1e+x", 3, "expected a digit in the exponent, found 'x'"},
		{"0x10", 1, "expected the end after the value, found 'x'"},
		{"[", 1, "expected a value, found the end"},
		{"[1", 2, "expected ',' or ']' after an element of an array, found the end"},
		{"[1 2]", 3, "expected ',' or ']' after an element of an array, found '2'"},
		{"[1}", 2, "expected ',' or ']' after an element of an array, found '}'"},
		{"[1,]", 3, "expected a value, found ']'"},
		{"[,1]", 1, "expected a value, found ','"},
		{"{", 1, "expected a member's name in double quotes, found the end"},
		{"{1:2}", 1, "expected a member's name in double quotes, found '1'"},
		{"{'a':2}", 1, `expected a member's name in double quotes, found '\''`},
		{`{"a"}`, 4, "expected ':' after a member's name, found '}'"},
		{`{"a" 1}`, 5, "expected ':' after a member's name, found '1'"},
		{`{"a":}`, 5, "expected a value, found '}'"},
		{`{"a":1,}`, 7, "expected a member's name in double quotes, found '}'"},
		{`{"a":1]`, 6, "expected ',' or '}' after a member of an object, found ']'"},
		{`[{"a":1}`, 8, "expected ',' or ']' after an element of an array, found the end"},
		{`{"a":[1]`, 8, "expected ',' or '}' after a member of an object, found the end"},
		{`"`, 1, `expected '"' at the end of a string, found the end`},
		{`"abcdefghijk`, 12, `expected '"' at the end of a string, found the end`},
		{"\"a\nb\"", 2, "expected control characters in a string to be escaped, found the byte 0x0A"},
		{"\"0123456789\x1f\"", 11, "expected control characters in a string to be escaped, found the byte 0x1F"},
		{`"\x"`, 2, `expected one of "\/bfnrtu after a backslash, found 'x'`},
		{`"\`, 2, `expected one of "\/bfnrtu after a backslash, found the end`},
		{`"\u12g4"`, 5, `expected four hexadecimal digits after \u, found 'g'`},
		{`"\u123"`, 6, `expected four hexadecimal digits after \u, found '"'`},
		{`"\u12`, 5, `expected four hexadecimal digits after \u, found the end`},
		{"\"\x80\"", 1, "expected UTF-8, found the byte 0x80"},
		{"\"abc\xc0\x80\"", 4, "expected UTF-8, found the byte 0xC0"},
		{"\"abc\xe0\x80\x80\"", 4, "expected UTF-8, found the byte 0xE0"},
		{"\"abc\xed\xa0\x80\"", 4, "expected UTF-8, found the byte 0xED"},
		{"\"abc\xf4\x90\x80\x80\"", 4, "expected UTF-8, found the byte 0xF4"},
		{"\"abc\xe2\x82\"", 4, "expected UTF-8, found the byte 0xE2"},
		{"\"abc\xe2\x82", 4, "expected UTF-8, found the byte 0xE2"},
		{strings.Repeat("[", 1001), 1000, "arrays and objects are nested more than 1000 deep"},
		{strings.Repeat(`{"a":`, 1001), 5000, "arrays and objects are nested more than 1000 deep"},
		{strings.Repeat("[", 1000) + "{}" + strings.Repeat("]", 1000), 1000, "arrays and objects are nested more than 1000 deep"},
		{strings.Repeat("[", 1_000_000), 1000, "arrays and objects are nested more than 1000 deep"},
	} {
		err := schemas.ValidateJSON([]byte(c.document))
		var fault *schemas.JSONError
		if !errors.As(err, &fault) {
			t.Errorf("%.60q: got %v, want a JSONError", c.document, err)
			continue
		}
		if fault.Offset != c.offset || fault.Reason != c.reason {
			t.Errorf("%.60q:\n got %d %s\nwant %d %s", c.document, fault.Offset, fault.Reason, c.offset, c.reason)
		}
		if want := fmt.Sprintf("malformed JSON at byte %d: %s", c.offset, c.reason); err.Error() != want {
			t.Errorf("message %q, want %q", err, want)
		}
	}
}

// mixed is a small document that has everything.
const mixed = ` {"a":[1,-2.50e+3,{"":null}],"b\n\u00e9":"語😀 twelve and more plain characters","c":[[],{}],"d":true,` +
	"\n\t\"e\" : false\r\n }  "

// Every truncation, and every replacement of one byte, is judged as encoding/json and unicode/utf8 do.
func TestValidateJSONAgreesOnEveryEdit(t *testing.T) {
	t.Parallel()
	agree(t, []byte(mixed))
	for i := range len(mixed) {
		agree(t, []byte(mixed[:i]))
		agree(t, []byte(mixed[i:]))
		edited := []byte(mixed)
		for c := range 256 {
			edited[i] = byte(c)
			agree(t, edited)
		}
	}
}

func TestValidateJSONAgreesOnCorpus(t *testing.T) {
	t.Parallel()
	for name, document := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agree(t, document)
			agree(t, document[:len(document)/2])
		})
	}
}

func TestValidateJSONAgreesOnEncodedValues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		document, err := json.MarshalIndent(jsonValue(4).Draw(t, "value"), rapid.StringMatching(`[ \t]{0,3}`).Draw(t, "prefix"),
			rapid.StringMatching(` {0,12}`).Draw(t, "indent"))
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas.ValidateJSON(document); err != nil {
			t.Fatalf("%q: %v", document, err)
		}
	})
}

// jsonValue draws values that encoding/json can encode, depth levels deep at most.
func jsonValue(depth int) *rapid.Generator[any] {
	scalars := []*rapid.Generator[any]{
		rapid.String().AsAny(), rapid.Int64().AsAny(), rapid.Float64Range(-1e300, 1e300).AsAny(), rapid.Bool().AsAny(),
		rapid.Just[any](nil),
	}
	if depth == 0 {
		return rapid.OneOf(scalars...)
	}
	inner := rapid.Deferred(func() *rapid.Generator[any] { return jsonValue(depth - 1) })
	return rapid.OneOf(append(scalars,
		rapid.SliceOfN(inner, 0, 6).AsAny(), rapid.MapOfN(rapid.String(), inner, 0, 6).AsAny())...)
}

func FuzzValidateJSON(f *testing.F) {
	for _, seed := range []string{mixed, `"\ud800"`, "\"a\xe2\x82\"", "\xef\xbb\xbf1", `[1,2`, `{"a":1}`, "1 2", `-0.1e-5`,
		strings.Repeat("[", 1001), strings.Repeat("[", 999) + `{"a":{}}` + strings.Repeat("]", 999), `"01234567\"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) { agree(t, b) })
}

// agree checks ValidateJSON against encoding/json and unicode/utf8, and that the offset of an error is where the input
// goes wrong: what stands before it can be completed, what includes it can't.
func agree(t *testing.T, b []byte) {
	t.Helper()
	err := schemas.ValidateJSON(b)
	want := isJSON(b, schemas.MaxDepth)
	if (err == nil) != want {
		t.Fatalf("%.200q: got %v, but encoding/json and utf8 say %v", b, err, want)
	}
	if err == nil {
		return
	}
	var fault *schemas.JSONError
	if !errors.As(err, &fault) || fault.Offset < 0 || fault.Offset > len(b) || fault.Reason == "" {
		t.Fatalf("%.200q: unsuitable error %#v", b, err)
	}
	at := fault.Offset
	if err := schemas.ValidateJSON(b[:at]); err != nil && (!errors.As(err, &fault) || fault.Offset != at) {
		t.Fatalf("%.200q: wrong at %d, but %v", b, at, err)
	}
	if at < len(b) {
		if err := schemas.ValidateJSON(b[:at+1]); !errors.As(err, &fault) || fault.Offset != at {
			t.Fatalf("%.200q: wrong at %d, but with that byte alone: %v", b, at, err)
		}
	}
}

func isJSON(b []byte, depth int) bool { return json.Valid(b) && utf8.Valid(b) && deepest(b) <= depth }

// deepest counts brackets outside of strings.
func deepest(b []byte) int {
	depth, most, inString := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			depth++
			most = max(most, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return most
}
