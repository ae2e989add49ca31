package consumer

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock/schemas"
)

// TestDecodeFromAnywhere: from whatever position a page is decoded, and whatever is bad in it, exactly the events behind
// that position come out, as entries or dead letters.
func TestDecodeFromAnywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, "a")
		var all []schemas.Position
		bad := map[schemas.Position]bool{}
		for range rapid.IntRange(0, 5).Draw(t, "records") {
			if rapid.IntRange(0, 4).Draw(t, "whole record bad") == 0 {
				at := schemas.Position{Sequence: w.stream.put("a", []byte("\xf3\x89\x9a\xc2garbage"))}
				all, bad[at] = append(all, at), true
				continue
			}
			var events [][]byte
			broken := rapid.SliceOfN(rapid.Bool(), 1, 4).Draw(t, "bad events")
			for _, is := range broken {
				if is {
					events = append(events, []byte("{"))
				} else {
					events = append(events, w.inline())
				}
			}
			sequence := w.send("a", events...)
			for i, is := range broken {
				at := schemas.Position{Sequence: sequence, Sub: i}
				all, bad[at] = append(all, at), is
			}
		}
		from := Checkpoint{AsOf: time.Unix(5, 0)}
		if len(all) > 0 && rapid.Bool().Draw(t, "from inside") {
			from.Position = rapid.SampledFrom(all).Draw(t, "from")
		}
		page := Page{Records: w.stream.records["a"], End: rapid.Bool().Draw(t, "end")}
		d := decodePage("s", "a", page, from)
		if d.to.End != page.End || !d.to.AsOf.Equal(from.AsOf) || d.to.Position.Compare(from.Position) < 0 {
			t.Fatalf("checkpoint %+v", d.to)
		}
		for _, at := range all {
			if at.Compare(d.to.Position) > 0 {
				t.Fatalf("%s is behind the checkpoint %s", at, d.to.Position)
			}
			if at.Compare(from.Position) <= 0 {
				continue
			}
			switch {
			case bad[at]:
				if len(d.letters) == 0 || d.letters[0].Position != at {
					t.Fatalf("no dead letter of %s", at)
				}
				d.letters = d.letters[1:]
			default:
				if len(d.entries) == 0 || d.entries[0].Position != at {
					t.Fatalf("no entry of %s", at)
				}
				d.entries = d.entries[1:]
			}
		}
		if len(d.letters)+len(d.entries) > 0 {
			t.Fatalf("too much: %v, %v", d.letters, d.entries)
		}
	})
}
