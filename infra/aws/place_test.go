package aws

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"penstock/schemas"
)

// Places sort like positions, and come back.
func TestPlaces(t *testing.T) {
	t.Parallel()
	positions := rapid.Custom(func(t *rapid.T) schemas.Position {
		return schemas.Position{
			Sequence: rapid.StringMatching(`(0|[1-9][0-9]{0,3}|[1-9][0-9]{50,55})?`).Draw(t, "sequence"),
			Sub:      rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, math.MaxInt32)).Draw(t, "sub"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		p, q := positions.Draw(t, "p"), positions.Draw(t, "q")
		a, err := encodePlace(p)
		if err != nil {
			t.Fatal(err)
		}
		b, err := encodePlace(q)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Compare(a, b) != p.Compare(q) {
			t.Errorf("%s and %s sort unlike %v and %v", a, b, p, q)
		}
		if back, err := decodePlace(a); err != nil || back != p {
			t.Errorf("%s is read as %v, %v; want %v", a, back, err, p)
		}
	})
	for _, bad := range []schemas.Position{
		{Sequence: "01"}, {Sequence: "x"}, {Sequence: "-1"}, {Sequence: strings.Repeat("9", 100)}, {Sub: -1}, {Sub: math.MaxInt32 + 1},
	} {
		if s, err := encodePlace(bad); err == nil {
			t.Errorf("encodePlace(%v) = %s", bad, s)
		}
	}
}
