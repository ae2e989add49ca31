package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"penstock/schemas"
)

// ReadSince implements History.
func (s *memStream) ReadSince(ctx context.Context, shard string, since time.Time, upTo string, visit func(Record) error) error {
	s.mu.Lock()
	records := slices.Clone(s.records[shard])
	listed := slices.ContainsFunc(s.shards, func(l Shard) bool { return l.ID == shard })
	s.mu.Unlock()
	if !listed {
		return ErrNotFound
	}
	for _, r := range records {
		if upTo != "" && compareSequences(r.Sequence, upTo) > 0 {
			break
		}
		if r.Arrived.Before(since) {
			continue
		}
		if err := errors.Join(ctx.Err(), visit(r)); err != nil {
			return err
		}
	}
	return nil
}

// TestWindowGoesByContentAlone: whoever reads a shard, in pieces of whatever size, from wherever and however often, keeps the
// same events: those whose id does not stand earlier in the lineage within doubleSpan.
func TestWindowGoesByContentAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, "parent")
		var pool [][]byte
		var ids []string
		for range 40 {
			id, encoded := w.event("1", nil)
			ids, pool = append(ids, id), append(pool, encoded)
		}
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		fill := func(shard string) {
			for range rapid.IntRange(1, 25).Draw(t, "records") {
				at = at.Add(time.Duration(rapid.IntRange(0, 150).Draw(t, "gap")) * time.Second)
				var events [][]byte
				for range rapid.IntRange(1, 3).Draw(t, "events") {
					events = append(events, rapid.SampledFrom(pool).Draw(t, "event"))
				}
				w.send(shard, events...)
				records := w.stream.records[shard]
				// Arrivals are approximate: along the line of shards they go back, by arrivalSlack at most.
				late := time.Duration(rapid.IntRange(0, int(arrivalSlack/time.Second)).Draw(t, "late")) * time.Second
				records[len(records)-1].Arrived = at.Add(-late)
			}
		}
		fill("parent")
		w.stream.split("parent", "parent2")
		fill("parent2")
		w.stream.split("parent2", "child")
		fill("child")
		parents := map[string][]string{"child": {"parent2"}, "parent2": {"parent", "gone"}}

		all := decodePage("lake", "child", Page{Records: w.stream.records["child"]}, Checkpoint{}).entries
		want := singles(decodePage("lake", "parent", Page{
			Records: slices.Concat(w.stream.records["parent"], w.stream.records["parent2"]),
		}, Checkpoint{}).entries, all)

		var win *window
		kept := map[schemas.Position]bool{}
		pos := 0 // the next entry
		for round := 0; pos < len(all) || round < 3; round++ {
			if win == nil || rapid.IntRange(0, 4).Draw(t, "new worker") == 0 {
				win = &window{history: w.stream, shard: "child", parents: func(shard string) []string { return parents[shard] }}
			}
			if rapid.IntRange(0, 3).Draw(t, "rewind") == 0 && pos > 0 {
				pos = rapid.IntRange(0, pos).Draw(t, "to")
			}
			var from schemas.Position
			if pos > 0 {
				from = all[pos-1].Position
			}
			end := min(len(all), pos+rapid.IntRange(0, 10).Draw(t, "piece"))
			to := from
			if end > pos {
				to = all[end-1].Position
			}
			got, err := win.single(context.Background(), slices.Clone(all[pos:end]), from, to)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range all[pos:end] {
				kept[e.Position] = slices.ContainsFunc(got, func(g Entry) bool { return g.Position == e.Position })
				if kept[e.Position] != want[e.Position] {
					t.Fatalf("event %d at %s, arrived %s: kept %v, want %v", slices.Index(ids, e.Event.ID), e.Position,
						e.Arrived.Format(time.TimeOnly), kept[e.Position], want[e.Position])
				}
			}
			pos = end
		}
	})
}

// singles says by the rule alone which of the later entries are no doubles.
func singles(earlier, entries []Entry) map[schemas.Position]bool {
	want := map[schemas.Position]bool{}
	seen := slices.Clone(earlier)
	for _, e := range entries {
		want[e.Position] = !slices.ContainsFunc(seen, func(s Entry) bool {
			return s.Event.ID == e.Event.ID && e.Arrived.Sub(s.Arrived) <= doubleSpan
		})
		seen = append(seen, e)
	}
	return want
}

