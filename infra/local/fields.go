package local

import (
	"encoding/binary"
	"fmt"
)

// Values are fields one after another: numbers as varints, strings with their length before them.

func appendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }
func appendInt(b []byte, v int64) []byte   { return binary.AppendVarint(b, v) }

func appendString[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// fields reads them back. After the first error everything reads as zero; done gives the error.
type fields struct {
	b   []byte
	err error
}

func (f *fields) fail() {
	f.b = nil
	if f.err == nil {
		f.err = fmt.Errorf("value: %w", errCorrupt)
	}
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) int() int64 {
	v, n := binary.Varint(f.b)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

// bytes aliases the value.
func (f *fields) bytes() []byte {
	n := f.uint()
	if n > uint64(len(f.b)) {
		f.fail()
		return nil
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) string() string { return string(f.bytes()) }

func (f *fields) bool() bool {
	if len(f.b) < 1 || f.b[0] > 1 {
		f.fail()
		return false
	}
	v := f.b[0] == 1
	f.b = f.b[1:]
	return v
}

// done returns the error of the reads, and of bytes left over.
func (f *fields) done() error {
	if f.err == nil && len(f.b) > 0 {
		f.fail()
	}
	return f.err
}
