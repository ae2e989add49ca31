package aws

import (
	"fmt"
	"math"
	"regexp"
	"strconv"

	"penstock/schemas"
)

// maxSequence is the most digits of a sequence number whose length has two; Kinesis' own have 56.
const maxSequence = 99

var placeText = regexp.MustCompile(`^([0-9]{2})(|0|[1-9][0-9]*)-([0-9]{10})$`)

// encodePlace gives a position as text that sorts like it: the number of digits, the sequence number, the sub-sequence.
// DynamoDB's own numbers have 38 digits, too few for a sequence number
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html).
func encodePlace(p schemas.Position) (string, error) {
	s := fmt.Sprintf("%02d%s-%010d", len(p.Sequence), p.Sequence, p.Sub)
	if len(p.Sequence) > maxSequence || p.Sub < 0 || p.Sub > math.MaxInt32 || !placeText.MatchString(s) {
		return "", fmt.Errorf("position %.120q has no place among keys: want decimal numbers without leading zeros", p.String())
	}
	return s, nil
}

func decodePlace(s string) (schemas.Position, error) {
	m := placeText.FindStringSubmatch(s)
	if m == nil || m[1] != fmt.Sprintf("%02d", len(m[2])) {
		return schemas.Position{}, fmt.Errorf("place %.120q: %w", s, errCorrupt)
	}
	sub, err := strconv.ParseInt(m[3], 10, 32)
	if err != nil {
		return schemas.Position{}, fmt.Errorf("place %.120q: %w", s, errCorrupt)
	}
	return schemas.Position{Sequence: m[2], Sub: int(sub)}, nil
}
