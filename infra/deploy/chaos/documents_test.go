package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"penstock/schemas"
)

// A document is JSON on one line, has its own marker, and is made again by seed and number.
func TestDocuments(t *testing.T) {
	t.Parallel()
	markers := map[string]bool{}
	for n := range 300 {
		huge := n%100 == 7
		d := newDocument(1<<60, n, huge)
		switch again := newDocument(1<<60, n, huge); {
		case !bytes.Equal(d.Body, again.Body):
			t.Errorf("%d is another one when made again", n)
		case !json.Valid(d.Body) || bytes.ContainsAny(d.Body, "\n\r"):
			t.Errorf("%d is no JSON on one line: %.100s", n, d.Body)
		case markerOf(d.Body) != d.Marker || markers[d.Marker]:
			t.Errorf("%d has the marker %q, found is %q", n, d.Marker, markerOf(d.Body))
		case huge != (len(d.Body) > schemas.MaxInlineBody) || len(d.Body) < smallBody:
			t.Errorf("%d has %d bytes", n, len(d.Body))
		}
		markers[d.Marker] = true
	}
}
