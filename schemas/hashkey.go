package schemas

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"math/bits"
	"strconv"
)

// HashKey is a 128-bit position in the stream's hash key space, big-endian, as Kinesis uses it
// (https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html#partition-key).
type HashKey [16]byte

// MaxHashKey is 2^128 - 1.
var MaxHashKey = HashKey{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}

// HashKeyOf is MD5(partition key), as Kinesis computes it.
func HashKeyOf(partitionKey string) HashKey { return md5.Sum([]byte(partitionKey)) }

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
