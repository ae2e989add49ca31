package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
)

const (
	smallBody = 200
	largeBody = 20 << 10
	// hugeBody is over schemas.MaxInlineBody, so that the event points to an object.
	hugeBody = 1_100_000
	hugeSpan = 900_000
)

// document is what a client posts, with a marker of its own in it.
type document struct {
	Marker string
	Body   []byte
}

func (d document) sum() sum { return sha256.Sum256(d.Body) }

// marked finds the marker in what a sink gives back.
var marked = regexp.MustCompile(`"marker" ?: ?"([0-9a-z-]{1,40})"`)

func markerOf(body []byte) string {
	if m := marked.FindSubmatch(body); m != nil {
		return string(m[1])
	}
	return ""
}

// newDocument makes the nth of a seed: 200 B to 20 KB, most of them small, or over 1 MB. Its JSON is of the kind that does not
// survive being decoded and encoded again: white space around it, repeated keys, numbers as nobody would write them.
func newDocument(seed uint64, n int, huge bool) document {
	random := rand.New(rand.NewPCG(seed, uint64(n)))
	size := spread(random, smallBody, largeBody/10)
	switch {
	case huge:
		size = hugeBody + random.IntN(hugeSpan)
	case random.IntN(10) == 0:
		size = spread(random, largeBody/10, largeBody)
	}
	marker := fmt.Sprintf("%s-%d", strconv.FormatUint(seed, 36), n)
	around := []string{"", " ", "\t", "  "}
	var b bytes.Buffer
	b.Grow(size + 64)
	b.WriteString(around[random.IntN(len(around))])
	b.WriteString(`{"marker": "` + marker + `","n":1.` + strconv.Itoa(random.IntN(100)) + `0e+02,"n":-0.0,"text":"ä\u00e4\/`)
	for b.Len() < size {
		b.WriteString(strconv.FormatUint(random.Uint64(), 36)) // compresses as little as real text does
	}
	b.WriteString(`"}`)
	b.WriteString(around[random.IntN(len(around))])
	return document{marker, b.Bytes()}
}

// spread is evenly spread over the orders of magnitude between low and high.
func spread(random *rand.Rand, low, high int) int {
	return int(float64(low) * math.Pow(float64(high)/float64(low), random.Float64()))
}
