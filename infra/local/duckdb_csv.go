package local

import (
	"bytes"
	"fmt"
	"io"

	"penstock/consumer/query"
)

// csvWriter writes the CSV that query.Engine documents. It keeps at most one buffer, plus one row.
type csvWriter struct {
	out    io.Writer
	buffer []byte
	value  []byte // scratch: one value before it is quoted
	rows   int64
}

const (
	csvFlushAt = 64 << 10
	// maxRow is Athena's limit (https://docs.aws.amazon.com/athena/latest/ug/service-limits.html).
	maxRow = 32 << 20
)

var errRowTooLarge = fmt.Errorf("%w: a row of the result is larger than %d bytes", query.ErrLimit, maxRow)

// copy writes the whole result, with the headings that Athena would use.
func (w *csvWriter) copy(rows *duckdbRows, list []heading) error {
	names, types, err := rows.columns()
	if err != nil {
		return refuseSQL("%s", err)
	}
	nameColumns(names, list)
	if err := w.header(names); err != nil {
		return err
	}
	err = rows.each(types, func(columns []duckdbVector, n int) error { return w.write(types, columns, n) })
	if err != nil {
		return err
	}
	return w.flush()
}

func (w *csvWriter) header(names []string) error {
	for i, name := range names {
		if i > 0 {
			w.buffer = append(w.buffer, ',')
		}
		w.quote([]byte(name))
	}
	return w.endRow()
}

// write appends the rows of a chunk.
func (w *csvWriter) write(types []*columnType, columns []duckdbVector, rows int) error {
	for row := range rows {
		start := len(w.buffer)
		for i, t := range types {
			if i > 0 {
				w.buffer = append(w.buffer, ',')
			}
			switch v := &columns[i]; {
			case v.null(row):
			case t.isText():
				value := bytesAt(v, row)
				if len(value) > maxRow {
					return errRowTooLarge
				}
				w.quote(value)
			default:
				w.value = appendText(w.value[:0], t, v, row)
				w.quote(w.value)
			}
			if len(w.buffer)-start > maxRow {
				return errRowTooLarge
			}
		}
		w.rows++
		if err := w.endRow(); err != nil {
			return err
		}
	}
	return nil
}

func (w *csvWriter) quote(value []byte) {
	w.buffer = append(w.buffer, '"')
	for {
		i := bytes.IndexByte(value, '"')
		if i < 0 {
			break
		}
		w.buffer = append(append(w.buffer, value[:i+1]...), '"')
		value = value[i+1:]
	}
	w.buffer = append(append(w.buffer, value...), '"')
}

func (w *csvWriter) endRow() error {
	w.buffer = append(w.buffer, '\n')
	if len(w.buffer) < csvFlushAt {
		return nil
	}
	return w.flush()
}

func (w *csvWriter) flush() error {
	_, err := w.out.Write(w.buffer)
	w.buffer = w.buffer[:0]
	return err
}