// countedHistory counts how often each shard is read back.
type countedHistory struct {
	History
	reads map[string]int
}

func (h countedHistory) ReadSince(ctx context.Context, shard string, since time.Time, upTo string, visit func(Record) error) error {
	h.reads[shard]++
	return h.History.ReadSince(ctx, shard, since, upTo, visit)
}

// arrive sends an event that arrives so long after a time that all have in common.
func (w *world) arrive(shard string, after time.Duration, encoded []byte) {
	w.send(shard, encoded)
	records := w.stream.records[shard]
	records[len(records)-1].Arrived = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(after)
}

// TestWindowArrivalsGoBackAcrossASplit: a record that arrived before another of its shard's parent does not hide that parent.
func TestWindowArrivalsGoBackAcrossASplit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "grandparent")
	_, twice := w.event("1", nil)
	_, first := w.event("2", nil)
	_, last := w.event("3", nil)
	w.arrive("grandparent", 0, twice)
	w.stream.split("grandparent", "parent")
	w.arrive("parent", -7*time.Second, first)
	w.stream.split("parent", "child")
	w.arrive("child", doubleSpan-3*time.Second, twice)
	w.arrive("child", doubleSpan+54*time.Second, last) // the window that it needs begins between the first two
	parents := map[string][]string{"child": {"parent"}, "parent": {"grandparent"}}
	win := &window{history: w.stream, shard: "child", parents: func(shard string) []string { return parents[shard] }}
	all := decodePage("lake", "child", Page{Records: w.stream.records["child"]}, Checkpoint{}).entries
	if kept, err := win.single(t.Context(), slices.Clone(all[1:]), all[0].Position, all[1].Position); err != nil || len(kept) != 1 {
		t.Errorf("%d kept, %v", len(kept), err)
	}
	if kept, err := win.single(t.Context(), slices.Clone(all[:1]), schemas.Position{}, all[0].Position); err != nil || len(kept) != 0 {
		t.Errorf("a double is kept: %d, %v", len(kept), err)
	}
}

// TestWindowArrivalsGoBackBehindTheFirst: what a page needs of the past goes by its earliest arrival, which need not be the first, also
// when the page is read again after later ones.
func TestWindowArrivalsGoBackBehindTheFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "parent")
	_, twice := w.event("1", nil)
	_, first := w.event("2", nil)
	_, last := w.event("3", nil)
	w.arrive("parent", 15*time.Second, twice)
	w.stream.split("parent", "child")
	w.arrive("child", doubleSpan+40*time.Second, first)
	w.arrive("child", doubleSpan+10*time.Second, twice)
	w.arrive("child", doubleSpan+100*time.Second, last)
	win := &window{history: w.stream, shard: "child", parents: func(shard string) []string {
		return map[string][]string{"child": {"parent"}}[shard]
	}}
	all := decodePage("lake", "child", Page{Records: w.stream.records["child"]}, Checkpoint{}).entries
	for _, end := range []int{3, 2} {
		kept, err := win.single(t.Context(), slices.Clone(all[:end]), schemas.Position{}, all[end-1].Position)
		if err != nil || len(kept) != end-1 {
			t.Errorf("of %d events %d are kept, %v", end, len(kept), err)
		}
	}
}

