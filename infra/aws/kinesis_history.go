package aws

import (
	"context"
	"fmt"
	"math"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// historyMargin is how much earlier than asked a reading back begins. Kinesis finds the place by the records' times of arrival,
// which need not ascend: a record of the time asked for may stand before one that is a little older.
const historyMargin = 30 * time.Second

var _ consumer.History = (*Source)(nil)

// ReadSince implements consumer.History. It visits, in the shard's order, the records that arrived at since or later, up to
// and including the one of the sequence number upTo. With upTo == "" it goes to the shard's end, or, if the shard is
// still open, to its tip. It does so also when there is no record upTo: everything before that number is visited.
//
// What it visits depends on the stream's content alone, while the records are kept; that those since then are all still there is
// not checked. An error of visit ends it and is returned. It takes the shard's bytes and calls from the readers of this Source:
// at most 2 MB/s. It holds what one GetRecords gives, about 1 MiB and at most 10.
func (s *Source) ReadSince(
	ctx context.Context, shard string, since time.Time, upTo string, visit func(consumer.Record) error,
) error {
	last := schemas.Position{Sequence: upTo}
	c := &cursor{shard: shard, since: since.Add(-historyMargin)}
	for {
		if _, err := s.turn(ctx, shard, time.Time{}); err != nil {
			return fmt.Errorf("read back shard %s: %w", shard, err)
		}
		if err := s.step(ctx, c, fetchBytes); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		over := c.end || c.tip && len(c.rest) == 0
		for _, r := range c.page(math.MaxInt).Records {
			beyond := schemas.Position{Sequence: r.Sequence}.Compare(last)
			if upTo != "" && beyond > 0 {
				return nil
			}
			if !r.Arrived.Before(since) {
				if err := visit(r); err != nil {
					return err
				}
			}
			if beyond == 0 {
				return nil
			}
		}
		if over {
			return nil
		}
	}
}
