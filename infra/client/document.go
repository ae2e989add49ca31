package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"time"
)

// ErrDamaged: the document that came is not the one that was posted.
var ErrDamaged = errors.New("document arrived damaged")

// mediaEnvelope is a structured CloudEvent.
const mediaEnvelope = "application/cloudevents+json"

// Get opens the document with the given id: the posted bytes, or with envelope the whole CloudEvent as JSON. While the
// server says that the event is not in the index yet, or is too busy, it asks again for up to wait. Reading the document
// to its end checks it against the event's SHA-256: ErrDamaged.
func (c *Client) Get(ctx context.Context, id string, envelope bool, wait time.Duration) (io.ReadCloser, error) {
	if !isID(id) {
		return nil, fmt.Errorf("%q is not an event id: an id has 27 letters and digits, such as 2yTsGkJ3hDqGRQmXqTzVQkZ0bXk", id)
	}
	header := http.Header{}
	if envelope {
		header.Set("Accept", mediaEnvelope)
	}
	ask := request{method: http.MethodGet, path: []string{"v1", "events", id}, header: header}
	start := time.Now()
	// The index follows the stream within a fraction of a second, so the first pauses are far shorter than the whole
	// second of the server's Retry-After, which is honoured from then on.
	for pause := 25 * time.Millisecond; ; pause *= 2 {
		res, err := c.call(ctx, ask, http.StatusOK)
		if err == nil {
			return checked(res, envelope), nil
		}
		var problem *Problem
		if !errors.As(err, &problem) {
			return nil, err
		}
		pending := problem.Kind() == "event-pending"
		if !pending && !problem.Transient() {
			return nil, err
		}
		if !pending || pause > time.Second {
			pause = max(pause, problem.wait())
		}
		if left := wait - time.Since(start); left <= 0 {
			return nil, err
		} else if !sleep(ctx, min(pause, left)) {
			return nil, ctx.Err()
		}
	}
}

// checked wraps the body so that its end is only reached when the bytes are those that were posted.
func checked(res *http.Response, envelope bool) io.ReadCloser {
	want, err := hex.DecodeString(strings.Trim(res.Header.Get("Ce-Sha256"), `"`))
	if envelope || err != nil || len(want) != sha256.Size {
		return res.Body
	}
	return &checkedBody{ReadCloser: res.Body, sum: sha256.New(), want: string(want)}
}

type checkedBody struct {
	io.ReadCloser
	sum  hash.Hash
	want string
}

func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sum.Write(p[:n]) // a hash never fails
	if errors.Is(err, io.EOF) && string(b.sum.Sum(nil)) != b.want {
		return n, fmt.Errorf("%w: its SHA-256 is not %s", ErrDamaged, hex.EncodeToString([]byte(b.want)))
	}
	return n, err
}
