package schemas

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
)

// HashKey is a 128-bit position in the stream's hash key space, big-endian, as Kinesis uses it
// (https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html#partition-key).
type HashKey [16]byte

// MaxHashKey is 2^128 - 1.
var MaxHashKey = HashKey{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}

// maxHashKeyDigits is the length of 2^128 - 1 in decimal.
const maxHashKeyDigits = 39

// HashKeyOf is MD5(partition key), as Kinesis computes it.
func HashKeyOf(partitionKey string) HashKey { return md5.Sum([]byte(partitionKey)) }

// ParseHashKey reads the decimal form that Kinesis' ExplicitHashKey has.
func ParseHashKey(s string) (HashKey, error) {
	if !isDecimal(s) || len(s) > maxHashKeyDigits {
		return HashKey{}, fmt.Errorf("hash key %.100q: want a decimal number from 0 to 2^128-1 without leading zeros", s)
	}
	var hi, lo uint64
	for _, c := range []byte(s) {
		// (hi, lo) = (hi, lo)*10 + digit, in 128 bits.
		carry, low := bits.Mul64(lo, 10)
		over, high := bits.Mul64(hi, 10)
		var c1, c2, c3 uint64
		low, c1 = bits.Add64(low, uint64(c-'0'), 0)
		high, c2 = bits.Add64(high, carry, c1)
		_, c3 = bits.Add64(over, c2, 0)
		if over+c2+c3 != 0 {
			return HashKey{}, fmt.Errorf("hash key %q: larger than 2^128-1", s)
		}
		hi, lo = high, low
	}
	var k HashKey
	binary.BigEndian.PutUint64(k[:8], hi)
	binary.BigEndian.PutUint64(k[8:], lo)
	return k, nil
}

// String is the decimal form without leading zeros.
func (k HashKey) String() string { return string(k.appendDecimal(nil)) }

func (k HashKey) appendDecimal(dst []byte) []byte {
	// The largest power of ten in a uint64: two chunks of 19 digits and one digit make 2^128.
	const chunk, chunkDigits = 1e19, 19
	hi, lo := binary.BigEndian.Uint64(k[:8]), binary.BigEndian.Uint64(k[8:])
	top, rest := hi/chunk, hi%chunk
	middle, low := bits.Div64(rest, lo, chunk)
	// The quotient (top, middle) is below 2^128/1e19 < 3.5e19: divide it once more.
	first, second := bits.Div64(top, middle, chunk)
	switch {
	case first != 0:
		dst = strconv.AppendUint(dst, first, 10)
		dst = appendPadded(dst, second, chunkDigits)
		return appendPadded(dst, low, chunkDigits)
	case second != 0:
		dst = strconv.AppendUint(dst, second, 10)
		return appendPadded(dst, low, chunkDigits)
	default:
		return strconv.AppendUint(dst, low, 10)
	}
}

// appendPadded appends n with leading zeros, as exactly width digits.
func appendPadded(dst []byte, n uint64, width int) []byte {
	dst = append(dst, "0000000000000000000"[:width]...)
	for i := len(dst) - 1; n > 0 && i >= len(dst)-width; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// Compare orders hash keys as 128-bit numbers: -1, 0, +1.
func (k HashKey) Compare(other HashKey) int { return bytes.Compare(k[:], other[:]) }
