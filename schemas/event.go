package schemas

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"time"
)

// Event is one accepted document with its CloudEvents 1.0 context attributes
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md).
type Event struct {
	// ID is the KSUID that ingest made: 27 characters, sorts by second of receipt.
	ID string
	// Type and Source are never empty; see DefaultType and DefaultSource.
	Type, Source string
	// Subject, DataSchema, PartitionKey and Tenant are empty when the client sent none.
	Subject, DataSchema, PartitionKey, Tenant string
	// OriginID is the client's own CloudEvents id, or empty.
	OriginID string
	// Time is the client's time if it sent one, else ReceivedTime. Its zone offset is kept.
	Time time.Time
	// ReceivedTime is when ingest took the event: UTC, microseconds.
	ReceivedTime time.Time
	// ContentType is the media type of the body (datacontenttype).
	ContentType string
	// DataRef is "s3://bucket/key" when the body lies in object storage; then Data is nil.
	DataRef string
	// Size and SHA256 are of the body, wherever it lies.
	Size   int64
	SHA256 [32]byte
	// Redelivered is set on an event that was put on the stream a second time by Penstock itself.
	Redelivered bool
	// Extensions are the client's other attributes, by lower-case name, in the string form of the CloudEvents type
	// system. Never a name that is a field above.
	Extensions map[string]string
	// Data is the body, exactly as posted: 1 to MaxInlineBody bytes. Nil when DataRef is set.
	Data []byte
}

// Attribute values of a client that sent none.
const (
	DefaultType        = "event"
	DefaultSource      = "penstock"
	DefaultContentType = "application/json"
)

// Attributes are what a client may say about its event, before ingest has made an Event of it. Empty means "not sent".
type Attributes struct {
	ID, Type, Source, Subject, Time, ContentType, DataSchema, PartitionKey string
	Extensions                                                             map[string]string
}

// ErrAttribute is matched by every error about a client's attribute; the message names it and says what is allowed.
var ErrAttribute = errors.New("unsuitable attribute")

// ErrCorrupt is matched by every error of a decoder for stored bytes: the record is not what Penstock wrote.
var ErrCorrupt = errors.New("corrupt record")

// NewEvent makes the event of a validated body. body is kept, not copied, when it fits inline; when it does not
// (len(body) > MaxInlineBody) Data is nil and the caller sets DataRef. Extensions are kept, not copied. The error is that
// of Attributes.Validate.
func NewEvent(id string, received time.Time, a *Attributes, body []byte) (Event, error) {
	if err := a.Validate(); err != nil {
		return Event{}, err
	}
	received = received.UTC().Truncate(time.Microsecond)
	e := Event{
		ID:           id,
		Type:         cmp.Or(a.Type, DefaultType),
		Source:       cmp.Or(a.Source, DefaultSource),
		Subject:      a.Subject,
		DataSchema:   a.DataSchema,
		PartitionKey: a.PartitionKey,
		OriginID:     a.ID,
		Time:         received,
		ReceivedTime: received,
		ContentType:  cmp.Or(a.ContentType, DefaultContentType),
		Size:         int64(len(body)),
		SHA256:       sha256.Sum256(body),
		Extensions:   a.Extensions,
	}
	if a.Time != "" {
		t, err := parseTimestamp(a.Time)
		if err != nil {
			return Event{}, unsuitable("time", err.Error())
		}
		e.Time = t
	}
	if len(body) <= MaxInlineBody {
		e.Data = body
	}
	return e, nil
}
