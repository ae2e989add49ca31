package tabular

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// MaxRow is the most bytes that one row of a result may have to be taken apart: the server's rows end at 32 MB, but those
// of an aggregate don't.
const MaxRow = 128 << 20

// ErrFormat is matched by every error about bytes that are not the CSV of DESIGN's dialect.
var ErrFormat = errors.New("result is not well-formed CSV")

// Value is one value of a result. The zero Value is an empty string.
type Value struct {
	Text string
	Null bool
	// Cut says that Text is only the beginning.
	Cut bool
}

// Reader reads rows, the header first. A value in double quotes ("" is one quote) is text, an unquoted empty one is NULL.
type Reader struct {
	in *bufio.Reader
	// keep is how many bytes of each value are kept.
	keep  int
	width int
	row   int64

	text   []byte
	ends   []int
	values []Value
	size   int
}

// NewReader reads from in. keep > 0 cuts values after that many bytes, for a reader that shows only their beginnings.
func NewReader(in io.Reader, keep int) *Reader {
	if keep <= 0 {
		keep = MaxRow
	}
	return &Reader{in: bufio.NewReaderSize(in, 64<<10), keep: keep}
}

// Read returns the next row, valid until the following call; io.EOF after the last one.
func (r *Reader) Read() ([]Value, error) {
	if _, err := r.in.Peek(1); err != nil {
		return nil, err // io.EOF here is the end of the result
	}
	r.text, r.ends, r.values, r.size = r.text[:0], r.ends[:0], r.values[:0], 0
	for {
		last, err := r.value()
		if err != nil {
			return nil, r.broken(err)
		}
		if last {
			break
		}
	}
	if r.row == 0 {
		r.width = len(r.values)
	}
	if len(r.values) != r.width {
		return nil, fmt.Errorf("%w: row %d has %d values, the header %d", ErrFormat, r.row, len(r.values), r.width)
	}
	r.row++
	text := string(r.text)
	start := 0
	for i, end := range r.ends {
		r.values[i].Text, start = text[start:end], end
	}
	return r.values, nil
}

func (r *Reader) broken(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends within row %d", ErrFormat, r.row)
	}
	return fmt.Errorf("row %d: %w", r.row, err)
}

// value reads one value and what ends it; last when that is the end of the row.
func (r *Reader) value() (last bool, err error) {
	c, err := r.in.ReadByte()
	if err == nil && c == '"' {
		if err := r.quoted(); err != nil {
			return false, err
		}
		if c, err = r.in.ReadByte(); err == nil && c != ',' && c != '\n' && c != '\r' {
			return false, fmt.Errorf("%w: something follows a closing quote", ErrFormat)
		}
	} else {
		start, cut := len(r.text), false
		for ; err == nil && c != ',' && c != '\n' && c != '\r'; c, err = r.in.ReadByte() {
			if err := r.keepBytes(start, &cut, c); err != nil {
				return false, err
			}
		}
		r.end(Value{Null: len(r.text) == start, Cut: cut})
	}
	switch {
	case errors.Is(err, io.EOF):
		return true, nil // a last row without a line end
	case err != nil:
		return false, err
	case c == '\r':
		if c, err = r.in.ReadByte(); err != nil || c != '\n' {
			return false, fmt.Errorf("%w: a bare CR", ErrFormat)
		}
	}
	return c == '\n', nil
}

// quoted reads up to the closing quote.
func (r *Reader) quoted() error {
	start, cut := len(r.text), false
	for {
		part, err := r.in.ReadSlice('"')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		atQuote := err == nil
		if atQuote {
			part = part[:len(part)-1]
		}
		if err := r.keepBytes(start, &cut, part...); err != nil { // before looking ahead, which moves the buffer
			return err
		}
		if !atQuote {
			continue
		}
		next, _ := r.in.Peek(1) // the next read has the same error
		if len(next) == 0 || next[0] != '"' {
			r.end(Value{Cut: cut})
			return nil
		}
		if _, err := r.in.Discard(1); err != nil {
			return err
		}
		if err := r.keepBytes(start, &cut, '"'); err != nil {
			return err
		}
	}
}

// keepBytes takes over what is to be kept of a value that began at start, and says whether something was not.
func (r *Reader) keepBytes(start int, cut *bool, part ...byte) error {
	if r.size += len(part); r.size > MaxRow {
		return fmt.Errorf("the row has more than %d bytes; --format csv passes rows of any size on", MaxRow)
	}
	room := max(0, r.keep-(len(r.text)-start))
	*cut = *cut || room < len(part)
	r.text = append(r.text, part[:min(room, len(part))]...)
	return nil
}

func (r *Reader) end(v Value) {
	r.values = append(r.values, v)
	r.ends = append(r.ends, len(r.text))
}
