package main

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"penstock/ingest"
	"penstock/schemas"
)

// A shard is split in its middle, and a sentinel's key lies in its shard.
func TestHashKeys(t *testing.T) {
	t.Parallel()
	key := rapid.SliceOfN(rapid.Byte(), len(schemas.HashKey{}), len(schemas.HashKey{}))
	rapid.Check(t, func(rt *rapid.T) {
		s := ingest.Shard{First: schemas.HashKey(key.Draw(rt, "one end")), Last: schemas.HashKey(key.Draw(rt, "other end"))}
		if s.Last.Compare(s.First) < 0 {
			s.First, s.Last = s.Last, s.First
		}
		number := func(k schemas.HashKey) *big.Int { return new(big.Int).SetBytes(k[:]) }
		want := new(big.Int).Add(number(s.First), number(s.Last))
		if got := middle(s); number(got).Cmp(want.Rsh(want, 1)) != 0 {
			rt.Errorf("middle of %v and %v is %v, not %v", s.First, s.Last, got, want)
		}
	})
	whole := ingest.Shard{Last: schemas.HashKey{0: 0xff}}
	for i := range whole.Last {
		whole.Last[i] = 0xff
	}
	upper := ingest.Shard{First: middle(whole), Last: whole.Last}
	if hash := schemas.HashKeyOf(keyIn(upper)); hash.Compare(upper.First) < 0 {
		t.Errorf("%v is not in the upper half", hash)
	}
}
