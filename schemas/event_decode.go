package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"strconv"
	"time"
)

// DecodeEvent reads what AppendEvent wrote: it takes exactly "size" bytes of data and checks "sha256". Data aliases b.
// The error matches ErrCorrupt.
func DecodeEvent(b []byte) (Event, error) {
	d := eventDecoder{object: objectReader{b: b}}
	if err := d.decode(); err != nil {
		// A *JSONError is about a client's body, so it is not to be found in here.
		return Event{}, fmt.Errorf("%w: event: %s", ErrCorrupt, err.Error())
	}
	return d.event, nil
}

// eventDecoder fills an event member by member.
type eventDecoder struct {
	object objectReader
	event  Event
	// seen has the bits of the members that were read.
	seen uint32
}

// Members of an encoded event, apart from extensions: bits of eventDecoder.seen. Those of requiredNames come first.
const (
	memberSpecVersion = 1 << iota
	memberID
	memberSource
	memberType
	memberTime
	memberContentType
	memberReceivedTime
	memberSize
	memberSHA256
	memberSubject
	memberDataSchema
	memberPartitionKey
	memberDataRef
	memberOriginID
	memberTenant
	memberRedelivered

	requiredMembers = memberSubject - 1
)

// requiredNames are the names of requiredMembers, by bit.
var requiredNames = [...]string{
	"specversion", "id", "source", "type", "time", "datacontenttype", "receivedtime", "size", "sha256",
}

func (d *eventDecoder) decode() error {
	for {
		name, found, fault := d.object.next()
		if fault != nil {
			return fault
		}
		if !found || string(name) == "data" {
			if missing := requiredMembers &^ d.seen; missing != 0 {
				return fmt.Errorf("attribute %q is missing", requiredNames[bits.TrailingZeros32(missing)])
			}
			if found {
				return d.data()
			}
			return d.reference()
		}
		if err := d.member(name); err != nil {
			return fmt.Errorf("attribute %.64q: %w", name, err)
		}
	}
}

// data takes the body, which is all that is left but the closing brace.
func (d *eventDecoder) data() error {
	rest := d.object.b[d.object.i:]
	size := len(rest) - 1
	switch {
	case d.event.DataRef != "":
		return fmt.Errorf("both data and dataref are there")
	case size < 1 || int64(size) != d.event.Size || rest[size] != '}':
		return fmt.Errorf("%d bytes are there of data that should have %d", max(size, 0), d.event.Size)
	case sha256.Sum256(rest[:size]) != d.event.SHA256:
		return fmt.Errorf("sha256 of the data is wrong")
	}
	d.event.Data = rest[:size:size]
	return nil
}

// reference checks an event that has no data.
func (d *eventDecoder) reference() error {
	if d.event.DataRef == "" {
		return fmt.Errorf("neither data nor dataref is there")
	}
	if rest := len(d.object.b) - d.object.i; rest != 0 {
		return fmt.Errorf("%d bytes after the end", rest)
	}
	return nil
}

func (d *eventDecoder) member(name []byte) error {
	value, fault := d.object.value()
	if fault != nil {
		return fault
	}
	switch string(name) {
	case "size":
		return d.size(value)
	case "redelivered":
		d.event.Redelivered = true
		if string(value) != "true" {
			return fmt.Errorf("want true")
		}
		return d.once(memberRedelivered)
	}
	if value[0] != '"' {
		return fmt.Errorf("want a string")
	}
	return d.text(name, value[1:len(value)-1])
}

func (d *eventDecoder) size(value []byte) (err error) {
	if d.event.Size, err = strconv.ParseInt(string(value), 10, 64); err != nil || d.event.Size < 1 {
		return fmt.Errorf("want a number of bytes, at least 1")
	}
	return d.once(memberSize)
}

// text takes a member whose value is a string; raw is what stands between the quotes.
func (d *eventDecoder) text(name, raw []byte) error {
	switch string(name) {
	case "specversion":
		if string(raw) != "1.0" {
			return fmt.Errorf("want 1.0")
		}
		return d.once(memberSpecVersion)
	case "time":
		return d.time(&d.event.Time, raw, memberTime)
	case "receivedtime":
		if err := d.time(&d.event.ReceivedTime, raw, memberReceivedTime); err != nil {
			return err
		}
		if t := d.event.ReceivedTime; t.Location() != time.UTC || t.Nanosecond()%1000 != 0 {
			return fmt.Errorf("want UTC with microseconds")
		}
		return nil
	case "sha256":
		if len(raw) != hex.EncodedLen(sha256.Size) {
			return fmt.Errorf("want 64 hexadecimal digits")
		}
		if _, err := hex.Decode(d.event.SHA256[:], raw); err != nil {
			return err
		}
		return d.once(memberSHA256)
	}
	text, ok := unescape(raw)
	if !ok {
		return fmt.Errorf("surrogate without its partner")
	}
	if field, bit := d.field(name); field != nil {
		if text == "" {
			return fmt.Errorf("is empty")
		}
		*field = text
		return d.once(bit)
	}
	return d.extension(string(name), text)
}

func (d *eventDecoder) extension(name, text string) error {
	if _, twice := d.event.Extensions[name]; twice || !isName(name) {
		return fmt.Errorf("is there twice, or is not a name")
	}
	if d.event.Extensions == nil {
		d.event.Extensions = make(map[string]string)
	}
	d.event.Extensions[name] = text
	return nil
}

// field gives the event's field of that name, if it is one of those that hold the text as it is.
func (d *eventDecoder) field(name []byte) (*string, uint32) {
	switch string(name) {
	case "id":
		return &d.event.ID, memberID
	case "source":
		return &d.event.Source, memberSource
	case "type":
		return &d.event.Type, memberType
	case "subject":
		return &d.event.Subject, memberSubject
	case "datacontenttype":
		return &d.event.ContentType, memberContentType
	case "dataschema":
		return &d.event.DataSchema, memberDataSchema
	case "partitionkey":
		return &d.event.PartitionKey, memberPartitionKey
	case "dataref":
		return &d.event.DataRef, memberDataRef
	case "originid":
		return &d.event.OriginID, memberOriginID
	case "tenant":
		return &d.event.Tenant, memberTenant
	default:
		return nil, 0
	}
}

func (d *eventDecoder) time(field *time.Time, raw []byte, bit uint32) (err error) {
	if *field, err = parseTimestamp(string(raw)); err != nil {
		return err
	}
	return d.once(bit)
}

// once notes that a member is there, and fails when it was there before.
func (d *eventDecoder) once(bit uint32) error {
	if d.seen&bit != 0 {
		return fmt.Errorf("is there twice")
	}
	d.seen |= bit
	return nil
}
