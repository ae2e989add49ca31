package aws

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go/middleware"

	"penstock/consumer"
	"penstock/consumer/consumertest"
	"penstock/ingest"
	"penstock/ingest/ingesttest"
	"penstock/schemas"
)

const kinesisEndpoint = "AWS_ENDPOINT_URL_KINESIS"

// world is a Kinesis stream of a test's own, and what only its owner may do.
type world struct {
	client *kinesis.Client
	name   string
	split  func(t *testing.T, shard string)
}

func (w world) stream() *Stream { return NewStream(w.client, w.name) }
func (w world) source() *Source { return NewSource(w.client, w.name) }

// worlds are the backends of the suites: the stub that the tests without a network stand on, which is so held to what it
// stands for, and the server that the SDK's variable names.
func worlds(t *testing.T, suite func(t *testing.T, backend string, open func(t *testing.T) world)) {
	t.Run("stub", func(t *testing.T) {
		t.Parallel()
		suite(t, "the stub of these tests", func(*testing.T) world {
			st := newStub(2)
			return world{client: st.client(), name: stubStream, split: func(_ *testing.T, shard string) { st.split(shard) }}
		})
	})
	t.Run("peer", func(t *testing.T) {
		t.Parallel()
		client := kinesisPeer(t)
		suite(t, "Kinesis at "+os.Getenv(kinesisEndpoint), func(t *testing.T) world { return newWorld(t, client, 2) })
	})
}

// kinesisPeer is a client of the server that the SDK's variable names. Without one the test is skipped, or fails where conformance
// was asked for.
func kinesisPeer(t *testing.T) *kinesis.Client {
	t.Helper()
	if os.Getenv(kinesisEndpoint) == "" {
		if os.Getenv("PENSTOCK_CONFORMANCE") == "1" {
			t.Fatalf("%s is not set: start the peers first, as make conformance does", kinesisEndpoint)
		}
		t.Skipf("%s is not set", kinesisEndpoint)
	}
	clients, err := Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return clients.Kinesis
}

// newWorld makes a stream, which goes with the test.
func newWorld(t *testing.T, client *kinesis.Client, shards int32) world {
	t.Helper()
	w := world{client: client, name: fmt.Sprintf("penstock-test-%016x", rand.Uint64())}
	if _, err := client.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &w.name, ShardCount: &shards}); err != nil {
		t.Fatalf("making stream %s: %v", w.name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := client.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: &w.name}); err != nil {
			t.Errorf("removing stream %s: %v", w.name, err)
		}
	})
	w.split = w.splitShard
	w.awaitActive(t)
	return w
}

