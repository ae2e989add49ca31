package httpapi

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"penstock/schemas"
)

// requestAttributes reads what the request itself says about its events: ce-* headers (CloudEvents HTTP binding 1.0.2,
// section 3.1.3) and the query. Saying something twice and differently is refused. With format formatJSON the
// Content-Type is the event's.
func requestAttributes(h *fasthttp.RequestHeader, form format) (schemas.Attributes, error) {
	var a schemas.Attributes
	for key, value := range h.All() {
		if len(key) < 3 || !strings.EqualFold(string(key[:3]), "ce-") {
			continue
		}
		name := strings.ToLower(string(key[3:]))
		text, err := decodeHeader(string(value))
		if err == nil {
			err = setAttribute(&a, name, text)
		}
		if err != nil {
			return a, fmt.Errorf("header ce-%.64s: %w", name, err)
		}
	}
	if target := h.RequestURI(); bytes.IndexByte(target, '?') >= 0 {
		_, text := splitTarget(string(target))
		query, err := queryAttributes(text)
		if err != nil {
			return a, err
		}
		if err := merge(&a, &query, "the query"); err != nil {
			return a, err
		}
	}
	if form == formatJSON {
		declared := schemas.Attributes{ContentType: contentType(h)}
		if err := merge(&a, &declared, "the Content-Type"); err != nil {
			return a, err
		}
	}
	return a, a.Validate()
}

// queryAttributes reads ?type=&source=&subject=&partitionkey=. Any other parameter is refused, because a misspelt one
// would be lost without a word.
func queryAttributes(query string) (schemas.Attributes, error) {
	var a schemas.Attributes
	if query == "" {
		return a, nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return a, refuse(invalidParameter, "The query is not well-formed: percent-encode what is not a letter or a digit.")
	}
	for name, given := range values {
		switch name {
		case "type", "source", "subject", "partitionkey":
		default:
			return a, refuse(invalidParameter,
				"The query knows type, source, subject and partitionkey; send other attributes as ce-* headers.")
		}
		if len(given) > 1 {
			return a, refuse(invalidParameter, "The query has the parameter "+name+" more than once.")
		}
		if err := setAttribute(&a, name, given[0]); err != nil {
			return a, fmt.Errorf("query: %w", err)
		}
	}
	return a, nil
}

// setAttribute sets an attribute that must not be set yet. Names and values are checked by ingest, all but those that
// have no place in schemas.Attributes.
func setAttribute(a *schemas.Attributes, name, value string) error {
	if value == "" {
		return fmt.Errorf("%w %.64q: must not be empty", schemas.ErrAttribute, name)
	}
	if name == "specversion" {
		if value != "1.0" {
			return fmt.Errorf(`%w "specversion": must be 1.0`, schemas.ErrAttribute)
		}
		return nil
	}
	if place := a.Field(name); place != nil {
		if *place != "" {
			return fmt.Errorf("%w %q: is there twice", schemas.ErrAttribute, name)
		}
		*place = value
		return nil
	}
	if _, twice := a.Extensions[name]; twice {
		return fmt.Errorf("%w %.64q: is there twice", schemas.ErrAttribute, name)
	}
	if a.Extensions == nil {
		a.Extensions = make(map[string]string)
	}
	a.Extensions[name] = value
	return nil
}

// attributeNames are those that schemas.Attributes has a field for.
var attributeNames = [...]string{
	"id", "type", "source", "subject", "time", "datacontenttype", "dataschema", "partitionkey",
}

// merge adds what from says to a; where both say something they must agree.
func merge(a, from *schemas.Attributes, where string) error {
	for _, name := range attributeNames {
		value := *from.Field(name)
		place := a.Field(name)
		if value != "" && *place != "" && value != *place {
			return differs(name, where)
		}
		if value != "" {
			*place = value
		}
	}
	for name, value := range from.Extensions {
		if there, ok := a.Extensions[name]; ok && there != value {
			return differs(name, where)
		}
		if a.Extensions == nil {
			a.Extensions = make(map[string]string)
		}
		a.Extensions[name] = value
	}
	return nil
}

func differs(name, where string) error {
	return fmt.Errorf("%w %.64q: %s gives another value than the ce-%.64s header or the event", schemas.ErrAttribute, name,
		where, name)
}

// decodeHeader gives the attribute that a ce-* header stands for: a quoted string is unquoted (older versions of
// CloudEvents), then one round of percent-decoding.
func decodeHeader(value string) (string, error) {
	value = strings.Trim(value, " \t")
	if strings.HasPrefix(value, `"`) {
		unquoted, ok := unquoteHeader(value)
		if !ok {
			return "", fmt.Errorf("%w: the quoted string is not closed, or something follows it", schemas.ErrAttribute)
		}
		value = unquoted
	}
	decoded := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '%' {
			if i+2 >= len(value) || unhex(value[i+1]) < 0 || unhex(value[i+2]) < 0 {
				return "", fmt.Errorf("%w: %% at byte %d is not followed by two hex digits; write a percent sign as %%25",
					schemas.ErrAttribute, i)
			}
			c = byte(unhex(value[i+1])<<4 | unhex(value[i+2]))
			i += 2
		}
		decoded = append(decoded, c)
	}
	if !utf8.Valid(decoded) {
		return "", fmt.Errorf("%w: is not UTF-8 after percent-decoding", schemas.ErrAttribute)
	}
	return string(decoded), nil
}

// unquoteHeader unquotes a quoted-string (RFC 9110, section 5.6.4).
func unquoteHeader(value string) (string, bool) {
	plain := make([]byte, 0, len(value))
	for i := 1; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			return string(plain), i == len(value)-1
		case c == '\\' && i+1 < len(value):
			i++
			plain = append(plain, value[i])
		default:
			plain = append(plain, c)
		}
	}
	return "", false
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// encodeHeader is the reverse of decodeHeader: space, double quote, percent and everything outside of printable ASCII
// are percent-encoded (CloudEvents HTTP binding 1.0.2, section 3.1.3.2).
func encodeHeader(value string) string {
	const hexDigits = "0123456789ABCDEF"
	var encoded []byte // nil as long as it would be the same
	for i := range len(value) {
		c := value[i]
		plain := c > ' ' && c < 0x7F && c != '"' && c != '%'
		switch {
		case plain && encoded == nil:
		case plain:
			encoded = append(encoded, c)
		default:
			if encoded == nil {
				encoded = append(make([]byte, 0, len(value)+16), value[:i]...)
			}
			encoded = append(encoded, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	if encoded == nil {
		return value
	}
	return string(encoded)
}
