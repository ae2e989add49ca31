package aws

import (
	"context"
	"errors"
	"fmt"

	"penstock/consumer"
)

func checkpointKey(shard string) item { return stateKey("checkpoint#"+shard, "index") }

// Checkpoint implements consumer.Index.
func (ix *Index) Checkpoint(ctx context.Context, shard string) (consumer.Checkpoint, error) {
	c, _, err := ix.checkpoint(ctx, shard)
	return c, err
}

// checkpoint gives also the item that it is in, nil for none.
func (ix *Index) checkpoint(ctx context.Context, shard string) (consumer.Checkpoint, item, error) {
	it, err := ix.state.get(ctx, checkpointKey(shard))
	if err != nil || it == nil {
		return consumer.Checkpoint{}, nil, err
	}
	c, err := decodeProgress(it)
	if err != nil {
		return consumer.Checkpoint{}, nil, fmt.Errorf("checkpoint of %s: %w", shard, err)
	}
	return c, it, nil
}

// move takes the shard's checkpoint to the given one as far as that is no step back, whoever else moves it.
func (ix *Index) move(ctx context.Context, shard string, to consumer.Checkpoint) error {
	if to == (consumer.Checkpoint{}) {
		return nil // it is behind every other
	}
	it, err := encodeCheckpoint(shard, to)
	if err != nil {
		return err
	}
	// All that is known is replaced by what is later or equal in every respect: nearly always so, and needs no reading.
	err = ix.state.put(ctx, it, "attribute_not_exists(pk) OR (p <= :p AND a <= :a AND e <= :e)",
		item{":p": it["p"], ":a": it["a"], ":e": it["e"]})
	for errors.Is(err, errConflict) {
		var from consumer.Checkpoint
		var stored, next item
		if from, stored, err = ix.checkpoint(ctx, shard); err != nil {
			return err
		}
		merged := from.Advance(to)
		if merged.SamePlace(from) && merged.AsOf.Equal(from.AsOf) {
			return nil
		}
		if next, err = encodeCheckpoint(shard, merged); err != nil {
			return err
		}
		if stored == nil {
			err = ix.state.put(ctx, next, "attribute_not_exists(pk)", nil)
			continue
		}
		err = ix.state.put(ctx, next, "p = :p AND a = :a AND e = :e", item{":p": stored["p"], ":a": stored["a"], ":e": stored["e"]})
	}
	return err
}

func encodeCheckpoint(shard string, c consumer.Checkpoint) (item, error) {
	it := checkpointKey(shard)
	return it, encodeProgress(it, c)
}

// encodeProgress puts the attributes of a checkpoint into an item.
func encodeProgress(it item, c consumer.Checkpoint) error {
	at, err := encodePlace(c.Position)
	if err != nil {
		return err
	}
	it["p"], it["a"], it["e"] = stringValue(at), timeValue(c.AsOf), numberValue(0)
	if c.End {
		it["e"] = numberValue(1)
	}
	return nil
}

func decodeProgress(it item) (consumer.Checkpoint, error) {
	at, errPlace := it.text("p")
	asOf, errAsOf := it.number("a")
	end, errEnd := it.number("e")
	if err := errors.Join(errPlace, errAsOf, errEnd); err != nil {
		return consumer.Checkpoint{}, err
	}
	p, err := decodePlace(at)
	return consumer.Checkpoint{Position: p, AsOf: timeOf(asOf), End: end != 0}, err
}
