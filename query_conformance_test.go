//go:build !nolocal

package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer/query"
	"penstock/consumer/query/querytest"
	"penstock/infra/local"
)

// shifted is a clock that a test moves on.
type shifted struct{ by atomic.Int64 }

func (c *shifted) now() time.Time          { return time.Now().Add(time.Duration(c.by.Load())) }
func (c *shifted) advance(d time.Duration) { c.by.Add(int64(d)) }

// noFreshener: the lake of these tests has no rows.
type noFreshener struct{}

func (noFreshener) Fresh(context.Context) (time.Time, error) { return time.Unix(1_800_000_000, 0), nil }

// TestRunnerConforms: what a front end on AWS has Athena do, one machine's runner does the same.
func TestRunnerConforms(t *testing.T) {
	t.Parallel()
	duckdb := newDuckDB(t)
	querytest.EngineSuite(t, "DuckDB in this process", func(t *testing.T) querytest.EngineEnv {
		const slots = 2
		var clock shifted
		runner, err := query.NewRunner(query.RunnerConfig{
			Dir: t.TempDir(), Concurrency: slots, MaxQueued: 60, MaxExecutions: 100, ResultTTL: time.Hour, Timeout: time.Hour,
			MaxResultBytes: 1 << 30, Admit: func(int64) error { return nil }, Now: clock.now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		}, duckdb, noFreshener{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := runner.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return querytest.EngineEnv{Engine: runner, Endless: endlessSQL, Slots: slots, Forget: func(*testing.T, string) { clock.advance(2 * time.Hour) }}
	})
}

// TestPebbleExecutionsConform: the same memory of executions as in DynamoDB (infra/aws).
func TestPebbleExecutionsConform(t *testing.T) {
	t.Parallel()
	querytest.ExecutionsSuite(t, "Pebble", func(t *testing.T) querytest.ExecutionsEnv {
		var clock shifted
		store, err := local.Open(t.Context(), local.Config{
			Dir: t.TempDir(), FS: vfs.Default, Shards: 1, Now: clock.now, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		return querytest.ExecutionsEnv{Executions: store.Executions(), Now: clock.now, Advance: func(t *testing.T, d time.Duration) {
			clock.advance(d)
			if _, err := store.ExpireExecutions(t.Context()); err != nil {
				t.Error(err)
			}
		}}
	})
}
