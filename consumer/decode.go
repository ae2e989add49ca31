package consumer

import (
	"fmt"

	"penstock/schemas"
)

// decoded is a page taken apart for one sink.
type decoded struct {
	entries []Entry
	letters []DeadLetter
	to      Checkpoint
}

// decodePage takes the records of a page apart into events. What lies at or before from is skipped, so that a source
// which begins too early, or a checkpoint inside an aggregated record, gives no event twice. What can't be decoded
// becomes a dead letter, and the rest goes on (invariant 8).
func decodePage(sink, shard string, page Page, from Checkpoint) decoded {
	d := decoded{to: from}
	for _, r := range page.Records {
		d.record(sink, shard, r)
	}
	if page.AsOf.After(d.to.AsOf) {
		d.to.AsOf = page.AsOf
	}
	d.to.End = page.End
	return d
}

// record adds one record and moves the checkpoint to its end.
func (d *decoded) record(sink, shard string, r Record) {
	done := d.to.Position
	first := schemas.Position{Sequence: r.Sequence}
	deaggregate := schemas.Deaggregate
	if r.Checked {
		deaggregate = schemas.DeaggregateChecked
	}
	events, err := deaggregate(r.Data)
	if err != nil {
		if first.Compare(done) > 0 {
			d.to.Position = first
			d.refuse(sink, shard, first, r, r.Data, fmt.Errorf("take the record apart: %w", err))
		}
		return
	}
	last := schemas.Position{Sequence: r.Sequence, Sub: max(len(events)-1, 0)}
	if last.Compare(done) <= 0 {
		return
	}
	d.to.Position = last
	for i, encoded := range events {
		at := schemas.Position{Sequence: r.Sequence, Sub: i}
		if at.Compare(done) <= 0 {
			continue
		}
		event, err := schemas.DecodeEvent(encoded)
		if err != nil {
			d.refuse(sink, shard, at, r, encoded, fmt.Errorf("decode the event: %w", err))
			continue
		}
		d.entries = append(d.entries, Entry{
			Event: event, Encoded: encoded, Shard: shard, Position: at, Arrived: r.Arrived,
		})
	}
}

func (d *decoded) refuse(sink, shard string, at schemas.Position, r Record, raw []byte, reason error) {
	d.letters = append(d.letters, DeadLetter{
		Sink: sink, Shard: shard, Position: at, Arrived: r.Arrived, Reason: reason.Error(), Raw: raw,
	})
}

// decodeLetter takes the raw bytes of a dead letter apart again: a whole stream record, or one event of it.
func decodeLetter(d DeadLetter) ([]Entry, error) {
	events, err := schemas.Deaggregate(d.Raw)
	if err != nil {
		return nil, fmt.Errorf("dead letter %s %s still can't be taken apart: %w", d.Shard, d.Position, err)
	}
	entries := make([]Entry, 0, len(events))
	for i, encoded := range events {
		event, err := schemas.DecodeEvent(encoded)
		if err != nil {
			return nil, fmt.Errorf("dead letter %s %s still can't be decoded (event %d in it): %w",
				d.Shard, d.Position, i, err)
		}
		// An event stands at the letter's own position; the events of a whole record follow it, which was given as
		// that of the record's first.
		at := schemas.Position{Sequence: d.Position.Sequence, Sub: d.Position.Sub + i}
		entries = append(entries, Entry{
			Event: event, Encoded: encoded, Shard: d.Shard, Position: at, Arrived: d.Arrived,
		})
	}
	return entries, nil
}
