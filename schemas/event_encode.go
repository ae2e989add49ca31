package schemas

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendEvent appends the event as CloudEvents JSON with "data", the raw bytes of the body, as the last member. There is
// no "data" when DataRef is set.
func AppendEvent(dst []byte, e *Event) []byte {
	const aboutAttributes = 512
	dst = slices.Grow(dst, len(e.Data)+aboutAttributes)
	dst = append(dst, `{"specversion":"1.0"`...)
	dst = appendMember(dst, "id", e.ID)
	dst = appendMember(dst, "source", e.Source)
	dst = appendMember(dst, "type", e.Type)
	dst = appendOptional(dst, "subject", e.Subject)
	dst = append(dst, `,"time":"`...)
	dst = e.Time.AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, '"')
	dst = appendMember(dst, "datacontenttype", e.ContentType)
	dst = appendOptional(dst, "dataschema", e.DataSchema)
	dst = appendOptional(dst, "partitionkey", e.PartitionKey)
	dst = appendOptional(dst, "dataref", e.DataRef)
	dst = append(dst, `,"receivedtime":"`...)
	dst = appendMicroseconds(dst, e.ReceivedTime)
	dst = append(dst, `","size":`...)
	dst = strconv.AppendInt(dst, e.Size, 10)
	dst = append(dst, `,"sha256":"`...)
	dst = hex.AppendEncode(dst, e.SHA256[:])
	dst = append(dst, '"')
	dst = appendOptional(dst, "originid", e.OriginID)
	dst = appendOptional(dst, "tenant", e.Tenant)
	if e.Redelivered {
		dst = append(dst, `,"redelivered":true`...)
	}
	if len(e.Extensions) > 0 {
		for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
			dst = appendMember(dst, name, e.Extensions[name])
		}
	}
	if e.DataRef == "" {
		dst = append(dst, `,"data":`...)
		dst = append(dst, e.Data...)
	}
	return append(dst, '}')
}

func appendOptional(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendMember(dst, name, value)
}

func appendMember(dst []byte, name, value string) []byte {
	dst = append(dst, ',')
	dst = appendString(dst, name)
	dst = append(dst, ':')
	return appendString(dst, value)
}

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD; Attributes.Validate lets none in.
func appendString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0 // s[:done] is appended
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			dst = append(dst, s[done:i]...)
			dst = append(dst, "\uFFFD"...)
		} else {
			dst = append(dst, s[done:i]...)
			if c < ' ' {
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xF])
			} else {
				dst = append(dst, '\\', c)
			}
		}
		i += size
		done = i
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}
