package schemas_test

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"penstock/schemas"
)

func TestPositionOrder(t *testing.T) {
	t.Parallel()
	ordered := []schemas.Position{
		{}, {Sequence: "0"}, {Sequence: "0", Sub: 1}, {Sequence: "2"}, {Sequence: "10"}, {Sequence: "10", Sub: 9},
		{Sequence: "10", Sub: 10}, {Sequence: "11"}, {Sequence: "49590338271490256608559692538361571095921575989136588898"},
	}
	for i, p := range ordered {
		if p.IsZero() != (i == 0) {
			t.Errorf("%v: IsZero is %v", p, p.IsZero())
		}
		for j, q := range ordered {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := p.Compare(q); got != want {
				t.Errorf("%v against %v: got %d, want %d", p, q, got, want)
			}
		}
		back, err := schemas.ParsePosition(p.String())
		if err != nil || back != p {
			t.Errorf("%v came back as %v, %v", p, back, err)
		}
	}
}

func TestParsePositionRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"1", "/", "1/", "/1", "01/0", "1/01", "-1/0", "1/-1", "+1/0", "1/0/0", " 1/0", "1/0 ", "1/x",
		"1/2147483648", strings.Repeat("9", 57) + "/0", "１/0"} {
		if p, err := schemas.ParsePosition(s); err == nil {
			t.Errorf("%q was read as %v", s, p)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, seed := range []string{"", "0/0", "123/45", "01/0", strings.Repeat("9", 56) + "/2147483647"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := schemas.ParsePosition(s)
		if err == nil && p.String() != s {
			t.Fatalf("%q came back as %q", s, p.String())
		}
		if err == nil && (p.Sub < 0 || p.Sub > math.MaxInt32 || p.IsZero() != (s == "")) {
			t.Fatalf("%q was read as %#v", s, p)
		}
	})
}

func TestHashKeyDecimal(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"0", "1", "9999999999999999999", "10000000000000000000", "18446744073709551615",
		"18446744073709551616", "99999999999999999999999999999999999999", "100000000000000000000000000000000000000",
		"170141183460469231731687303715884105728", "340282366920938463463374607431768211455"} {
		n, _ := new(big.Int).SetString(s, 10)
		var k schemas.HashKey
		if n.FillBytes(k[:]); k.String() != s {
			t.Errorf("%s came back as %s", s, k)
		}
	}
	if got := schemas.MaxHashKey.String(); got != "340282366920938463463374607431768211455" {
		t.Errorf("MaxHashKey is %s", got)
	}
}

func TestHashKeyAgainstBigNumbers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (schemas.HashKey, *big.Int) {
			k := schemas.HashKey(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
			// Small numbers too: clear some leading bytes.
			clear(k[:rapid.IntRange(0, 16).Draw(t, name+" zeros")])
			return k, new(big.Int).SetBytes(k[:])
		}
		k, kBig := draw("k")
		other, otherBig := draw("other")
		if k.String() != kBig.String() {
			t.Fatalf("got %s, want %s", k, kBig)
		}
		if got, want := k.Compare(other), kBig.Cmp(otherBig); got != want {
			t.Fatalf("%s against %s: got %d, want %d", k, other, got, want)
		}
	})
}

func TestHashKeyOf(t *testing.T) {
	t.Parallel()
	// MD5 test suite of RFC 1321.
	if got, want := schemas.HashKeyOf("abc").String(), "191415658344158766168031473277922803570"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	keys := []schemas.HashKey{schemas.MaxHashKey, schemas.HashKeyOf("a"), {}}
	slices.SortFunc(keys, schemas.HashKey.Compare)
	if keys[0] != (schemas.HashKey{}) || keys[2] != schemas.MaxHashKey {
		t.Errorf("order is %v", keys)
	}
}
