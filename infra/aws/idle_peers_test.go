package aws

import (
	"context"
	"errors"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"penstock/consumer"
	"penstock/infra/aws/faultproxy"
	"penstock/schemas"
)

// trimmedWorld is a stream of one shard that is read through a proxy which can take its records away, as retention does.
func trimmedWorld(t *testing.T) (w world, trim func(t *testing.T, sequence string)) {
	t.Helper()
	w = newWorld(t, kinesisPeer(t), 1)
	horizon := faultproxy.NewHorizon()
	proxy, err := faultproxy.New(faultproxy.Config{
		Target: os.Getenv(kinesisEndpoint), Clock: faultproxy.SystemClock{}, Laws: []faultproxy.Law{horizon.Law()},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(func() { proxy.Close(); server.Close() })
	w.client = kinesis.New(w.client.Options(), func(o *kinesis.Options) { o.BaseEndpoint = &server.URL })
	return w, func(t *testing.T, sequence string) {
		t.Helper()
		gone, ok := new(big.Int).SetString(sequence, 10)
		if !ok {
			t.Fatalf("sequence %q", sequence)
		}
		if err := horizon.Trim(w.name, shardName(0), gone.Add(gone, big.NewInt(1)).String()); err != nil {
			t.Fatal(err)
		}
	}
}

// post stores an event, and gives its id and place.
func (w world) post(t *testing.T) (id, sequence string) {
	t.Helper()
	now := time.Now()
	e, err := schemas.NewEvent(schemas.NewID(now), now, &schemas.Attributes{}, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	w.putKey(t, schemas.HashKey{}, schemas.AppendAggregate(nil, "k", schemas.HashKey{}, [][]byte{schemas.AppendEvent(nil, &e)}))
	records, _ := w.read(t, shardName(0))
	return e.ID, records[len(records)-1].Sequence
}

// indexing runs an index sink's fleet while do does.
func (w world) indexing(t *testing.T, c Clients, tables Tables, ix *Index, do func(ctx context.Context, f *consumer.Fleet)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	letters := NewDeadLetters(c, tables, "none")
	fleet := consumer.NewFleet(consumer.FleetConfig{
		Owner: "one", LeaseLife: time.Second, PageBytes: 1 << 20, Busy: func() bool { return false }, Log: quiet,
	}, w.source(), NewLeases(c, tables), consumer.NewIndexSink(ix, letters, quiet), letters)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(running) }()
	do(ctx, fleet)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// await asks until it is so.
func await(ctx context.Context, t *testing.T, what string, so func() bool) {
	t.Helper()
	for !so() {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// A shard whose last record is older than what the stream keeps is gone on with by a sink that was at the tip lately, and stops
// the sink that was not.
func TestIdleShardConforms(t *testing.T) {
	t.Parallel()
	c := peers(t, kinesisEndpoint, dynamoEndpoint, s3Endpoint)
	for name, test := range map[string]struct {
		away time.Duration
		stop bool
	}{"at the tip just now": {0, false}, "at the tip 22 hours ago": {22 * time.Hour, false}, "at the tip 24 hours ago": {24 * time.Hour, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, trim := trimmedWorld(t)
			tables := newTables(t, c)
			ix, err := NewIndex(c, tables, newBucket(t, c))
			if err != nil {
				t.Fatal(err)
			}
			_, last := w.post(t)
			at := consumer.Checkpoint{Position: schemas.Position{Sequence: last}, AsOf: time.Now().Add(-test.away)}
			if err := ix.Apply(t.Context(), shardName(0), nil, at); err != nil {
				t.Fatal(err)
			}
			trim(t, last)
			w.indexing(t, c, tables, ix, func(ctx context.Context, f *consumer.Fleet) {
				shard := func() (s consumer.ShardStats) {
					if shards := f.Stats().Shards; len(shards) > 0 {
						s = shards[0]
					}
					return s
				}
				if test.stop {
					await(ctx, t, "the shard to stop", func() bool { return errors.Is(shard().Err, consumer.ErrTrimmed) })
				} else {
					await(ctx, t, "the shard to be at its tip", func() bool { return shard().AsOf.After(at.AsOf) })
				}
				id, _ := w.post(t)
				if test.stop {
					if _, err := ix.Get(ctx, id); !errors.Is(err, consumer.ErrNotFound) || !errors.Is(shard().Err, consumer.ErrTrimmed) {
						t.Errorf("%v, %+v: it went on behind what may be a gap", err, shard())
					}
					return
				}
				await(ctx, t, "what came later", func() bool { _, err := ix.Get(ctx, id); return err == nil })
			})
		})
	}
}
