package consumer

import (
	"penstock/schemas"
)

// The table's offsets hold, besides one checkpoint per shard, two kinds of pseudo-shards.
const (
	// beforePrefix+shard names a record before the one that the shard's offset stands inside of; see mark. There only
	// while the offset does.
	beforePrefix = "before/"
	// requeuePrefix+shard is the position of the shard's dead letter that was requeued last.
	requeuePrefix = "requeue/"
)

// fromOldest is the record before a shard's first: no checkpoint can be empty and stored at once.
const fromOldest = "0"

// mark is a lake offset. Bodies from object storage are put inline, so one aggregated record of small events can be
// gigabytes of rows; a flush may then end inside the record. A source can only be read from record to record, so such
// an offset comes with the sequence number of a record before it, from which a successor reads again.
type mark struct {
	at     Checkpoint
	before string // empty when at is the end of a record
}

// markOf reads a shard's mark from the table's offsets.
func markOf(offsets map[string]Checkpoint, shard string) mark {
	return mark{at: offsets[shard], before: offsets[beforePrefix+shard].Position.Sequence}
}

// whole is the sequence number of a record such that it and all before it are held as a whole; empty for none.
func (m mark) whole() string {
	switch m.before {
	case "":
		return m.at.Position.Sequence
	case fromOldest:
		return ""
	default:
		return m.before
	}
}

// reaches reports whether everything up to the record of the sequence number is held. The empty one is always reached.
func (m mark) reaches(sequence string) bool {
	return compareSequences(m.whole(), sequence) >= 0
}

// moves are what takes a shard's offset from m to next in one commit.
func (m mark) moves(shard string, next mark) []Move {
	moves := []Move{{Shard: shard, From: m.at, To: next.at}}
	if m.before != next.before {
		moves = append(moves, Move{
			Shard: beforePrefix + shard,
			From:  Checkpoint{Position: schemas.Position{Sequence: m.before}},
			To:    Checkpoint{Position: schemas.Position{Sequence: next.before}},
		})
	}
	return moves
}

// compareSequences orders sequence numbers of one shard; the empty one is before all.
func compareSequences(a, b string) int {
	return schemas.Position{Sequence: a}.Compare(schemas.Position{Sequence: b})
}
