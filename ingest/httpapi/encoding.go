package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/valyala/fasthttp"

	"penstock/ingest"
)

type coding int

const (
	identity coding = iota
	gzipped
	zstandard
)

// maxWindow is the largest zstd window that a decoder must support (RFC 8878, section 3.1.1.1.2). A larger one is a
// request for memory.
const maxWindow = 8 << 20

// contentCoding reads Content-Encoding. More than one coding is refused: nobody needs it, and each would multiply what
// the next may unfold to.
func contentCoding(h *fasthttp.RequestHeader) (coding, error) {
	values := h.PeekAll("Content-Encoding")
	if len(values) == 0 {
		return identity, nil
	}
	if len(values) == 1 {
		switch strings.ToLower(strings.TrimSpace(string(values[0]))) {
		case "", "identity":
			return identity, nil
		case "gzip", "x-gzip":
			return gzipped, nil
		case "zstd":
			return zstandard, nil
		}
	}
	return 0, refuse(unsupportedCoding, "Content-Encoding may be gzip or zstd, one of them and once.")
}

// decoder unpacks in memory. There are few of them, because a zstd decoder holds its window outside of the budget; and
// unpacking is bound by the processor anyway.
type decoder struct {
	source bytes.Reader
	gzip   *gzip.Reader
	zstd   *zstd.Decoder
}

// newDecoders fills the pool: as many as there are processors, made when first used.
func newDecoders() chan *decoder {
	pool := make(chan *decoder, runtime.GOMAXPROCS(0))
	for range cap(pool) {
		pool <- &decoder{}
	}
	return pool
}

// decode unpacks at most limit bytes; what unfolds to more is not unpacked any further.
func (s *Server) decode(r *room, c coding, packed []byte, limit int64) (payload, error) {
	var d *decoder
	select {
	case d = <-s.decoders:
	case <-r.waiting().Done():
		return payload{}, fmt.Errorf("wait for a decoder: %w", ingest.ErrOverloaded)
	}
	defer func() {
		d.source.Reset(nil) // the pool must not keep the packed bytes alive
		s.decoders <- d
	}()
	from, err := d.open(c, packed)
	if err == nil {
		var p payload
		first := min(max(4*int64(len(packed)), 4<<10), 256<<10)
		if p, err = readGrowing(r, from, first, limit, limit); err == nil {
			return p, nil
		}
	}
	var own *refusal
	if errors.As(err, &own) || errors.Is(err, ingest.ErrOverloaded) || errors.Is(err, ingest.ErrEmpty) {
		return payload{}, err
	}
	// The messages of the libraries speak of formats, never of content; but they are not for clients.
	return payload{}, refuse(malformedEncoding, "The body is not well-formed in its Content-Encoding: it is damaged, "+
		"cut off, followed by something else, or asks for a zstd window over 8 MiB.")
}

// open prepares the decoder. Concatenated members and frames are one body, as RFC 1952 and RFC 8878 have it; anything
// else after them is an error.
func (d *decoder) open(c coding, packed []byte) (io.Reader, error) {
	d.source.Reset(packed)
	var err error
	switch {
	case c == gzipped && d.gzip == nil:
		d.gzip, err = gzip.NewReader(&d.source)
	case c == gzipped:
		err = d.gzip.Reset(&d.source)
	case d.zstd == nil:
		d.zstd, err = zstd.NewReader(&d.source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
			zstd.WithDecoderLowmem(true))
	default:
		err = d.zstd.Reset(&d.source)
	}
	if err != nil {
		return nil, err
	}
	if c == gzipped {
		return d.gzip, nil
	}
	return d.zstd, nil
}
