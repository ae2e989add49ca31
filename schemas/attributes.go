package schemas

import (
	"fmt"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"
)

const (
	// maxNameLength is the longest name of an extension. CloudEvents recommends at most 20 characters; longer names
	// are in use and do no harm.
	maxNameLength = 64
	// reservedAttributes is the part of MaxAttributes that is kept for what Penstock adds: id, receivedtime, size,
	// sha256, dataref, tenant, redelivered, specversion, and the defaults.
	reservedAttributes = 1 << 10
)

// Field is where the attribute of the given CloudEvents name is kept, or nil when it is an extension.
func (a *Attributes) Field(name string) *string {
	switch name {
	case "id":
		return &a.ID
	case "type":
		return &a.Type
	case "source":
		return &a.Source
	case "subject":
		return &a.Subject
	case "time":
		return &a.Time
	case "datacontenttype":
		return &a.ContentType
	case "dataschema":
		return &a.DataSchema
	case "partitionkey":
		return &a.PartitionKey
	default:
		return nil
	}
}

// Validate checks names, characters, formats and the total size (MaxAttributes, less 1 KiB that Penstock's own
// attributes need). The error matches ErrAttribute. Names and characters are those of the CloudEvents specification,
// sections "Naming Conventions" and "Type System"; a name has at most 64 characters. The content type must be one of
// JSON, since every body is JSON.
func (a *Attributes) Validate() error {
	size := 0
	for _, attribute := range [...]struct {
		name, value string
		check       func(string) error
	}{
		{"originid", a.ID, nil}, // encoded under this name; in messages it is "id"
		{"type", a.Type, nil},
		{"source", a.Source, checkURIReference},
		{"subject", a.Subject, nil},
		{"time", a.Time, checkTimestamp},
		{"datacontenttype", a.ContentType, checkJSONType},
		{"dataschema", a.DataSchema, checkURI},
		{"partitionkey", a.PartitionKey, nil},
	} {
		if attribute.value == "" {
			continue
		}
		size += encodedMember(attribute.name, attribute.value)
		err := checkCharacters(attribute.value)
		if err == nil && attribute.check != nil {
			err = attribute.check(attribute.value)
		}
		if err != nil {
			if attribute.name == "originid" {
				attribute.name = "id"
			}
			return unsuitable(attribute.name, err.Error())
		}
	}
	for name, value := range a.Extensions {
		size += encodedMember(name, value)
		if err := checkExtension(name, value); err != nil {
			return err
		}
	}
	if size > MaxAttributes-reservedAttributes {
		return fmt.Errorf("%w: all attributes together take up %d bytes, at most %d are allowed", ErrAttribute, size,
			MaxAttributes-reservedAttributes)
	}
	return nil
}

// unsuitable is an ErrAttribute about one attribute.
func unsuitable(name, problem string) error {
	if len(name) > maxNameLength {
		name = strings.ToValidUTF8(name[:maxNameLength], "") + "…"
	}
	return fmt.Errorf("%w %q: %s", ErrAttribute, name, problem)
}

// encodedMember is the size of a member in an encoded event, with its comma. It expects no control characters.
func encodedMember(name, value string) int {
	return len(`,"":""`) + len(name) + len(value) + strings.Count(value, `"`) + strings.Count(value, `\`)
}

func checkExtension(name, value string) error {
	if owner := ownerOf(name); owner != ownedByClient {
		return unsuitable(name, "is not an extension's name: "+string(owner))
	}
	if !isName(name) {
		return unsuitable(name, fmt.Sprintf("a name is 1 to %d characters of a-z and 0-9", maxNameLength))
	}
	if err := checkCharacters(value); err != nil {
		return unsuitable(name, err.Error())
	}
	return nil
}

// owner says who gives an attribute its meaning.
type owner string

const (
	ownedByClient      owner = ""
	ownedByCloudEvents owner = "CloudEvents defines it"
	ownedByPenstock    owner = "Penstock sets it"
)

// ownerOf knows all members of an encoded event that are not extensions.
func ownerOf(name string) owner {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "partitionkey",
		"data":
		return ownedByCloudEvents
	case "dataref", "receivedtime", "size", "sha256", "originid", "tenant", "redelivered":
		return ownedByPenstock
	default:
		return ownedByClient
	}
}

// isName reports whether s is a name by CloudEvents' "Naming Conventions".
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && c-'a' > 'z'-'a' {
			return false
		}
	}
	return s != "" && len(s) <= maxNameLength
}

// checkCharacters checks what CloudEvents' "Type System" asks of a String: no control characters, surrogates or
// noncharacters.
func checkCharacters(s string) error {
	for i, r := range s {
		if r >= ' ' && r < 0x7F {
			continue
		}
		switch {
		case r < ' ' || (r >= 0x7F && r <= 0x9F):
			return fmt.Errorf("control character U+%04X is not allowed", r)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			return fmt.Errorf("must be UTF-8, found the byte 0x%02X", s[i])
		case (r >= 0xFDD0 && r <= 0xFDEF) || r&0xFFFE == 0xFFFE:
			return fmt.Errorf("noncharacter U+%04X is not allowed", r)
		}
	}
	return nil
}

func checkTimestamp(s string) error {
	_, err := parseTimestamp(s)
	return err
}

// checkJSONType accepts the media types that CloudEvents' JSON format calls JSON: subtype json, or suffix +json
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md, section 3.1).
func checkJSONType(s string) error {
	if s == DefaultContentType {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(s)
	_, subtype, found := strings.Cut(mediaType, "/")
	if err != nil || !found || (subtype != "json" && !strings.HasSuffix(subtype, "+json")) {
		return fmt.Errorf("must be a media type of JSON: application/json or one that ends in +json")
	}
	return nil
}

// checkURIReference checks a URI-reference (RFC 3986, section 4.1).
func checkURIReference(s string) error {
	if s == DefaultSource {
		return nil
	}
	_, err := parseURI(s)
	return err
}

// checkURI checks a URI with its scheme.
func checkURI(s string) error {
	u, err := parseURI(s)
	if err != nil {
		return err
	}
	if u.Scheme == "" {
		return fmt.Errorf("must be a URI that begins with its scheme, as in https://example.com/schema")
	}
	return nil
}

// parseURI is stricter than url.Parse, which takes characters that RFC 3986 asks to be percent-encoded.
func parseURI(s string) (*url.URL, error) {
	for i := range len(s) {
		c := s[i]
		if c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			continue
		}
		if !isURICharacter(c) {
			return nil, fmt.Errorf("must be a URI (RFC 3986): percent-encode the character at byte %d", i)
		}
	}
	u, err := url.Parse(s)
	if err != nil || strings.Count(s, "#") > 1 {
		return nil, fmt.Errorf("must be a URI (RFC 3986), as in https://example.com/orders or /orders")
	}
	return u, nil
}

// isURICharacter reports whether c is unreserved or reserved (RFC 3986, sections 2.2 and 2.3).
func isURICharacter(c byte) bool {
	return isDigit(c) || (c|0x20)-'a' <= 'z'-'a' || strings.IndexByte("-._~:/?#[]@!$&'()*+,;=", c) >= 0
}
