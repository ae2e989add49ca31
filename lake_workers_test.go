//go:build !nolocal

package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/infra/iceberg"
)

// ignoredLeases let everybody work on everything (invariant 10).
type ignoredLeases struct{}

func (ignoredLeases) List(context.Context, string) ([]consumer.Lease, error) { return nil, nil }

func (ignoredLeases) Put(context.Context, *consumer.Lease, consumer.Lease) error { return nil }

// overtaken lets something happen before every second Append.
type overtaken struct {
	consumer.Lake
	calls int // Append is called by one goroutine
	by    func() error
}

func (o *overtaken) Append(ctx context.Context, rows []consumer.Row, moves []consumer.Move) error {
	if o.calls++; o.calls%2 == 0 {
		if err := o.by(); err != nil {
			return err
		}
	}
	return o.Lake.Append(ctx, rows, moves)
}

// A second lake fleet works on every shard beside the first, with its own view of the table, as another process would that
// takes no lease seriously: they get into each other's way, and each event is in the table once.
func TestCompetingLakeWorkers(t *testing.T) {
	t.Parallel()
	files := vfs.NewMem()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // for a fence that lets nobody on
	defer cancel()
	runCore(t, files, func(k *localCore) {
		quiet := slog.New(slog.DiscardHandler)
		tableFiles, err := iceberg.NewLocalFiles(files, filepath.Join(coreConfig().Data, "lake", "events"))
		if err != nil {
			t.Fatal(err)
		}
		table, err := iceberg.Open(ctx, iceberg.Config{
			Files: tableFiles, Pointer: k.store.Pointer(), Admit: k.store.Guard().AdmitReserve, Logger: quiet,
		})
		if err != nil {
			t.Fatal(err)
		}
		acked := map[string][]byte{}
		var mu sync.Mutex
		// through posts a document and has a sink put it into the table.
		through := func(body []byte, sink *consumer.LakeSink) error {
			id, _, err := k.accept(ctx, body, "")
			if err != nil {
				return err
			}
			mu.Lock()
			acked[id] = body
			mu.Unlock()
			tips, err := k.store.Stream().Tips(ctx)
			if err != nil {
				return err
			}
			return sink.FlushThrough(ctx, tips)
		}
		lake := &overtaken{Lake: table}
		lake.by = func() error { return through(fmt.Appendf(nil, `{"first": %d}`, lake.calls), k.lakeSink) }
		rival := consumer.NewLakeSink(consumer.LakeConfig{
			FlushBytes: 16 << 20, MaxBytes: 32 << 20, FlushAge: time.Minute, QueryInterval: time.Millisecond,
			FinalFlush: drainTime, Fetches: 4, Log: quiet,
		}, lake, k.bodies, k.store.DeadLetters())
		fleet := consumer.NewFleet(consumer.FleetConfig{
			Owner: "rival", LeaseLife: leaseLife, PageBytes: pageBytes, Busy: k.ingest.Busy, Log: quiet,
		}, k.store.Stream().Source(), ignoredLeases{}, rival, k.store.DeadLetters())
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- fleet.Run(running) }()

		for n := range 10 {
			body := fmt.Appendf(nil, `{"n": %d}`, n)
			if n%4 == 1 { // through the bodies
				body = fmt.Appendf(nil, `{"n": %d, "pad": %q}`, n, strings.Repeat("p", 1_000_000))
			}
			if err := through(body, rival); err != nil {
				t.Fatal(err)
			}
		}
		k.caughtUp(t)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		t.Logf("%d events; %+v, %+v", len(acked), k.lakeSink.Stats(), rival.Stats())
		if s := rival.Stats(); s.Flushes < 3 || s.Conflicts < 3 {
			t.Errorf("they hardly met: %+v", s)
		}
		cut{posted: posted{acked: acked}, files: files}.verify(t, k)
	})
}
