package local

import (
	"fmt"
	"strings"
	"unicode"
)

// checkJSONPath accepts the JSON paths that Trino's json_extract accepts: $, then .key, ["key"] or [index]
// (https://trino.io/docs/current/functions/json.html#json-extract). DuckDB would read others too, or take a path that
// does not begin with $ for a key, and quietly answer NULL.
func checkJSONPath(path string) error {
	bad := func(at int, reason string) error {
		return fmt.Errorf("JSON path '%s': %s at character %d; write $.key, $[\"key\"] and $[index]", path, reason, at+1)
	}
	if !strings.HasPrefix(path, "$") {
		return bad(0, "no $")
	}
	for i := 1; i < len(path); {
		rest := path[i:]
		switch {
		case strings.HasPrefix(rest, ".."):
			return bad(i, "recursive descent (..)")
		case strings.HasPrefix(rest, ".*"), strings.HasPrefix(rest, "[*]"):
			return bad(i, "wildcard (*)")
		case strings.HasPrefix(rest, "[?"):
			return bad(i, "filter ([?…])")
		case strings.HasPrefix(rest, `["`):
			end := quotedKeyEnd(rest)
			if end < 0 {
				return bad(i, `[" without "]`)
			}
			i += end
		case strings.HasPrefix(rest, "["):
			end := strings.IndexByte(rest, ']')
			if end < 2 || strings.Trim(rest[1:end], "0123456789") != "" {
				return bad(i, "[ without a number or quoted key")
			}
			i += end + 1
		case strings.HasPrefix(rest, "."):
			end := 1 + keyLength(rest[1:])
			if end == 1 {
				return bad(i, "no key after the point")
			}
			i += end
		default:
			return bad(i, fmt.Sprintf("unexpected %q", []rune(rest)[0]))
		}
	}
	return nil
}

// quotedKeyEnd is the length of ["key"] at the start of s, or -1.
func quotedKeyEnd(s string) int {
	for i := 2; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.HasPrefix(s[i:], `"]`):
			return i + 2
		}
	}
	return -1
}

// keyLength is the length of the unquoted key at the start of s.
func keyLength(s string) int {
	for i, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-:/@|# $<>", r) {
			return i
		}
	}
	return len(s)
}