// TestWindowReadsNoMoreThanItNeeds: of a long line of ancestors those are read back in which something may have arrived within the
// window, and no others.
func TestWindowReadsNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	const ancestors = 20
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		open time.Duration // each ancestor, with a record every 30 s
		own  time.Duration // the shard until the entry
		most int           // of ancestors that are read
	}{
		"the shard is older than the window":    {time.Hour, doubleSpan + 4*arrivalSlack, 0},
		"the shard is young, its parent old":    {time.Hour, time.Minute, 1},
		"the shard is new":                      {time.Hour, 0, 1},
		"splits every two minutes":              {2 * time.Minute, time.Minute, 5},
		"splits so fast that all may hold some": {10 * time.Second, 0, ancestors},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "0")
			at := start
			parents := map[string][]string{}
			fill := func(shard int, d time.Duration) {
				id := fmt.Sprint(shard)
				if shard > 0 {
					parents[id] = []string{fmt.Sprint(shard - 1)}
					w.stream.split(fmt.Sprint(shard-1), id)
				}
				for end := at.Add(d); at.Before(end); at = at.Add(min(30*time.Second, end.Sub(at))) {
					w.send(id, w.inline())
					records := w.stream.records[id]
					records[len(records)-1].Arrived = at
				}
			}
			for i := range ancestors {
				fill(i, c.open)
			}
			fill(ancestors, c.own)
			shard, from := fmt.Sprint(ancestors), schemas.Position{}
			if own := w.stream.records[shard]; len(own) > 0 {
				from = schemas.Position{Sequence: own[len(own)-1].Sequence}
			}
			h := countedHistory{w.stream, map[string]int{}}
			win := &window{history: h, shard: shard, parents: func(shard string) []string { return parents[shard] }}
			e := Entry{Position: schemas.Position{Sequence: from.Sequence + "9"}, Arrived: at}
			e.Event.ID = schemas.NewID(at)
			if _, err := win.single(t.Context(), []Entry{e}, from, e.Position); err != nil {
				t.Fatal(err)
			}
			delete(h.reads, shard)
			if len(h.reads) != c.most {
				t.Errorf("%d ancestors are read back, want %d: %v", len(h.reads), c.most, h.reads)
			}
		})
	}
}

// TestWindowForgets: what is too old for anything that may come takes no memory.
func TestWindowForgets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a")
	win := &window{history: w.stream, shard: "a", parents: func(string) []string { return nil }}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var from schemas.Position
	for i := range 5000 {
		to := schemas.Position{Sequence: fmt.Sprint(10 + i)}
		e := Entry{Position: to, Arrived: at.Add(time.Duration(i) * time.Second)}
		e.Event.ID = schemas.NewID(e.Arrived)
		if _, err := win.single(t.Context(), []Entry{e}, from, to); err != nil {
			t.Fatal(err)
		}
		from = to
	}
	const most = int((doubleSpan+2*arrivalSlack)/time.Second) + 1
	if len(win.ids) != most || len(win.records) != most || len(win.latest) != most {
		t.Errorf("%d ids, %d records, %d in the map; want %d", len(win.ids), len(win.records), len(win.latest), most)
	}
}

// TestLateOriginal: the copy of an event that comes after its own retry, also after two splits and a merge, is in the lake once.
func TestLateOriginal(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{time.Second, 30 * time.Second, 4 * time.Minute} {
		for _, reshards := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, reshards %v", late, reshards), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, "a", "b")
					p := w.start("one")
					event := w.inline()
					w.send("a", w.inline(), event, w.inline())
					shard := "a"
					if reshards {
						for _, step := range []struct {
							parents []string
							child   string
						}{{[]string{"a"}, "a1"}, {[]string{"a1"}, "a2"}, {[]string{"a2", "b"}, "ab"}} {
							elapse(late / 4)
							w.stream.reshape(step.parents, step.child)
							shard = step.child
						}
						elapse(late / 4)
					} else {
						elapse(late)
					}
					w.send(shard, event)
					w.send(shard, w.inline())
					eventually(t, 10*time.Minute, "everything in both sinks", w.complete)
					p.shutdown()
					w.verify()

					// Another process that has to find out by reading back.
					w.send(shard, event)
					w.send(shard, w.inline())
					p = w.start("two")
					eventually(t, 10*time.Minute, "everything in both sinks", w.complete)
					p.shutdown()
					w.verify()
				})
			})
		}
	}
}

// reshape closes the parents and lists a child of them.
func (s *memStream) reshape(parents []string, child string) {
	s.change(func() {
		for i := range s.shards {
			if slices.Contains(parents, s.shards[i].ID) {
				s.shards[i].Closed = true
			}
		}
		s.shards = append(s.shards, Shard{ID: child, Parents: parents})
	})
}
