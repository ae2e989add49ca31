package iceberg

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/apache/iceberg-go/table"

	"penstock/consumer"
	"penstock/schemas"
)

// offsetsProperty is the table property that holds the offsets of all shards as one value, so that a commit can require
// it to be unchanged as a whole.
const offsetsProperty = "penstock.offsets"

// packedOffset is a checkpoint in the property. Names are short since Glue copies the property into every version.
type packedOffset struct {
	Position string `json:"p,omitempty"`
	// AsOf is in Unix milliseconds, 0 for none; it is rounded down, which claims less.
	AsOf int64 `json:"t,omitempty"`
	End  bool  `json:"e,omitempty"`
}

// packOffsets makes the property's value; the same offsets always make the same value.
func packOffsets(offsets map[string]consumer.Checkpoint) (string, error) {
	packed := make(map[string]packedOffset, len(offsets))
	for shard, c := range offsets {
		// What can't be read again would make the table unusable for good.
		if again, err := schemas.ParsePosition(c.Position.String()); err != nil || again != c.Position {
			return "", fmt.Errorf("pack offsets: shard %s: unsuitable position %+v", shard, c.Position)
		}
		o := packedOffset{Position: c.Position.String(), End: c.End}
		if !c.AsOf.IsZero() {
			o.AsOf = c.AsOf.UnixMilli()
		}
		packed[shard] = o
	}
	value, err := json.Marshal(packed)
	if err != nil {
		return "", fmt.Errorf("pack offsets: %w", err)
	}
	return string(value), nil
}

// unpackOffsets reads the property's value. It refuses what it does not know: a member that a later version added may
// change what an offset means.
func unpackOffsets(value string) (map[string]consumer.Checkpoint, error) {
	offsets := make(map[string]consumer.Checkpoint)
	if value == "" {
		return offsets, nil
	}
	var packed map[string]packedOffset
	d := json.NewDecoder(bytes.NewReader([]byte(value)))
	d.DisallowUnknownFields()
	if err := d.Decode(&packed); err != nil {
		return nil, fmt.Errorf("table property %s: %w", offsetsProperty, err)
	}
	for shard, o := range packed {
		p, err := schemas.ParsePosition(o.Position)
		if err != nil {
			return nil, fmt.Errorf("table property %s: shard %s: %w", offsetsProperty, shard, err)
		}
		c := consumer.Checkpoint{Position: p, End: o.End}
		if o.AsOf != 0 {
			c.AsOf = time.UnixMilli(o.AsOf).UTC()
		}
		offsets[shard] = c
	}
	return offsets, nil
}

// tableOffsets are the offsets in a version of the table.
func tableOffsets(meta table.Metadata) (map[string]consumer.Checkpoint, error) {
	return unpackOffsets(meta.Properties()[offsetsProperty])
}

// moved returns the offsets after the moves. A zero To takes the shard out.
func moved(offsets map[string]consumer.Checkpoint, moves []consumer.Move) map[string]consumer.Checkpoint {
	next := maps.Clone(offsets)
	for _, m := range moves {
		if isZero(m.To) {
			delete(next, m.Shard)
		} else {
			next[m.Shard] = m.To
		}
	}
	return next
}

func isZero(c consumer.Checkpoint) bool { return c.Position.IsZero() && c.AsOf.IsZero() && !c.End }

// standing is how a version of the table stands to a set of moves.
type standing int

const (
	ahead  standing = iota // every shard is at From: the moves can be made
	behind                 // every shard is at To: somebody made exactly these moves
	astray                 // neither: another worker moved a shard, the flush must be read again
)

// stand tells it. Moves that go nowhere (From and To the same place) can't tell ahead from behind; a set of only such
// moves, or an empty one, is always ahead.
func stand(offsets map[string]consumer.Checkpoint, moves []consumer.Move) standing {
	atFrom, atTo, going := true, true, false
	for _, m := range moves {
		at := offsets[m.Shard] // a shard without an entry is at the zero Checkpoint
		atFrom = atFrom && at.SamePlace(m.From)
		atTo = atTo && at.SamePlace(m.To)
		going = going || !m.From.SamePlace(m.To)
	}
	switch {
	case going && atTo:
		return behind
	case atFrom:
		return ahead
	default:
		return astray
	}
}

// checkMoves refuses a set of moves that no table could be measured against.
func checkMoves(moves []consumer.Move) error {
	seen := make(map[string]struct{}, len(moves))
	for _, m := range moves {
		if m.Shard == "" {
			return errors.New("append to the lake: a move without a shard")
		}
		if _, ok := seen[m.Shard]; ok {
			return fmt.Errorf("append to the lake: two moves of shard %s", m.Shard)
		}
		seen[m.Shard] = struct{}{}
	}
	return nil
}

// offsetsUnchanged is our own requirement on a commit: the offsets are still those it was built on. Iceberg's own
// requirements don't look at properties, so a peer that moves only an offset would go unseen.
type offsetsUnchanged struct {
	Value string `json:"value"`
}

var _ table.Requirement = offsetsUnchanged{}

// GetType implements table.Requirement.
func (offsetsUnchanged) GetType() string { return "assert-penstock-offsets" }

// Validate implements table.Requirement.
func (r offsetsUnchanged) Validate(meta table.Metadata) error {
	if meta == nil {
		return errors.New("requirement failed: there is no table")
	}
	if meta.Properties()[offsetsProperty] != r.Value {
		return fmt.Errorf("requirement failed: %s has changed", offsetsProperty)
	}
	return nil
}
