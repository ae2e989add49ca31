package httpapi

import (
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/valyala/fasthttp"
)

// format is how a request holds events.
type format int

const (
	formatJSON       format = iota // the body is the event's data
	formatStructured               // one CloudEvent
	formatLines                    // an event's data per line
	formatBatch                    // a JSON array of CloudEvents
)

const (
	mediaEvent      = "application/cloudevents+json"
	mediaEventBatch = "application/cloudevents-batch+json"
	mediaLines      = "application/x-ndjson"
)

// checkLength refuses a body whose announced length is too large already.
func checkLength(h *fasthttp.RequestHeader, f framing, limit int64) error {
	c, err := contentCoding(h)
	if err != nil {
		return err
	}
	wire := limit
	if c != identity {
		wire = packedLimit(limit)
	}
	if f.length > wire {
		return tooLarge(limit)
	}
	return nil
}

// contentType copies the Content-Type out of request memory; the usual one takes none.
func contentType(h *fasthttp.RequestHeader) string {
	if value := h.ContentType(); string(value) != mediaJSON {
		return string(value)
	}
	return mediaJSON
}

func bodyFormat(h *fasthttp.RequestHeader) (format, error) {
	value := contentType(h)
	switch value {
	case "", mediaJSON:
		return formatJSON, nil
	}
	media, parameters, err := mime.ParseMediaType(value)
	if err != nil {
		return 0, refuse(unsupportedMedia, "The Content-Type is not well-formed. "+allowedMedia)
	}
	switch strings.ToLower(parameters["charset"]) {
	case "", "utf-8", "us-ascii":
	default:
		return 0, refuse(unsupportedMedia, "JSON is UTF-8 (RFC 8259, section 8.1); another charset is not accepted.")
	}
	switch {
	case media == mediaEvent:
		return formatStructured, nil
	case media == mediaEventBatch:
		return formatBatch, nil
	case media == mediaLines:
		return formatLines, nil
	case media == mediaJSON, strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"):
		return formatJSON, nil
	case media == "application/x-www-form-urlencoded", media == "multipart/form-data":
		return 0, refuse(unsupportedMedia, fmt.Sprintf("The Content-Type is %s, which is what curl says unless told otherwise. "+
			"Try: curl -H 'Content-Type: application/json' --data-binary @event.json %s", media, eventsURL(h)))
	}
	return 0, refuse(unsupportedMedia, "The Content-Type is not one of a JSON document. "+allowedMedia)
}

const allowedMedia = "Send application/json, application/*+json, " + mediaEvent + ", " + mediaEventBatch +
	" or " + mediaLines + "."

// eventsURL is the address the client used, for a command it can copy; so nothing in it may mean anything to a shell.
func eventsURL(h *fasthttp.RequestHeader) string {
	host := string(h.Host())
	harmful := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune(".:-", r)
	}
	if host == "" || strings.ContainsFunc(host, harmful) {
		host = "localhost:8080"
	}
	return "http://" + host + "/v1/events"
}

// accepts reports whether the Accept header asks for the media type by name.
func accepts(accept, media string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, parameters, err := mime.ParseMediaType(part)
		if err == nil && name == media && parameters["q"] != "0" {
			return true
		}
	}
	return false
}

// methodIsHead: the answer has no body, so none need be opened.
func methodIsHead(h *fasthttp.RequestHeader) bool { return string(h.Method()) == http.MethodHead }
