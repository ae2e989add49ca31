package tabular

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// WriteObjects writes each row as a JSON object on a line of its own, members in the order of the columns. As in CSV all
// values are strings, or null. A column name that is there twice gets _2, _3 and so on, so that no value is hidden.
func WriteObjects(out io.Writer, in *Reader) (rows int64, err error) {
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	enc := newEncoder(out)
	var names [][]byte
	for _, name := range distinct(header) {
		encoded, err := enc.text(name)
		if err != nil {
			return 0, err
		}
		names = append(names, bytes.Clone(encoded))
	}
	for ; ; rows++ {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return rows, enc.out.Flush()
		}
		if err == nil {
			err = enc.object(names, row)
		}
		if err != nil {
			return rows, errors.Join(err, enc.out.Flush())
		}
	}
}

func distinct(header []Value) []string {
	names := make([]string, len(header))
	taken := make(map[string]bool, len(header))
	for _, v := range header {
		taken[v.Text] = true
	}
	seen := make(map[string]bool, len(header))
	for i, v := range header {
		name := v.Text
		for n := 2; seen[name] || (name != v.Text && taken[name]); n++ {
			name = fmt.Sprintf("%s_%d", v.Text, n)
		}
		names[i], seen[name] = name, true
	}
	return names
}

// encoder writes rows with the least of escaping: <, > and & stay as they are.
type encoder struct {
	out  *bufio.Writer
	buf  bytes.Buffer
	json *json.Encoder
}

func newEncoder(out io.Writer) *encoder {
	e := &encoder{out: bufio.NewWriterSize(out, 64<<10)}
	e.json = json.NewEncoder(&e.buf)
	e.json.SetEscapeHTML(false)
	return e
}

// text encodes a string; valid until the following call.
func (e *encoder) text(s string) ([]byte, error) {
	e.buf.Reset()
	if err := e.json.Encode(s); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(e.buf.Bytes(), []byte{'\n'}), nil
}

func (e *encoder) object(names [][]byte, row []Value) error {
	// The writer keeps its first error, so it is looked at once, by the last call.
	_ = e.out.WriteByte('{')
	for i, v := range row {
		if i > 0 {
			_ = e.out.WriteByte(',')
		}
		_, _ = e.out.Write(names[i])
		_ = e.out.WriteByte(':')
		if v.Null {
			_, _ = e.out.WriteString("null")
			continue
		}
		encoded, err := e.text(v.Text)
		if err != nil {
			return err
		}
		_, _ = e.out.Write(encoded)
	}
	_, err := e.out.WriteString("}\n")
	return err
}
