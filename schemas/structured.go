package schemas

import (
	"fmt"
	"strconv"
)

// ParseStructured reads a client's structured CloudEvent (application/cloudevents+json): its attributes and the bytes
// of its "data" member, aliasing b. "data_base64", no data, a missing required attribute (specversion 1.0, id, source,
// type), or an attribute that only Penstock sets is an ErrAttribute; malformed JSON is a *JSONError.
//
// An attribute that is null counts as not sent, as the JSON format of CloudEvents asks; "data": null is the body null.
// An integer or boolean extension is kept in its string form. The attributes are not validated otherwise: that is
// Attributes.Validate. Any *JSONError goes before any ErrAttribute.
func ParseStructured(b []byte) (Attributes, []byte, error) {
	start, fault := openDocument(b)
	if fault != nil {
		return Attributes{}, nil, fault
	}
	p := structuredParser{object: objectReader{b: b, i: start}, seen: make(map[string]struct{}, 16)}
	for {
		name, found, fault := p.object.next()
		if fault != nil {
			return Attributes{}, nil, fault
		}
		if !found {
			break
		}
		value, fault := p.object.value()
		if fault != nil {
			return Attributes{}, nil, fault
		}
		if p.problem == nil { // else what follows needs to be JSON, nothing more
			p.problem = p.member(name, value)
		}
	}
	if fault := closeDocument(b, p.object.i); fault != nil {
		return Attributes{}, nil, fault
	}
	if err := p.complete(); err != nil {
		return Attributes{}, nil, err
	}
	return p.attributes, p.data, nil
}

// structuredParser gathers the members of a structured CloudEvent.
type structuredParser struct {
	object     objectReader
	attributes Attributes
	data       []byte
	version    bool
	seen       map[string]struct{}
	size       int // of all members but data, about as they will be encoded
	// problem is the first one with an attribute. It is kept until the rest is known to be JSON.
	problem error
}

// longestWritten is how many bytes may be written of what fits MaxAttributes: at most \u and four digits for each. More
// is refused as it is, not copied first.
const longestWritten = 6 * MaxAttributes

// member takes one member, as it is written.
func (p *structuredParser) member(rawName, value []byte) error {
	if len(rawName) > longestWritten {
		return tooManyAttributes()
	}
	name, ok := unescape(rawName)
	if !ok {
		return unsuitable(string(rawName), "a surrogate in the name lacks its partner")
	}
	if _, twice := p.seen[name]; twice {
		return unsuitable(name, "is there twice")
	}
	p.seen[name] = struct{}{}
	if err := p.grow(encodedMember(name, "")); err != nil {
		return err
	}
	switch {
	case name == "data":
		p.data = value
		return nil
	case string(value) == "null":
		return nil
	case name == "data_base64":
		return unsuitable(name, "binary data is not accepted; send JSON in data")
	case ownerOf(name) == ownedByPenstock:
		return unsuitable(name, string(ownedByPenstock))
	}
	text, err := attributeText(name, value)
	if err != nil {
		return err
	}
	if err := p.grow(len(text)); err != nil {
		return err
	}
	return p.set(name, text)
}

// grow counts what is gathered. Attributes.Validate has the exact limit; without one here a body of nothing but
// attributes would take up twenty times its size.
func (p *structuredParser) grow(n int) error {
	if p.size += n; p.size > MaxAttributes {
		return tooManyAttributes()
	}
	return nil
}

func tooManyAttributes() error {
	return fmt.Errorf("%w: all attributes together take up more than the %d bytes that are allowed", ErrAttribute,
		MaxAttributes-reservedAttributes)
}

func (p *structuredParser) set(name, text string) error {
	field := p.attributes.Field(name)
	switch {
	case name == "specversion":
		if text != "1.0" {
			return unsuitable(name, `must be "1.0"`)
		}
		p.version = true
	case field == nil:
		if err := checkExtension(name, text); err != nil {
			return err
		}
		if p.attributes.Extensions == nil {
			p.attributes.Extensions = make(map[string]string)
		}
		p.attributes.Extensions[name] = text
	case text == "":
		return unsuitable(name, "must not be empty")
	default:
		*field = text
	}
	return nil
}

// complete checks that what must be there is there.
func (p *structuredParser) complete() error {
	const required = "a structured CloudEvent must have it"
	a := &p.attributes
	switch {
	case p.problem != nil:
		return p.problem
	case !p.version:
		return unsuitable("specversion", required+`, with the value "1.0"`)
	case a.ID == "":
		return unsuitable("id", required)
	case a.Source == "":
		return unsuitable("source", required)
	case a.Type == "":
		return unsuitable("type", required)
	case p.data == nil:
		return unsuitable("data", required+"; an event without data is not accepted")
	case a.ContentType != "":
		if err := checkJSONType(a.ContentType); err != nil {
			return unsuitable("datacontenttype", err.Error())
		}
	}
	return nil
}

// attributeText gives the string form of an attribute's JSON value. CloudEvents knows strings, booleans and integers of
// 32 bits there, and its own attributes are strings.
func attributeText(name string, value []byte) (string, error) {
	switch c := value[0]; {
	case c == '"' && len(value) > longestWritten:
		return "", tooManyAttributes()
	case c == '"':
		text, ok := unescape(value[1 : len(value)-1])
		if !ok {
			return "", unsuitable(name, "a surrogate in the value lacks its partner")
		}
		return text, nil
	case ownerOf(name) == ownedByCloudEvents:
		return "", unsuitable(name, "must be a string")
	case c == 't' || c == 'f':
		return string(value), nil
	case c == '-' || isDigit(c):
		const tooLong = len("-2147483648") + 1 // the rest need not be copied to see that
		n, err := strconv.ParseInt(string(value[:min(len(value), tooLong)]), 10, 32)
		if err != nil {
			return "", unsuitable(name, "a number must be an integer from -2147483648 to 2147483647; send others as a string")
		}
		return strconv.FormatInt(n, 10), nil
	default:
		return "", unsuitable(name, "must be a string, a boolean or an integer")
	}
}

// SplitArray calls item with the bytes of every element of a JSON array (application/cloudevents-batch+json), without
// surrounding whitespace, aliasing b. A *JSONError when b is not one well-formed array; item may then have been called
// for the elements before. An error of item ends the walk and is returned as it is.
func SplitArray(b []byte, item func(element []byte) error) error {
	i, fault := openDocument(b)
	if fault != nil {
		return fault
	}
	if i >= len(b) || b[i] != '[' {
		return expected(b, i, "'[' at the beginning of a batch")
	}
	i = space(b, i+1)
	more := i >= len(b) || b[i] != ']'
	for more {
		start := space(b, i)
		end, fault := scanValue(b, start, MaxDepth+1) // an event, with data as deep as a body
		if fault != nil {
			return fault
		}
		if err := item(b[start:end:end]); err != nil {
			return err
		}
		i = space(b, end)
		if i >= len(b) || (b[i] != ',' && b[i] != ']') {
			return unfinished(b, i, false)
		}
		if more = b[i] == ','; more {
			i++
		}
	}
	if fault := closeDocument(b, i+1); fault != nil {
		return fault
	}
	return nil
}
