package schemas

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// maxSequenceDigits is the length of the longest Kinesis sequence number.
const maxSequenceDigits = 56

// Position is a place in a shard: after the event number Sub (0-based) of the record with the sequence number Sequence.
// The zero Position is before everything that the stream still holds (TRIM_HORIZON).
type Position struct {
	// Sequence is a decimal number of up to 56 digits without leading zeros, or empty.
	Sequence string
	// Sub is the index inside an aggregated record of the last event that is done.
	Sub int
}

// IsZero reports whether p is before everything.
func (p Position) IsZero() bool { return p == Position{} }

// Compare orders positions of one shard: sequence numbers as numbers, then Sub.
func (p Position) Compare(other Position) int {
	// Without leading zeros the longer number is the larger one, and the empty one is before all.
	return cmp.Or(
		cmp.Compare(len(p.Sequence), len(other.Sequence)),
		strings.Compare(p.Sequence, other.Sequence),
		cmp.Compare(p.Sub, other.Sub),
	)
}

// String is "sequence/sub", or "" for the zero Position.
func (p Position) String() string {
	if p.IsZero() {
		return ""
	}
	return p.Sequence + "/" + strconv.Itoa(p.Sub)
}

// ParsePosition reads what String wrote.
func ParsePosition(s string) (Position, error) {
	if s == "" {
		return Position{}, nil
	}
	sequence, subText, _ := strings.Cut(s, "/")
	if !isDecimal(sequence) || len(sequence) > maxSequenceDigits || !isDecimal(subText) {
		return Position{}, fmt.Errorf("position %.100q: want sequence/sub, two decimal numbers without leading zeros", s)
	}
	sub, err := strconv.ParseInt(subText, 10, 32)
	if err != nil {
		return Position{}, fmt.Errorf("position %.100q: sub is out of range", s)
	}
	return Position{Sequence: sequence, Sub: int(sub)}, nil
}

// isDecimal reports whether s is a natural number without sign and leading zeros.
func isDecimal(s string) bool {
	if s == "" || (s[0] == '0' && len(s) > 1) {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
