package iceberg

import (
	"context"
	"fmt"
	"time"

	icebergo "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// Contains implements consumer.Lake. The event is looked for on the day of the given time only. It reads the
// ids of that day's files whose statistics allow for the id, so it is for the rare question, not for every event.
func (l *Lake) Contains(ctx context.Context, id string, received time.Time) (bool, error) {
	t, err := l.catalog.LoadTable(ctx, tableIdent())
	if err != nil {
		return false, err
	}
	start := received.UTC().Truncate(24 * time.Hour)
	filter := icebergo.NewAnd(
		icebergo.EqualTo(icebergo.Reference("id"), id),
		icebergo.GreaterThanEqual(icebergo.Reference("received_at"), icebergo.Timestamp(start.UnixMicro())),
		icebergo.LessThan(icebergo.Reference("received_at"), icebergo.Timestamp(start.AddDate(0, 0, 1).UnixMicro())),
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, records, err := t.Scan(table.WithRowFilter(filter), table.WithSelectedFields("id"), table.WithLimit(1)).
		ToArrowRecords(ctx)
	if err != nil {
		return false, fmt.Errorf("look for an event in the lake: %w", err)
	}
	found := false
	for record, err := range records {
		if err != nil {
			return false, fmt.Errorf("look for an event in the lake: %w", err)
		}
		found = found || record.NumRows() > 0
		record.Release()
	}
	return found, nil
}
