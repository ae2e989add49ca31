//go:build !nolocal

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

const (
	benchEvents   = 200_000
	benchBodySize = 1000
)

// BenchmarkConsumers is how fast one core's stream is taken in: by a sink that only has it decoded, and by both real sinks
// at once, from the first read until index and lake hold everything.
func BenchmarkConsumers(b *testing.B) {
	b.Run("decode", func(b *testing.B) {
		consume(b, func(ctx context.Context, k *localCore, _ map[string]string) error {
			sink := &countingSink{done: make(chan struct{})}
			sink.left.Store(benchEvents)
			quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
			fleet := consumer.NewFleet(consumer.FleetConfig{Owner: "bench", LeaseLife: leaseLife, PageBytes: pageBytes, Busy: k.ingest.Busy, Log: quiet},
				k.store.Stream().Source(), k.store.Leases(), sink, k.store.DeadLetters())
			return during(ctx, []*consumer.Fleet{fleet}, func() error { <-sink.done; return nil })
		})
	})
	b.Run("index+lake", func(b *testing.B) {
		consume(b, func(ctx context.Context, k *localCore, tips map[string]string) error {
			return during(ctx, []*consumer.Fleet{k.index, k.lake}, func() error {
				if err := k.lakeSink.FlushThrough(ctx, tips); err != nil {
					return err
				}
				_, err := k.store.Ledger().Stored(ctx, []string{schemas.NewID(time.Now())})
				return err
			})
		})
	})
}

// consume fills a stream and times what takes it in.
func consume(b *testing.B, take func(context.Context, *localCore, map[string]string) error) {
	b.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	for b.Loop() {
		b.StopTimer()
		cfg := coreConfig()
		cfg.Data, cfg.Shards, cfg.FlushBytes, cfg.FlushAge = b.TempDir(), 4, 64<<20, 30*time.Second
		k, err := openCore(b.Context(), cfg, vfs.Default, quiet)
		if err != nil {
			b.Fatal(err)
		}
		if err := fill(b.Context(), k); err != nil {
			b.Fatal(err)
		}
		tips, err := k.store.Stream().Tips(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := take(b.Context(), k, tips); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := k.store.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(benchEvents*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// fill puts benchEvents of benchBodySize bytes on the stream, as ingest would.
func fill(ctx context.Context, k *localCore) error {
	shards, err := k.store.Stream().Shards(ctx)
	if err != nil {
		return err
	}
	const perRecord = 150
	for n := 0; n < benchEvents; {
		var records []ingest.Record
		for _, sh := range shards {
			var events [][]byte
			for len(events) < perRecord && n < benchEvents {
				event, err := schemas.NewEvent(schemas.NewID(time.Now()), time.Now().UTC().Truncate(time.Microsecond),
					&schemas.Attributes{Type: "order", Source: "bench"}, benchBody(n))
				if err != nil {
					return err
				}
				events = append(events, schemas.AppendEvent(nil, &event))
				n++
			}
			records = append(records, ingest.Record{
				PartitionKey: "p", HashKey: sh.First, Data: schemas.AppendAggregate(nil, "p", sh.First, events),
			})
		}
		for _, err := range k.store.Stream().Put(ctx, records) {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// benchBody is an order of benchBodySize bytes.
func benchBody(n int) []byte {
	body := fmt.Appendf(nil, `{"order":%d,"customer":{"id":%d,"name":"Renée Müller","tags":["a","b\u00e9"]},"lines":[`, n, n*2654435761%1_000_003)
	for i := 0; len(body) < benchBodySize-100; i++ {
		body = fmt.Appendf(body, `{"sku":"%08x","quantity":%d,"price":%d.%02d},`, (n+i)*40503%0x7fffffff, i%7+1, (n*i)%997, i%100)
	}
	body = append(body, `{}],"note":"`...)
	for len(body) < benchBodySize-2 {
		body = append(body, 'x')
	}
	return append(body, `"}`...)
}

// during runs the fleets while do does.
func during(ctx context.Context, fleets []*consumer.Fleet, do func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, len(fleets))
	for _, f := range fleets {
		go func() { ended <- f.Run(ctx) }()
	}
	err := do()
	cancel()
	for range fleets {
		if e := <-ended; err == nil {
			err = e
		}
	}
	return err
}

// countingSink takes everything, does nothing, and closes done when it has had all.
type countingSink struct {
	left atomic.Int64
	done chan struct{}
}

func (s *countingSink) Name() string { return "counting" }

func (s *countingSink) Resume(context.Context, string) (consumer.Start, error) {
	return consumer.Start{}, nil
}

func (s *countingSink) Checkpoint(context.Context, string) (consumer.Checkpoint, error) {
	return consumer.Checkpoint{}, nil
}

func (s *countingSink) Durable(string) (consumer.Durable, bool) { return consumer.Durable{}, false }

func (s *countingSink) Deliver(_ context.Context, b consumer.Batch) error {
	if n := int64(len(b.Entries)); n > 0 && s.left.Add(-n) == 0 {
		close(s.done)
	}
	return nil
}

func (s *countingSink) Leave(context.Context, string) {}

func (s *countingSink) Run(ctx context.Context) error { <-ctx.Done(); return nil }