func (w world) awaitActive(t *testing.T) {
	t.Helper()
	for {
		out, err := w.client.DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: &w.name})
		if err != nil {
			t.Fatal(err)
		}
		if out.StreamDescriptionSummary.StreamStatus == types.StreamStatusActive {
			return
		}
		if err := pause(t.Context(), 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// splitShard halves a shard's range.
func (w world) splitShard(t *testing.T, shard string) {
	t.Helper()
	half := halfOf(w.shard(t, shard))
	_, err := w.client.SplitShard(t.Context(), &kinesis.SplitShardInput{
		StreamName: &w.name, ShardToSplit: &shard, NewStartingHashKey: sdk.String(half.String()),
	})
	if err != nil {
		t.Fatalf("splitting %s: %v", shard, err)
	}
	w.awaitActive(t)
}

func halfOf(s ingest.Shard) *big.Int {
	sum := new(big.Int).Add(new(big.Int).SetBytes(s.First[:]), new(big.Int).SetBytes(s.Last[:]))
	return sum.Rsh(sum.Add(sum, big.NewInt(1)), 1)
}

func (w world) merge(t *testing.T, left, right string) {
	t.Helper()
	_, err := w.client.MergeShards(t.Context(), &kinesis.MergeShardsInput{
		StreamName: &w.name, ShardToMerge: &left, AdjacentShardToMerge: &right,
	})
	if err != nil {
		t.Fatalf("merging %s and %s: %v", left, right, err)
	}
	w.awaitActive(t)
}

// shard is one that is open.
func (w world) shard(t *testing.T, id string) ingest.Shard {
	t.Helper()
	open, err := w.stream().Shards(t.Context())
	i := slices.IndexFunc(open, func(s ingest.Shard) bool { return s.ID == id })
	if err != nil || i < 0 {
		t.Fatalf("%s is not open: %v, %v", id, open, err)
	}
	return open[i]
}

// put stores a record in the shard.
func (w world) put(t *testing.T, shard string, data []byte) {
	t.Helper()
	w.putKey(t, w.shard(t, shard).First, data)
}

func (w world) putKey(t *testing.T, key schemas.HashKey, data []byte) {
	t.Helper()
	if errs := w.stream().Put(t.Context(), []ingest.Record{{PartitionKey: "p", HashKey: key, Data: data}}); errs[0] != nil {
		t.Fatal(errs[0])
	}
}

// read gives all records of the shard up to its tip or end.
func (w world) read(t *testing.T, shard string) (records []consumer.Record, end bool) {
	t.Helper()
	pages, last := drain(t, w.source(), shard, "", 1<<20)
	for _, p := range pages {
		records = append(records, p.Records...)
	}
	return records, last.End
}

func TestStreamConforms(t *testing.T) {
	t.Parallel()
	worlds(t, func(t *testing.T, backend string, open func(t *testing.T) world) {
		ingesttest.StreamSuite(t, backend, func(t *testing.T) ingesttest.StreamEnv {
			w := open(t)
			return ingesttest.StreamEnv{Stream: w.stream(), ReadAll: func(t *testing.T, shard string) (all [][]byte) {
				t.Helper()
				records, _ := w.read(t, shard)
				for _, r := range records {
					all = append(all, r.Data)
				}
				return all
			}}
		})
	})
}

func TestSourceConforms(t *testing.T) {
	t.Parallel()
	worlds(t, func(t *testing.T, backend string, open func(t *testing.T) world) {
		consumertest.SourceSuite(t, backend, func(t *testing.T) consumertest.SourceEnv {
			w := open(t)
			return consumertest.SourceEnv{Source: w.source(), Put: w.put, Now: time.Now, AsOfMargin: asOfMargin, Split: w.split}
		})
	})
}

func TestHistoryConforms(t *testing.T) {
	t.Parallel()
	worlds(t, func(t *testing.T, backend string, open func(t *testing.T) world) {
		consumertest.HistorySuite(t, backend, func(t *testing.T) consumertest.HistoryEnv {
			w := open(t)
			s := w.source()
			return consumertest.HistoryEnv{History: s, Source: s, Put: w.put, Split: w.split}
		})
	})
}

// Shards that are split and merged while they are written and read: every record is read once, a key's in order, parents before
// children, and ingest always finds a shard for every key.
func TestReshardingIsFollowedConforms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, kinesisPeer(t), 1)
	source := w.source()
	keys := []schemas.HashKey{{}, schemas.HashKeyOf("a"), schemas.MaxHashKey}
	put := 0
	putSome := func() {
		t.Helper()
		for range 3 {
			for _, k := range keys {
				w.putKey(t, k, fmt.Appendf(nil, "%s %d", k, put))
			}
			put++
		}
	}
	openIDs := func(want int) (ids []string) {
		t.Helper()
		open, err := w.stream().Shards(t.Context())
		if err != nil || len(open) != want {
			t.Fatalf("%v, %v, want %d open shards", open, err, want)
		}
		for _, s := range open {
			ids = append(ids, s.ID)
		}
		return ids
	}

	got := map[string][]string{} // by key
	after := map[string]string{}
	ended := map[string]bool{}
	follow := func() { // as a fleet would
		t.Helper()
		for progress := true; progress; {
			progress = false
			shards, err := source.Shards(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range shards {
				ready := !slices.ContainsFunc(s.Parents, func(p string) bool { return !ended[p] })
				if ended[s.ID] || !ready {
					continue
				}
				pages, last := drain(t, source, s.ID, after[s.ID], 100)
				for _, p := range pages {
					for _, r := range p.Records {
						var key string
						var n int
						if _, err := fmt.Sscanf(string(r.Data), "%s %d", &key, &n); err != nil {
							t.Fatal(err)
						}
						got[key] = append(got[key], fmt.Sprint(n))
						after[s.ID] = r.Sequence
					}
				}
				if last.End != s.Closed {
					t.Errorf("%+v, and its end is %v", s, last.End)
				}
				ended[s.ID] = last.End
				progress = progress || last.End
			}
		}
	}

	putSome()
	follow()
	putSome()
	w.splitShard(t, openIDs(1)[0])
	putSome()
	follow()
	w.splitShard(t, openIDs(2)[1])
	putSome()
	ids := openIDs(3)
	w.merge(t, ids[0], ids[1])
	putSome()
	follow()
	openIDs(2)
	for _, k := range keys {
		want := make([]string, put)
		for i := range want {
			want[i] = fmt.Sprint(i)
		}
		if !slices.Equal(got[k.String()], want) {
			t.Errorf("key %s: %q", k, got[k.String()])
		}
	}
	if len(ended) != 7-1 || countTrue(ended) != 4 {
		t.Errorf("%v: want 6 shards, of which 4 have ended", ended)
	}
}

