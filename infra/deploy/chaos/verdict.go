package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
)

// maxUnowned is how long a shard that has something to read may be without a worker.
const maxUnowned = 30 * time.Second

// sum is the SHA-256 of a document.
type sum [32]byte

func (s sum) String() string { return hex.EncodeToString(s[:4]) }

// posted is one document that clients sent. It has a marker of its own in it; but for those with an Idempotency-Key, which are
// sent until they are acked, it was sent once.
type posted struct {
	Sum sum
	// Acked are the ids that it was told by answers 202, each once: none, one, or more than one when a key was broken.
	Acked []string
}

// found is an event as a sink gives it back.
type found struct {
	ID     string
	Marker string // in its data; empty when there is none that was posted
	Sum    sum    // of its data
}

// unowned is the longest time that a shard with something to read was without a worker.
type unowned struct {
	Sink, Shard string
	For         time.Duration
	Until       time.Time // when it was seen to have one again, or still none
}

// evidence is all that the verdict goes by.
type evidence struct {
	Posted map[string]posted // by marker
	// Index has what is there by id: an index can't hold an id twice.
	Index map[string]found
	// Lake has the rows, in no order.
	Lake    []found
	Unowned []unowned
	Missed  time.Duration // the longest between two looks at the leases
	// Stream has how often an id stands on the stream, to tell where a lost one was lost. It is no proof of anything.
	Stream map[string]int
}

// finding is one thing that must not be.
type finding struct {
	What   string
	ID     string `json:",omitempty"`
	Marker string `json:",omitempty"`
	Detail string `json:",omitempty"`
}

func (f finding) String() string {
	return fmt.Sprintf("%s: id %s, marker %s: %s", f.What, f.ID, f.Marker, f.Detail)
}

// What a finding may be.
const (
	notInIndex   = "acked, not in the index"
	notInLake    = "acked, not in the lake"
	twiceInLake  = "more than once in the lake"
	wrongInIndex = "other bytes in the index"
	wrongInLake  = "other bytes in the lake"
	neverPosted  = "nobody posted it"
	secondID     = "one document, several ids"
	indexOnly    = "in the index, not in the lake"
	lakeOnly     = "in the lake, not in the index"
	leftAlone    = "shard without a worker"
	noTrial      = "the round proves nothing"
)

// judge holds both sinks against what was posted and acked. Both must be level with the stream. What was never acked may be
// there or not, but by one id at most, and in both sinks or in none, since both read the same stream to its end.
func judge(e evidence) []finding {
	var all []finding
	rows := map[string]int{}
	ids := map[string]map[string]bool{} // by marker
	for _, f := range slices.Concat(slices.Collect(maps.Values(e.Index)), e.Lake) {
		if ids[f.Marker] == nil {
			ids[f.Marker] = map[string]bool{}
		}
		ids[f.Marker][f.ID] = true
	}
	for _, row := range e.Lake {
		rows[row.ID]++
		all = append(all, e.check(row, wrongInLake)...)
		if _, there := e.Index[row.ID]; !there && rows[row.ID] == 1 {
			all = append(all, finding{lakeOnly, row.ID, row.Marker, e.where(row.ID)})
		}
		if rows[row.ID] == 2 {
			all = append(all, finding{twiceInLake, row.ID, row.Marker, e.where(row.ID)})
		}
	}
	for _, item := range e.Index {
		all = append(all, e.check(item, wrongInIndex)...)
		if rows[item.ID] == 0 && !slices.Contains(e.Posted[item.Marker].Acked, item.ID) {
			all = append(all, finding{indexOnly, item.ID, item.Marker, e.where(item.ID)})
		}
	}
	for marker, p := range e.Posted {
		of := ids[marker]
		for _, id := range p.Acked {
			if of == nil {
				of = map[string]bool{}
			}
			of[id] = true
			if _, there := e.Index[id]; !there {
				all = append(all, finding{notInIndex, id, marker, e.where(id)})
			}
			if rows[id] == 0 {
				all = append(all, finding{notInLake, id, marker, e.where(id)})
			}
		}
		if len(of) > 1 {
			all = append(all, finding{secondID, "", marker, fmt.Sprint(slices.Sorted(maps.Keys(of)))})
		}
	}
	for _, u := range e.Unowned {
		if u.For > maxUnowned {
			all = append(all, finding{What: leftAlone, Detail: fmt.Sprintf("%s of the %s sink for %v, until %s",
				u.Shard, u.Sink, u.For.Round(time.Millisecond), u.Until.Format(time.TimeOnly))})
		}
	}
	slices.SortFunc(all, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Marker, b.Marker))
	})
	return all
}

// check holds what a sink has against what was posted with that marker.
func (e evidence) check(f found, wrong string) []finding {
	p, ok := e.Posted[f.Marker]
	switch {
	case !ok:
		return []finding{{neverPosted, f.ID, f.Marker, e.where(f.ID)}}
	case p.Sum != f.Sum:
		return []finding{{wrong, f.ID, f.Marker, fmt.Sprintf("SHA-256 %v…, posted was %v…", f.Sum, p.Sum)}}
	default:
		return nil
	}
}

func (e evidence) where(id string) string { return fmt.Sprintf("%d times on the stream", e.Stream[id]) }
