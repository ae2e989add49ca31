package main

import (
	"slices"
	"testing"
	"time"
)

// healthy is a round in which everything is right: an acked document, one with a key that was acked twice with one id, one that
// was never acked and landed, and one that did not.
func healthy() evidence {
	a, b, c := found{"id-a", "a", sum{1}}, found{"id-b", "b", sum{2}}, found{"id-c", "c", sum{3}}
	return evidence{
		Posted: map[string]posted{
			"a": {sum{1}, []string{"id-a"}}, "b": {sum{2}, []string{"id-b"}}, "c": {sum{3}, nil}, "d": {sum{4}, nil},
		},
		Index:   map[string]found{"id-a": a, "id-b": b, "id-c": c},
		Lake:    []found{b, c, a},
		Unowned: []unowned{{Sink: "index", Shard: "shard-0", For: 30 * time.Second}, {Sink: "lake", Shard: "shard-0", For: 9 * time.Second}},
	}
}

func TestHealthyRound(t *testing.T) {
	t.Parallel()
	if all := judge(healthy()); len(all) > 0 {
		t.Errorf("found %v", all)
	}
}

// Whatever goes wrong is found, and nothing else.
func TestVerdict(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		breaks func(e *evidence)
		want   []string // What, in order
	}{
		"an ack is lost everywhere": {func(e *evidence) {
			delete(e.Index, "id-a")
			e.Lake = slices.DeleteFunc(e.Lake, func(f found) bool { return f.ID == "id-a" })
		}, []string{notInIndex, notInLake}},
		"an ack is lost in the index": {func(e *evidence) { delete(e.Index, "id-a") }, []string{notInIndex, lakeOnly}},
		"an ack is lost in the lake":  {func(e *evidence) { e.Lake = e.Lake[:2] }, []string{notInLake}},
		"a row stands twice":          {func(e *evidence) { e.Lake = append(e.Lake, e.Lake[0]) }, []string{twiceInLake}},
		"a row stands four times": {func(e *evidence) {
			e.Lake = append(e.Lake, e.Lake[0], e.Lake[0], e.Lake[0])
		}, []string{twiceInLake}},
		"a row of what was never acked stands twice": {func(e *evidence) { e.Lake = append(e.Lake, e.Lake[1]) }, []string{twiceInLake}},
		"other bytes in the index":                   {func(e *evidence) { e.Index["id-a"] = found{"id-a", "a", sum{9}} }, []string{wrongInIndex}},
		"other bytes in the lake":                    {func(e *evidence) { e.Lake[2].Sum = sum{9} }, []string{wrongInLake}},
		"other bytes of what was never acked":        {func(e *evidence) { e.Lake[1].Sum = sum{9} }, []string{wrongInLake}},
		"an id too many, in both": {func(e *evidence) {
			extra := found{"id-x", "a", sum{1}}
			e.Index["id-x"], e.Lake = extra, append(e.Lake, extra)
		}, []string{secondID}},
		"what was never acked has two ids": {func(e *evidence) {
			extra := found{"id-x", "c", sum{3}}
			e.Index["id-x"], e.Lake = extra, append(e.Lake, extra)
		}, []string{secondID}},
		"a key was told two ids": {func(e *evidence) {
			e.Posted["b"] = posted{sum{2}, []string{"id-b", "id-a"}}
		}, []string{secondID}},
		"nobody posted it": {func(e *evidence) {
			extra := found{"id-x", "", sum{7}}
			e.Index["id-x"], e.Lake = extra, append(e.Lake, extra)
		}, []string{neverPosted, neverPosted}},
		"an event of another one's id": {func(e *evidence) {
			e.Index["id-a"] = found{"id-a", "b", sum{2}}
		}, []string{secondID}},
		"what was never acked is in one sink alone": {func(e *evidence) { delete(e.Index, "id-c") }, []string{lakeOnly}},
		"and in the other":                          {func(e *evidence) { e.Lake = slices.Delete(e.Lake, 1, 2) }, []string{indexOnly}},
		"a shard is left alone":                     {func(e *evidence) { e.Unowned[0].For++ }, []string{leftAlone}},
	} {
		e := healthy()
		of.breaks(&e)
		var what []string
		for _, f := range judge(e) {
			what = append(what, f.What)
		}
		slices.Sort(of.want)
		if !slices.Equal(what, of.want) {
			t.Errorf("%s: found %q, want %q", name, what, of.want)
		}
	}
}
