package schemas_test

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"penstock/schemas"
)

func TestNewID(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 10, 15, 30, 999_999_999, time.FixedZone("", 3600))
	seen := make(map[string]bool)
	for range 1000 {
		id := schemas.NewID(now)
		if seen[id] || len(id) != 27 {
			t.Fatalf("id %q is not unique or not 27 characters long", id)
		}
		seen[id] = true
		second, err := schemas.IDTime(id)
		if err != nil || second != now.UTC().Truncate(time.Second) {
			t.Fatalf("%s: got %v, %v", id, second, err)
		}
		if later := schemas.NewID(now.Add(time.Second)); later <= id {
			t.Fatalf("%s of the next second does not sort after %s", later, id)
		}
	}
}

func TestNewIDOfWrongClocks(t *testing.T) {
	t.Parallel()
	before := schemas.NewID(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC))
	after := schemas.NewID(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	now := schemas.NewID(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if before >= now || now >= after {
		t.Errorf("order is %s, %s, %s", before, now, after)
	}
}

func TestDeriveID(t *testing.T) {
	t.Parallel()
	batch := "2gFWbDEZTXM1gCJv4rHRY2sXHzt"
	// Clients find the ids of a first try by this: they must never change.
	for i, want := range map[int]string{0: "2gFWbAF7z2IJcv6gxpdAgDykHVf", 1: "2gFWbDzIIDHaelXNVWHWOzJaANV",
		9_999: "2gFWb72tP0ozPwvGSpuS7vERHN4"} {
		if got := schemas.DeriveID(batch, i); got != want {
			t.Errorf("item %d: got %s, want %s", i, got, want)
		}
	}
	second, err := schemas.IDTime(batch)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{batch: true}
	for i := range schemas.MaxBatchItems {
		id := schemas.DeriveID(batch, i)
		if seen[id] {
			t.Fatalf("item %d: %s is there twice", i, id)
		}
		seen[id] = true
		if got, err := schemas.IDTime(id); err != nil || got != second {
			t.Fatalf("item %d: second %v, %v, want %v", i, got, err, second)
		}
	}
	first, again := schemas.DeriveID("no id", 1), schemas.DeriveID("no id", 1)
	if first != again || first == schemas.DeriveID("", 1) {
		t.Error("ids of what is no batch id are not stable, or all the same")
	}
}

func TestIDTimeRefuses(t *testing.T) {
	t.Parallel()
	valid := "2gFWbDEZTXM1gCJv4rHRY2sXHzt"
	if _, err := schemas.IDTime(valid); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", valid[1:], valid + "0", "!" + valid[1:], valid[:26] + "\n", valid[:26] + "_", "é" + valid[2:],
		strings.Repeat("z", 27), strings.Repeat("\x00", 27)} {
		if _, err := schemas.IDTime(id); err == nil || !strings.Contains(err.Error(), "27 characters") {
			t.Errorf("%q: got %v", id, err)
		}
	}
}

// An id is what is a number below 2^160 in 27 digits of base 62, and its time is the number's first 32 bits.
func FuzzIDTime(f *testing.F) {
	for _, seed := range []string{"", "2gFWbDEZTXM1gCJv4rHRY2sXHzt", strings.Repeat("0", 27), "aWgEPTl1tmebfsQzFP4bxwgy80V",
		"aWgEPTl1tmebfsQzFP4bxwgy80W", "2gFWbDEZTXM1gCJv4rHRY2sXHz\n", "2gFWbDEZTXM1gCJv4rHRY2sXHzt0", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		number, valid := new(big.Int), len(id) == 27
		for i := range len(id) {
			digit := strings.IndexByte(digits, id[i])
			valid = valid && digit >= 0
			number.Mul(number, big.NewInt(62)).Add(number, big.NewInt(int64(digit)))
		}
		valid = valid && number.BitLen() <= 160
		got, err := schemas.IDTime(id)
		if (err == nil) != valid {
			t.Fatalf("%q: %v, %v; an id: %t", id, got, err, valid)
		}
		if want := time.Unix(1_400_000_000+number.Rsh(number, 128).Int64(), 0).UTC(); valid && got != want {
			t.Fatalf("%q is of %v, want %v", id, got, want)
		}
	})
}
