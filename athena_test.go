//go:build !nolocal

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer/query"
	"penstock/consumer/query/querytest"
	"penstock/infra/aws"
	"penstock/infra/aws/athenatest"
	"penstock/infra/local"
)

// emptyLake is a table without rows.
type emptyLake struct{}

func (emptyLake) Files(context.Context) ([]string, error) { return nil, nil }

func newDuckDB(t *testing.T) *local.DuckDB {
	t.Helper()
	engine, err := local.NewDuckDB(local.DuckDBConfig{
		TempDir: t.TempDir(), MaxTemp: 1 << 30, Room: func() (int64, error) { return math.MaxInt64, nil }, MemoryLimit: 128 << 20, Threads: 1,
		Now: time.Now, Worker: testWorker,
	}, emptyLake{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	return engine
}

// newAthena is the engine on a stand-in that answers with DuckDB, and what it stands on.
func newAthena(t *testing.T, standIn athenatest.Config) (*aws.Athena, *athenatest.Server, *athenatest.Objects) {
	t.Helper()
	objects := athenatest.NewObjects(t)
	standIn.S3, standIn.Workgroup = objects.Client(), "test"
	if standIn.SQL == nil {
		standIn.SQL = newDuckDB(t)
	}
	server := athenatest.New(t, standIn)
	client := athena.New(athena.Options{
		BaseEndpoint: sdk.String(server.URL), Region: "us-east-1", HTTPClient: &http.Client{},
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	})
	return aws.NewAthena(aws.Clients{Athena: client, S3: objects.Client()}, aws.AthenaConfig{
		Workgroup: "test", Database: "penstock", Output: "s3://bucket/queries/", MaxResultBytes: 1 << 30,
		CompleteThrough: func(context.Context) (time.Time, error) { return time.Unix(1_800_000_000, 0), nil },
		Logger:          slog.New(slog.NewTextHandler(t.Output(), nil)),
	}), server, objects
}

// TestAthenaConforms: what runs on DuckDB here runs the same through Athena's protocol, states that go back and all.
func TestAthenaConforms(t *testing.T) {
	t.Parallel()
	duckdb := newDuckDB(t)
	querytest.EngineSuite(t, "Athena's stand-in, with DuckDB", func(t *testing.T) querytest.EngineEnv {
		const slots = 2
		engine, _, objects := newAthena(t, athenatest.Config{SQL: duckdb, Slots: slots, Active: 60, Relapses: 1})
		return querytest.EngineEnv{
			Engine: engine, Endless: endlessSQL, Slots: slots, Forget: func(*testing.T, string) { objects.Remove() },
		}
	})
}

// TestAthenaIsAskedOnce: however many clients wait for however many queries, one request tells of all; and each client is told of its
// end, with the same bytes.
func TestAthenaIsAskedOnce(t *testing.T) {
	t.Parallel()
	const queries, clients = 20, 500
	gate := gatedSQL{SQL: newDuckDB(t), open: make(chan struct{})}
	engine, server, _ := newAthena(t, athenatest.Config{SQL: gate, Slots: queries, Active: queries})
	service, err := query.New(query.Config{
		Kept: time.Hour, Poll: 50 * time.Millisecond, MaxPoll: time.Second, Now: time.Now,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, engine, newExecutions(t))
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	var ids []string
	for i := range queries {
		e, _, err := service.Start(t.Context(), fmt.Sprintf("SELECT %d AS n", i), nil, "")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	var watching, ended sync.WaitGroup
	watching.Add(clients)
	for range clients {
		ended.Go(func() {
			w := service.Watcher()
			defer w.Close()
			for _, id := range ids {
				if err := w.Watch(t.Context(), id); err != nil {
					t.Errorf("Watch: %v", err)
				}
			}
			watching.Done()
			for left := len(ids); left > 0; {
				e, ok := w.Take()
				switch {
				case !ok:
					select {
					case <-w.Ready():
					case <-t.Context().Done():
						return
					}
				case e.State == query.Succeeded:
					left--
				case e.State.Finished():
					t.Errorf("%+v", e)
					left--
				}
			}
		})
	}
	watching.Wait()
	began, asked := time.Now(), server.Calls("BatchGetQueryExecution")
	close(gate.open)
	ended.Wait()
	// One question every poll, and one more for each rouse of a look that was under way.
	if n, most := server.Calls("BatchGetQueryExecution")-asked, 5+2*int(time.Since(began)/(50*time.Millisecond)); n == 0 || n > most {
		t.Errorf("%d questions in %s for %d clients, at most %d are wanted", n, time.Since(began), clients, most)
	}
	if n := server.Calls("GetQueryExecution"); n != queries {
		t.Errorf("%d single questions, want one for each start", n)
	}
}

// newExecutions remembers executions in a store of its own.
func newExecutions(t *testing.T) *local.Executions {
	t.Helper()
	store, err := local.Open(t.Context(), local.Config{
		Dir: t.TempDir(), FS: vfs.Default, Shards: 1, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store.Executions()
}

// gatedSQL runs nothing until it is open.
type gatedSQL struct {
	query.SQL
	open chan struct{}
}

func (g gatedSQL) Run(ctx context.Context, sql string, parameters []string, result io.Writer) (query.Statistics, error) {
	select {
	case <-g.open:
		return g.SQL.Run(ctx, sql, parameters, result)
	case <-ctx.Done():
		return query.Statistics{}, ctx.Err()
	}
}