func countTrue(m map[string]bool) (n int) {
	for _, v := range m {
		if v {
			n++
		}
	}
	return n
}

// The server's own pages of a listing.
func TestListShardsByPagesConforms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, kinesisPeer(t), 5)
	w.client = kinesis.New(w.client.Options(), func(o *kinesis.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("two shards a page", func(
				ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
			) (middleware.InitializeOutput, middleware.Metadata, error) {
				if list, ok := in.Parameters.(*kinesis.ListShardsInput); ok {
					list.MaxResults = sdk.Int32(2)
				}
				return next.HandleInitialize(ctx, in)
			}), middleware.Before)
		})
	})
	if open, err := w.stream().Shards(t.Context()); err != nil || len(open) != 5 {
		t.Errorf("%v, %v", open, err)
	}
}

// A reader that starts anew goes on where another one stopped, and one of another stream is told so.
func TestAnotherReaderGoesOnConforms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, kinesisPeer(t), 1)
	shard := shardName(0)
	for i := range 4 {
		w.put(t, shard, []byte{byte(i)})
	}
	all, _ := w.read(t, shard)
	if len(all) != 4 {
		t.Fatalf("%d records", len(all))
	}
	pages, _ := drain(t, w.source(), shard, all[1].Sequence, 1<<20)
	if countRecords(pages) != 2 || pages[0].Records[0].Sequence != all[2].Sequence {
		t.Errorf("behind %s: %+v", all[1].Sequence, pages)
	}
	if p, err := w.source().Read(t.Context(), shard, "49590338271490256608559692538361571095921575989136588898", 1); err == nil {
		t.Errorf("behind another stream's record: %+v", p)
	}
}

// What the check says of a server that is there, and of a stream that is not.
func TestCheckConforms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, kinesisPeer(t), 2)
	written, err := w.stream().Check(t.Context())
	if err != nil || written.Status != "ACTIVE" || written.OpenShards != 2 || written.Retention < leastRetention {
		t.Errorf("%+v, %v", written, err)
	}
	if read, err := w.source().Check(t.Context()); err != nil || read.ARN != written.ARN {
		t.Errorf("%+v, %v", read, err)
	}
	for i := range 2 {
		if records, _ := w.read(t, shardName(i)); len(records) > 0 {
			t.Errorf("the check left %d records", len(records))
		}
	}
	_, err = NewStream(w.client, w.name+"-not").Check(t.Context())
	mustContain(t, err, w.name+"-not", "create it", "AWS_REGION")
}
