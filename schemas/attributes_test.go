package schemas_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"penstock/schemas"
)

func extension(name, value string) schemas.Attributes {
	return schemas.Attributes{Extensions: map[string]string{name: value}}
}

func TestAttributesAccepted(t *testing.T) {
	t.Parallel()
	for _, a := range []schemas.Attributes{
		{},
		{ID: "any text, also 書 and 😀", Type: "com.example.order", Subject: " ", PartitionKey: "a/b"},
		{Source: "https://example.com/a?b=c#d"}, {Source: "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"},
		{Source: "/cloudevents/spec/pull/123"}, {Source: "sensors/tn-1234567/alerts"}, {Source: "mailto:a@example.com"},
		{Source: "//[::1]:80/x"}, {Source: "%C3%BC"}, {Source: "#x"}, {Source: "penstock"},
		{Time: "2026-11-22T10:15:30Z"}, {Time: "2026-11-22t10:15:30.123456789+01:00"},
		{ContentType: "application/json"}, {ContentType: "Application/JSON; charset=utf-8"}, {ContentType: "text/json"},
		{ContentType: "application/vnd.example.v1+json"},
		{DataSchema: "https://example.com/schema.json#/definitions/order"}, {DataSchema: "urn:x:y"},
		extension("a", ""), extension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		extension(strings.Repeat("a", 64), "\uFFFD\uFFFC\uFDF0\u00A0"), extension("0", "\u2028"), extension("database64", "x"),
	} {
		if err := a.Validate(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

func TestAttributesRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		attributes schemas.Attributes
		message    string
	}{
		{schemas.Attributes{ID: "a\nb"}, `"id": control character U+000A`},
		{schemas.Attributes{ID: "\x7f"}, `"id": control character U+007F`},
		{schemas.Attributes{Type: "\u0085"}, `"type": control character U+0085`},
		{schemas.Attributes{Subject: "a\xffb"}, `"subject": must be UTF-8, found the byte 0xFF`},
		{schemas.Attributes{Subject: "\xed\xa0\x80"}, `"subject": must be UTF-8`},
		{schemas.Attributes{PartitionKey: "\uFDD0"}, `"partitionkey": noncharacter U+FDD0`},
		{schemas.Attributes{PartitionKey: "\U0010FFFF"}, `"partitionkey": noncharacter U+10FFFF`},
		{schemas.Attributes{Source: "my shop"}, `"source": must be a URI (RFC 3986): percent-encode the character at byte 2`},
		{schemas.Attributes{Source: "bücher"}, `"source": must be a URI (RFC 3986): percent-encode the character at byte 1`},
		{schemas.Attributes{Source: "a%2"}, `"source": must be a URI (RFC 3986): percent-encode the character at byte 1`},
		{schemas.Attributes{Source: "http://host:port/"}, `"source": must be a URI`},
		{schemas.Attributes{Source: "1:2"}, `"source": must be a URI`},
		{schemas.Attributes{Source: "a#b#c"}, `"source": must be a URI`},
		{schemas.Attributes{DataSchema: "schema.json"}, `"dataschema": must be a URI that begins with its scheme`},
		{schemas.Attributes{Time: "2026-11-22"}, `"time": must be an RFC 3339 timestamp`},
		{schemas.Attributes{ContentType: "text/plain"}, `"datacontenttype": must be a media type of JSON`},
		{schemas.Attributes{ContentType: "json"}, `"datacontenttype": must be a media type of JSON`},
		{schemas.Attributes{ContentType: "application/json; charset"}, `"datacontenttype": must be a media type of JSON`},
		{schemas.Attributes{ContentType: "application/xjson"}, `"datacontenttype": must be a media type of JSON`},
		{extension("", "x"), `"": a name is 1 to 64 characters of a-z and 0-9`},
		{extension("Upper", "x"), `"Upper": a name is`},
		{extension("under_score", "x"), `"under_score": a name is`},
		{extension("data_base64", "x"), `"data_base64": a name is`},
		{extension("é", "x"), `"é": a name is`},
		{extension(strings.Repeat("a", 65), "x"), `"` + strings.Repeat("a", 64) + `…": a name is`},
		{extension("x", "a\x00"), `"x": control character U+0000`},
		{extension("type", "x"), `"type": is not an extension's name: CloudEvents defines it`},
		{extension("data", "x"), `"data": is not an extension's name: CloudEvents defines it`},
		{extension("specversion", "1.0"), `"specversion": is not an extension's name: CloudEvents defines it`},
		{extension("tenant", "x"), `"tenant": is not an extension's name: Penstock sets it`},
		{extension("dataref", "s3://b/k"), `"dataref": is not an extension's name: Penstock sets it`},
		{extension("receivedtime", "x"), `Penstock sets it`}, {extension("size", "x"), `Penstock sets it`},
		{extension("sha256", "x"), `Penstock sets it`}, {extension("originid", "x"), `Penstock sets it`},
		{extension("redelivered", "x"), `Penstock sets it`},
	} {
		err := c.attributes.Validate()
		if !errors.Is(err, schemas.ErrAttribute) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%+v: got %v, want %s", c.attributes, err, c.message)
		}
	}
}

// Whatever passes Validate is at most MaxAttributes large when encoded, with everything that Penstock adds.
func TestAttributesSize(t *testing.T) {
	t.Parallel()
	allowed := schemas.MaxAttributes - 1<<10
	shapes := map[string]func(n int) schemas.Attributes{
		"plain": func(n int) schemas.Attributes {
			return schemas.Attributes{Subject: strings.Repeat("a", n-len(`,"subject":""`))}
		},
		"escaped": func(n int) schemas.Attributes {
			return schemas.Attributes{ID: strings.Repeat(`"\`, (n-len(`,"originid":""`))/4)}
		},
		"many": func(n int) schemas.Attributes {
			a := schemas.Attributes{Extensions: make(map[string]string)}
			for i := 0; n >= 16; i++ {
				a.Extensions[strings.Map(func(r rune) rune { return r - '0' + 'a' }, time.Unix(int64(i), 0).UTC().Format("150405"))] = "1234"
				n -= 16
			}
			return a
		},
	}
	for name, shape := range shapes {
		a := shape(allowed)
		e, err := schemas.NewEvent(someID, received, &a, []byte("1"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		e.DataRef = "s3://" + strings.Repeat("b", 63) + "/bodies/dt=2026-11-22/" + someID
		e.Tenant, e.Redelivered, e.Size = strings.Repeat("t", 256), true, schemas.MaxBody
		encoded := len(schemas.AppendEvent(nil, &e))
		if encoded > schemas.MaxAttributes || encoded < allowed {
			t.Errorf("%s: encoded %d bytes", name, encoded)
		}
		a = shape(allowed + 16)
		if err := a.Validate(); !errors.Is(err, schemas.ErrAttribute) || !strings.Contains(err.Error(), "15360") {
			t.Errorf("%s, 16 bytes more: %v", name, err)
		}
		if _, err := schemas.NewEvent(someID, received, &a, []byte("1")); !errors.Is(err, schemas.ErrAttribute) {
			t.Errorf("%s, 16 bytes more: %v", name, err)
		}
	}
}
