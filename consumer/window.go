package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"penstock/schemas"
)

const (
	// doubleSpan is how far apart two copies of one event may arrive: a signed request that has no answer may be carried out
	// up to 5 minutes after it was signed, which may be after its own retry
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html), and clocks may differ.
	doubleSpan = 6 * time.Minute
	// arrivalSlack is how far the arrival times of a shard may go back along its sequence numbers: they are approximate.
	arrivalSlack = time.Minute
)

// History is the past of a stream on which a write may be in doubt, so that an event may be there twice.
type History interface {
	// ReadSince visits, in order, the records of a shard that arrived at or after the given time, or a little before, up to and
	// including the one of sequence number upTo; of a closed shard with upTo "" all to its end. ErrNotFound: the stream
	// no longer lists the shard. An error of visit ends it and is returned.
	ReadSince(ctx context.Context, shard string, since time.Time, upTo string, visit func(Record) error) error
}

// window finds the doubles in a shard: an event is one if its id stands earlier in the shard or in those that it came from,
// and arrived at most doubleSpan before. That goes by the stream's content alone, so whoever reads a shard, from wherever and
// however often, decides alike. Ids that are no KSUIDs are not ingest's, and so have no doubles of its making.
//
// It takes about 120 bytes for each event of the last 8 minutes; a shard takes 1 MB a second.
type window struct {
	history History
	shard   string
	parents func(shard string) []string // those that the stream still lists

	// Everything that arrived since then and stands at or before through is in here; zero: nothing is known.
	since   time.Time
	through schemas.Position

	newest  time.Time // arrival
	records []windowRecord
	ids     []windowID
	// firstRecord and firstID are the numbers of records[0] and ids[0].
	firstRecord, firstID int
	latest               map[[schemas.IDBytes]byte]int // number of an id's last occurrence
}

type windowRecord struct {
	sequence string
	own      bool // not an ancestor's
	arrived  time.Time
	first    int // number of its first id
}

type windowID struct {
	id     [schemas.IDBytes]byte
	record int
	sub    int
	before int // number of the same id's occurrence before this one, or a smaller one than any there is
}

// single returns the entries that are no doubles, of those that the shard has between two positions. It uses the slice again.
func (w *window) single(ctx context.Context, entries []Entry, from, to schemas.Position) ([]Entry, error) {
	if len(entries) == 0 {
		if w.through == from {
			w.through = to
		}
		return entries, nil
	}
	wanted := entries[0].Arrived.Add(-arrivalSlack - doubleSpan) // those behind it may have arrived before it
	if w.since.IsZero() || wanted.Before(w.since) || w.through.Compare(from) < 0 {
		if err := w.rebuild(ctx, wanted.Add(-arrivalSlack), from); err != nil { // more, or the next page might need it once more
			return nil, fmt.Errorf("read back what arrived since %s, to find doubles: %w", wanted.Format(time.RFC3339), err)
		}
	}
	w.rewind(from)
	kept := entries[:0]
	for _, e := range entries {
		if !w.add(e.Event.ID, windowRecord{sequence: e.Position.Sequence, own: true, arrived: e.Arrived}, e.Position.Sub) {
			kept = append(kept, e)
		}
	}
	w.through = to
	w.expire()
	return kept, nil
}

// rebuild reads the past up to the position, through the ancestors that may hold any of it.
func (w *window) rebuild(ctx context.Context, since time.Time, to schemas.Position) error {
	*w = window{history: w.history, shard: w.shard, parents: w.parents, latest: map[[schemas.IDBytes]byte]int{}}
	open, err := w.openBefore(ctx, since, to)
	if err != nil {
		return err
	}
	if !open {
		if err := w.readAncestors(ctx, since); err != nil {
			return err
		}
	}
	if !to.IsZero() { // last, since rewind takes back the shard's own from the end
		if _, err := w.read(ctx, w.shard, since, to); err != nil {
			return err
		}
	}
	w.since, w.through = since, to
	return nil
}

// longBefore is a time such that, where a shard held a record that arrived before it, what the shard came from held nothing that
// arrived since: along a line of shards too arrival times may go back.
func longBefore(since time.Time) time.Time { return since.Add(-arrivalSlack) }

