package consumer

import "penstock/schemas"

// piece is a part of a batch that is small enough to be fetched and buffered at once.
type piece struct {
	entries []Entry
	bytes   int64
	to      mark
}

// cutBatch cuts a batch, delivered on top of tail, into pieces of up to limit bytes of rows; a larger row is alone. Only
// a piece that ends inside an aggregated record has a mark with a record before it.
func cutBatch(b Batch, tail mark, limit int64) []piece {
	var pieces []piece
	var p piece
	first := 0
	for i := range b.Entries {
		n := rowBytes(&b.Entries[i])
		if i > first && p.bytes+n > limit {
			p.entries, p.to = b.Entries[first:i], markBetween(b, tail, i)
			pieces = append(pieces, p)
			p, first = piece{}, i
		}
		p.bytes += n
	}
	p.entries, p.to = b.Entries[first:], mark{at: b.To}
	return append(pieces, p)
}

// markBetween is the mark after entry i-1 of the batch and before entry i.
func markBetween(b Batch, tail mark, i int) mark {
	last := b.Entries[i-1].Position
	m := mark{at: Checkpoint{Position: last, AsOf: b.From.AsOf}}
	if b.Entries[i].Position.Sequence != last.Sequence {
		return m
	}
	m.before = recordBefore(b, tail, last)
	return m
}

// recordBefore finds a record before the one of the position, among the entries or before them.
func recordBefore(b Batch, tail mark, at schemas.Position) string {
	for i := len(b.Entries) - 1; i >= 0; i-- {
		if sequence := b.Entries[i].Position.Sequence; compareSequences(sequence, at.Sequence) < 0 {
			return sequence
		}
	}
	switch tail.at.Position.Sequence {
	case "":
		return fromOldest
	case at.Sequence:
		return tail.before // the batch begins with the rest of this record
	default:
		return tail.at.Position.Sequence
	}
}
