//go:build !nolocal

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/infra/iceberg"
	"penstock/schemas"
)

const (
	// lakeDataEnv names the data directory that BenchmarkLakeOfDays makes, and the list of its live data files beside it.
	lakeDataEnv = "PENSTOCK_BENCH_DATA"
	lakeListEnd = ".files"

	lakeDays       = 10
	lakeDayEvents  = 1_000_000
	lakeFlush      = 100_000 // events of one commit
	lakeShards     = 4       // the default of --shards
	lakeFirstMonth = time.January
)

// BenchmarkLakeOfDays makes the lake of `make bench`'s row on SQL: 10 days of a million small events each, 2026-01-01 to
// 2026-01-10, appended as flushes append them and compacted as upkeep does it, in a data directory that a server can open.
// The shards' offsets stay where they were: no stream holds these events.
func BenchmarkLakeOfDays(b *testing.B) {
	dir := os.Getenv(lakeDataEnv)
	if dir == "" {
		b.Fatalf("%s must name the data directory to make", lakeDataEnv)
	}
	for b.Loop() {
		if err := fillLake(b.Context(), dir); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*lakeDays*lakeDayEvents/b.Elapsed().Seconds(), "rows/s")
}

func fillLake(ctx context.Context, dir string) (err error) {
	cfg := coreConfig()
	cfg.Data, cfg.Shards = dir, lakeShards
	k, err := openCore(ctx, cfg, vfs.Default, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.store.Close()) }()
	for day := range lakeDays {
		for first := 0; first < lakeDayEvents; first += lakeFlush {
			rows, err := lakeRows(day, first)
			if err != nil {
				return err
			}
			if err := k.table.Append(ctx, rows, nil); err != nil {
				return err
			}
		}
		if _, err := k.upkeep.Compact(ctx, nil); err != nil {
			return err
		}
	}
	files, err := k.table.Files(ctx)
	if err != nil {
		return err
	}
	return errors.Join(checkLake(ctx, k.table), os.WriteFile(dir+lakeListEnd, []byte(strings.Join(files, "\n")), 0o600))
}

func checkLake(ctx context.Context, table *iceberg.Lake) error {
	status, err := table.Status(ctx)
	if err == nil && status.Rows != lakeDays*lakeDayEvents {
		err = fmt.Errorf("the lake holds %d rows, not %d", status.Rows, lakeDays*lakeDayEvents)
	}
	return err
}

// lakeRows are lakeFlush events of a day, from the event of the given number on, spread evenly over the day.
func lakeRows(day, first int) ([]consumer.Row, error) {
	midnight := time.Date(2026, lakeFirstMonth, 1+day, 0, 0, 0, 0, time.UTC)
	rows := make([]consumer.Row, lakeFlush)
	for i := range rows {
		n := first + i
		received := midnight.Add(time.Duration(n) * 24 * time.Hour / lakeDayEvents)
		body := fmt.Appendf(nil, `{"n":%d,"user":%d,"action":"click","page":"/products/%d","price":%d.5}`, n, n*7919%10_007, n%500, n%1000)
		event, err := schemas.NewEvent(schemas.NewID(received), received, &schemas.Attributes{Type: "click", Source: "bench"}, body)
		if err != nil {
			return nil, err
		}
		rows[i] = consumer.Row{Event: event, Body: body, Landed: received, Shard: "shard-0",
			Position: schemas.Position{Sequence: fmt.Sprint(day*lakeDayEvents + n + 1)}}
	}
	return rows, nil
}