// openBefore reports whether the shard is known to have held a record at or before the position that arrived long before since.
func (w *window) openBefore(ctx context.Context, since time.Time, to schemas.Position) (open bool, err error) {
	if to.IsZero() {
		return false, nil
	}
	enough := errors.New("enough was seen")
	err = w.history.ReadSince(ctx, w.shard, longBefore(since).Add(-arrivalSlack), to.Sequence, func(r Record) error {
		open = r.Arrived.Before(longBefore(since))
		return enough
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return open, err
}

// readAncestors reads those of whom something may have arrived since then, the nearest first. A shard is open only when its parents
// are closed; so where one held a record before, all that its own ancestors held came earlier. Without this a worker would read
// again whatever the shard came from in all the time that the stream keeps.
func (w *window) readAncestors(ctx context.Context, since time.Time) error {
	seen := map[string]bool{}
	for line := w.parents(w.shard); len(line) > 0; line = line[1:] {
		if seen[line[0]] {
			continue
		}
		seen[line[0]] = true
		open, err := w.read(ctx, line[0], since, schemas.Position{})
		if err != nil && !errors.Is(err, ErrNotFound) { // one that is gone held nothing that is young enough
			return err
		}
		if !open {
			line = append(line, w.parents(line[0])...)
		}
	}
	return nil
}

// read takes in what of a shard arrived since then, up to the position, or all to its end when that is zero. It reports whether the
// shard held a record that arrived long before.
func (w *window) read(ctx context.Context, shard string, since time.Time, to schemas.Position) (open bool, err error) {
	err = w.history.ReadSince(ctx, shard, longBefore(since).Add(-arrivalSlack), to.Sequence, func(r Record) error {
		last := maxSub
		if !to.IsZero() && r.Sequence == to.Sequence {
			last = to.Sub
		}
		open = open || r.Arrived.Before(longBefore(since))
		w.addRecord(r, shard == w.shard, last)
		return nil
	})
	return open, err
}

const maxSub = schemas.MaxAggregateEvents * schemas.MaxAggregateEvents // more than any record has

// addRecord takes in the events of a record, up to the last one. What can't be decoded has no id.
func (w *window) addRecord(r Record, own bool, last int) {
	events, err := schemas.Deaggregate(r.Data)
	if err != nil {
		return
	}
	for sub, encoded := range events[:min(len(events), last+1)] {
		if event, err := schemas.DecodeEvent(encoded); err == nil {
			w.add(event.ID, windowRecord{sequence: r.Sequence, own: own, arrived: r.Arrived}, sub)
		}
	}
}

// add takes in an event of a record and reports whether it is a double.
func (w *window) add(text string, in windowRecord, sub int) (double bool) {
	id, ok := schemas.IDBytesOf(text)
	if !ok {
		return false
	}
	if n := len(w.records); n == 0 || w.records[n-1].sequence != in.sequence {
		in.first = w.firstID + len(w.ids)
		w.records = append(w.records, in)
	}
	before, there := w.latest[id]
	if !there {
		before = -1
	}
	for i := before; i >= w.firstID && !double; i = w.ids[i-w.firstID].before {
		double = in.arrived.Sub(w.recordOf(i).arrived) <= doubleSpan
	}
	w.latest[id] = w.firstID + len(w.ids)
	w.ids = append(w.ids, windowID{id, w.firstRecord + len(w.records) - 1, sub, before})
	if in.arrived.After(w.newest) {
		w.newest = in.arrived
	}
	return double
}

func (w *window) recordOf(id int) *windowRecord {
	return &w.records[w.ids[id-w.firstID].record-w.firstRecord]
}

// rewind forgets what stands behind the position.
func (w *window) rewind(to schemas.Position) {
	for n := len(w.ids); n > 0; n-- {
		last := &w.ids[n-1]
		record := &w.records[len(w.records)-1]
		at := schemas.Position{Sequence: record.sequence, Sub: last.sub}
		if !record.own || at.Compare(to) <= 0 {
			break
		}
		if last.before >= w.firstID {
			w.latest[last.id] = last.before
		} else {
			delete(w.latest, last.id)
		}
		if record.first == w.firstID+n-1 {
			w.records = w.records[:len(w.records)-1]
		}
		w.ids = w.ids[:n-1]
	}
	w.through = to
}

// expire forgets what is too old for anything that may come.
func (w *window) expire() {
	horizon := w.newest.Add(-doubleSpan - 2*arrivalSlack) // as far as single asks for behind the newest
	for len(w.records) > 0 && w.records[0].arrived.Before(horizon) {
		end := w.firstID + len(w.ids)
		if len(w.records) > 1 {
			end = w.records[1].first
		}
		for ; w.firstID < end; w.firstID++ {
			if id := w.ids[0].id; w.latest[id] == w.firstID {
				delete(w.latest, id)
			}
			w.ids = w.ids[1:]
		}
		w.records = w.records[1:]
		w.firstRecord++
	}
	if w.since.Before(horizon) {
		w.since = horizon
	}
}
