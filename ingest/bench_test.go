package ingest

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// instantStream stores nothing and says so at once: what is measured is ingest alone.
type instantStream struct{ shards []Shard }

func (s instantStream) Shards(context.Context) ([]Shard, error) { return s.shards, nil }
func (s instantStream) Put(_ context.Context, records []Record) []error {
	return make([]error, len(records))
}

var benchConfig = Config{Slots: 2, Calls: 2, LaneBytes: maxFlightBytes, Large: 8, Now: time.Now}

func BenchmarkAccept(b *testing.B) {
	for _, size := range []int{300, 1_000, 100_000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			budget := NewBudget(256 << 20)
			in, err := New(b.Context(), benchConfig, instantStream{evenShards(4)}, nil, nil, nil, budget)
			if err != nil {
				b.Fatal(err)
			}
			body := []byte(large(size))
			hold := budget.Hold()
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			defer cancel()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.SetParallelism(128)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, _, err := in.Accept(ctx, Submission{Body: body, Hold: hold}, ""); err != nil {
						b.Error(err)
						return
					}
				}
			})
			s := in.Stats()
			b.ReportMetric(float64(s.Accepted)/float64(s.Records), "events/record")
			if err := in.Drain(ctx); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkAcceptBatch(b *testing.B) {
	in, err := New(b.Context(), benchConfig, instantStream{evenShards(4)}, nil, nil, nil, NewBudget(256<<20))
	if err != nil {
		b.Fatal(err)
	}
	items := make([]Submission, 10_000)
	for i := range items {
		items[i] = Submission{Body: []byte(large(300))}
	}
	b.ReportAllocs()
	for b.Loop() {
		results, _, err := in.AcceptBatch(b.Context(), items, nil, "")
		if err != nil || results[len(items)-1].Err != nil {
			b.Fatal(err, results[len(items)-1].Err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(len(items))/b.Elapsed().Seconds(), "events/s")
	if err := in.Drain(b.Context()); err != nil {
		b.Fatal(err)
	}
}
