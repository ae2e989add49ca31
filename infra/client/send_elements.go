package client

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"penstock/schemas"
)

// elementReader cuts the elements out of a top-level JSON array with memory for one element. It judges no element: the
// server does.
type elementReader struct {
	limited *limitedAhead
	decoder *json.Decoder
	index   int
}

// limitedAhead stops a decoder that reads on and on for the end of one element.
type limitedAhead struct {
	io.Reader
	read  int64
	taken func() int64
}

func (l *limitedAhead) Read(p []byte) (int, error) {
	if l.read-l.taken() > schemas.MaxBody+1<<20 {
		return 0, &tooLarge{}
	}
	n, err := l.Reader.Read(p)
	l.read += int64(n)
	return n, err
}

// startsArray looks for the beginning of an array after any whitespace.
func startsArray(in io.Reader) (bool, error) {
	buffered := bufio.NewReader(in)
	for {
		c, err := buffered.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			continue
		}
		return c == '[', nil
	}
}

func newElementReader(in io.Reader) (*elementReader, error) {
	e := &elementReader{limited: &limitedAhead{Reader: in}}
	e.decoder = json.NewDecoder(e.limited)
	e.limited.taken = e.decoder.InputOffset
	if _, err := e.decoder.Token(); err != nil {
		return nil, err
	}
	return e, nil
}

// next returns the bytes of the next element, without the whitespace around it, and its 0-based index; io.EOF after the
// last one and the end of the array. An error may not be of this element but of the array, so nothing follows it.
func (e *elementReader) next() (element []byte, index int, err error) {
	if !e.decoder.More() {
		return nil, e.index, e.finish()
	}
	var raw json.RawMessage
	if err := e.decoder.Decode(&raw); err != nil {
		return nil, e.index, e.broken(err)
	}
	e.index++
	if len(raw) > schemas.MaxBody {
		return nil, e.index - 1, &tooLarge{size: int64(len(raw))}
	}
	return raw, e.index - 1, nil
}

// finish checks that the array ends, and the file with it.
func (e *elementReader) finish() error {
	if _, err := e.decoder.Token(); err != nil {
		return e.broken(err)
	}
	if _, err := e.decoder.Token(); !errors.Is(err, io.EOF) {
		return e.broken(errors.New("something follows the array"))
	}
	return io.EOF
}

func (e *elementReader) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the array does not end")
	}
	return fmt.Errorf("the array is broken after element %d, near byte %d: %w", e.index-1, e.decoder.InputOffset(), err)
}
