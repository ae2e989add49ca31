package local

import (
	"bytes"
	"encoding/hex"
	"math"
	"math/big"
	"strconv"
	"time"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// Values are written as Athena writes them in its result files, which is the text of Trino's Java types: a double is
// 1.0E10, an array [a, b], a map or row {k=v}, binary is spaced hex.

func (t *columnType) isText() bool { return t.id == duckdb.TypeVarchar }

// appendText appends the text of a value that is not NULL.
func appendText(dst []byte, t *columnType, v *duckdbVector, row int) []byte {
	switch t.id {
	case duckdb.TypeVarchar:
		return append(dst, bytesAt(v, row)...)
	case duckdb.TypeBlob:
		return appendSpacedHex(dst, bytesAt(v, row))
	case duckdb.TypeEnum:
		return append(dst, t.words[integerAt(v, row, t.stored)]...)
	case duckdb.TypeList, duckdb.TypeArray, duckdb.TypeMap, duckdb.TypeStruct:
		return appendNested(dst, t, v, row)
	case duckdb.TypeDate, duckdb.TypeTime, duckdb.TypeTimeTZ, duckdb.TypeTimeNS, duckdb.TypeInterval,
		duckdb.TypeTimestamp, duckdb.TypeTimestampTZ, duckdb.TypeTimestampS, duckdb.TypeTimestampMS, duckdb.TypeTimestampNS:
		return appendTemporal(dst, t, v, row)
	case duckdb.TypeUUID:
		return appendUUID(dst, valueAt[hugeInt](v, row))
	default:
		return appendNumber(dst, t, v, row)
	}
}

func appendNumber(dst []byte, t *columnType, v *duckdbVector, row int) []byte {
	switch t.id {
	case duckdb.TypeBoolean:
		return strconv.AppendBool(dst, valueAt[uint8](v, row) != 0)
	case duckdb.TypeTinyInt:
		return strconv.AppendInt(dst, int64(valueAt[int8](v, row)), 10)
	case duckdb.TypeSmallInt:
		return strconv.AppendInt(dst, int64(valueAt[int16](v, row)), 10)
	case duckdb.TypeInteger:
		return strconv.AppendInt(dst, int64(valueAt[int32](v, row)), 10)
	case duckdb.TypeBigInt:
		return strconv.AppendInt(dst, valueAt[int64](v, row), 10)
	case duckdb.TypeUTinyInt:
		return strconv.AppendUint(dst, uint64(valueAt[uint8](v, row)), 10)
	case duckdb.TypeUSmallInt:
		return strconv.AppendUint(dst, uint64(valueAt[uint16](v, row)), 10)
	case duckdb.TypeUInteger:
		return strconv.AppendUint(dst, uint64(valueAt[uint32](v, row)), 10)
	case duckdb.TypeUBigInt:
		return strconv.AppendUint(dst, valueAt[uint64](v, row), 10)
	case duckdb.TypeHugeInt:
		return valueAt[hugeInt](v, row).signed().Append(dst, 10)
	case duckdb.TypeUHugeInt:
		return valueAt[hugeInt](v, row).unsigned().Append(dst, 10)
	case duckdb.TypeFloat:
		return appendDouble(dst, float64(valueAt[float32](v, row)), 32)
	case duckdb.TypeDouble:
		return appendDouble(dst, valueAt[float64](v, row), 64)
	case duckdb.TypeDecimal:
		if t.stored == duckdb.TypeHugeInt {
			return appendDecimal(dst, valueAt[hugeInt](v, row).signed().String(), t.scale)
		}
		return appendDecimal(dst, strconv.FormatInt(integerAt(v, row, t.stored), 10), t.scale)
	default:
		return append(dst, "null"...) // the type of a bare NULL; its values never get here
	}
}

// hugeInt is duckdb_hugeint and, with the top bit of upper flipped, a UUID.
type hugeInt struct {
	lower uint64
	upper int64
}

func (h hugeInt) signed() *big.Int {
	n := new(big.Int).Lsh(big.NewInt(h.upper), 64)
	return n.Add(n, new(big.Int).SetUint64(h.lower))
}

func (h hugeInt) unsigned() *big.Int {
	n := new(big.Int).SetUint64(uint64(h.upper))
	return n.Add(n.Lsh(n, 64), new(big.Int).SetUint64(h.lower))
}

func appendUUID(dst []byte, h hugeInt) []byte {
	var b [16]byte
	upper := uint64(h.upper) ^ 1<<63
	for i := range 8 {
		b[i], b[8+i] = byte(upper>>(56-8*i)), byte(h.lower>>(56-8*i))
	}
	for i, part := range [][]byte{b[:4], b[4:6], b[6:8], b[8:10], b[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

func appendSpacedHex(dst, b []byte) []byte {
	for i := range b {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = hex.AppendEncode(dst, b[i:i+1])
	}
	return dst
}

// appendDecimal puts the point into the digits of an unscaled decimal.
func appendDecimal(dst []byte, digits string, scale int) []byte {
	if digits[0] == '-' {
		dst, digits = append(dst, '-'), digits[1:]
	}
	if scale == 0 {
		return append(dst, digits...)
	}
	for len(digits) <= scale {
		digits = "0" + digits
	}
	point := len(digits) - scale
	dst = append(dst, digits[:point]...)
	dst = append(dst, '.')
	return append(dst, digits[point:]...)
}

// appendDouble writes the shortest digits that read back as the same number, laid out as Java's Double.toString does:
// plain with at least one decimal from 0.001 up to below ten million, else d.dE±n.
// https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/lang/Double.html#toString(double)
func appendDouble(dst []byte, f float64, bits int) []byte {
	switch magnitude := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 0):
		if f < 0 {
			dst = append(dst, '-')
		}
		return append(dst, "Infinity"...)
	case f == 0 || magnitude >= 1e-3 && magnitude < 1e7:
		start := len(dst)
		dst = strconv.AppendFloat(dst, f, 'f', -1, bits)
		if bytes.IndexByte(dst[start:], '.') < 0 {
			dst = append(dst, ".0"...)
		}
		return dst
	}
	var scratch [32]byte
	digits := strconv.AppendFloat(scratch[:0], f, 'E', -1, bits) // d.dddE±nn or dE±nn, never E±00
	e := len(digits) - 1
	for digits[e] != 'E' {
		e--
	}
	dst = append(dst, digits[:e]...)
	if bytes.IndexByte(digits[:e], '.') < 0 {
		dst = append(dst, ".0"...)
	}
	exponent := digits[e+1:]
	dst = append(dst, 'E')
	if exponent[0] == '-' {
		dst = append(dst, '-')
	}
	exponent = bytes.TrimLeft(exponent[1:], "0")
	return append(dst, exponent...)
}

func appendNested(dst []byte, t *columnType, v *duckdbVector, row int) []byte {
	switch t.id {
	case duckdb.TypeList, duckdb.TypeArray:
		first, count := row*t.length, t.length
		if t.id == duckdb.TypeList {
			entry := valueAt[listEntry](v, row)
			first, count = int(entry.offset), int(entry.length)
		}
		dst = append(dst, '[')
		for i := range count {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendElement(dst, t.children[0], &v.children[0], first+i)
		}
		return append(dst, ']')
	case duckdb.TypeMap:
		entry := valueAt[listEntry](v, row)
		dst = append(dst, '{')
		for i := range int(entry.length) {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendElement(dst, t.children[0], &v.children[0], int(entry.offset)+i)
			dst = append(dst, '=')
			dst = appendElement(dst, t.children[1], &v.children[1], int(entry.offset)+i)
		}
		return append(dst, '}')
	default:
		dst = append(dst, '{')
		for i, name := range t.names {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			if name == "" {
				name = "field" + strconv.Itoa(i)
			}
			dst = append(append(dst, name...), '=')
			dst = appendElement(dst, t.children[i], &v.children[i], row)
		}
		return append(dst, '}')
	}
}

func appendElement(dst []byte, t *columnType, v *duckdbVector, row int) []byte {
	if v.null(row) {
		return append(dst, "null"...)
	}
	return appendText(dst, t, v, row)
}

const (
	dateLayout      = "2006-01-02"
	timeLayout      = "15:04:05.000000"
	timestampLayout = dateLayout + " " + timeLayout
)

func appendTemporal(dst []byte, t *columnType, v *duckdbVector, row int) []byte {
	switch t.id {
	case duckdb.TypeDate:
		days := valueAt[int32](v, row)
		if infinite := infiniteName(int64(days), math.MaxInt32); infinite != "" {
			return append(dst, infinite...)
		}
		return time.Unix(int64(days)*24*60*60, 0).UTC().AppendFormat(dst, dateLayout)
	case duckdb.TypeTime:
		return time.UnixMicro(valueAt[int64](v, row)).UTC().AppendFormat(dst, timeLayout)
	case duckdb.TypeTimeNS:
		return time.Unix(0, valueAt[int64](v, row)).UTC().AppendFormat(dst, timeLayout)
	case duckdb.TypeTimeTZ:
		return appendTimeTZ(dst, valueAt[uint64](v, row))
	case duckdb.TypeInterval:
		return appendInterval(dst, valueAt[duckdbInterval](v, row))
	}
	value := valueAt[int64](v, row)
	if infinite := infiniteName(value, math.MaxInt64); infinite != "" {
		return append(dst, infinite...)
	}
	var at time.Time
	switch t.id {
	case duckdb.TypeTimestampS:
		at = time.Unix(value, 0)
	case duckdb.TypeTimestampMS:
		at = time.UnixMilli(value)
	case duckdb.TypeTimestampNS:
		at = time.Unix(0, value)
	default:
		at = time.UnixMicro(value)
	}
	dst = at.UTC().AppendFormat(dst, timestampLayout)
	if t.id == duckdb.TypeTimestampTZ {
		dst = append(dst, " UTC"...)
	}
	return dst
}

// infiniteName names DuckDB's two infinite dates and timestamps.
func infiniteName(value, positive int64) string {
	switch value {
	case positive:
		return "infinity"
	case -positive:
		return "-infinity"
	}
	return ""
}

// appendTimeTZ takes apart duckdb_time_tz: 40 bits of microseconds and 24 bits of the largest offset minus the offset.
func appendTimeTZ(dst []byte, bits uint64) []byte {
	const maxOffset = 16*60*60 - 1
	offset := maxOffset - int(bits&(1<<24-1))
	dst = time.UnixMicro(int64(bits>>24)).UTC().AppendFormat(dst, timeLayout)
	return time.Time{}.In(time.FixedZone("", offset)).AppendFormat(dst, "-07:00")
}

// duckdbInterval is duckdb_interval.
type duckdbInterval struct {
	months, days int32
	micros       int64
}

// appendInterval writes months as Trino's interval year to month (1-2), the rest as its interval day to second
// (3 04:05:06.789), and both when there are both, which Trino has no type for.
func appendInterval(dst []byte, i duckdbInterval) []byte {
	if i.months != 0 {
		months := int64(i.months)
		if months < 0 {
			dst, months = append(dst, '-'), -months
		}
		dst = strconv.AppendInt(dst, months/12, 10)
		dst = strconv.AppendInt(append(dst, '-'), months%12, 10)
		if i.days == 0 && i.micros == 0 {
			return dst
		}
		dst = append(dst, ' ')
	}
	const dayMicros = 24 * 60 * 60 * 1_000_000
	micros := new(big.Int).Mul(big.NewInt(int64(i.days)), big.NewInt(dayMicros))
	micros.Add(micros, big.NewInt(i.micros))
	if micros.Sign() < 0 {
		dst = append(dst, '-')
		micros.Neg(micros)
	}
	days, rest := micros.DivMod(micros, big.NewInt(dayMicros), new(big.Int))
	dst = append(days.Append(dst, 10), ' ')
	return time.UnixMicro(rest.Int64()).UTC().AppendFormat(dst, "15:04:05.000")
}
