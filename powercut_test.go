package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"penstock/ingest"
	"penstock/schemas"
)

// cut is the file system as the power went at one moment, and what had been acked before it.
type cut struct {
	operation string
	files     *vfs.MemFS
	acked     map[string][]byte
}

// blackout cuts the power before every operation that changes the file system, while the whole core runs on it: stream, bodies, index, data
// files, manifests, metadata, pointer and checkpoints are all in the same cut.
type blackout struct {
	files *vfs.MemFS
	rng   *rand.Rand

	mu    sync.Mutex
	acked map[string][]byte
	cuts  []cut
}

func (*blackout) String() string { return "blackout" }

// MaybeError is called before every operation on the file system. It never fails one.
func (b *blackout) MaybeError(op errorfs.Op) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	acked := make(map[string][]byte, len(b.acked))
	for id, body := range b.acked {
		acked[id] = body
	}
	// Some of what was not synced may survive, but not while the database is first made: Pebble names its manifest in a
	// marker before the manifest's own directory entry is synced, and counts on the file system's order.
	unsynced := []int{0, 0, 50}[b.rng.IntN(3)]
	if len(acked) == 0 {
		unsynced = 0
	}
	b.cuts = append(b.cuts, cut{
		operation: fmt.Sprintf("%d: %v %s (%d %% of what was not synced survives)", len(b.cuts), op.Kind, op.Path, unsynced),
		files:     b.files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: b.rng}),
		acked:     acked,
	})
	return nil
}

func coreConfig() *localCmd {
	return &localCmd{
		Data: "/data", Shards: 2, Retention: time.Hour, RetentionBytes: 1 << 30, Memory: 64 << 20,
		FlushAge: 50 * time.Millisecond, FlushBytes: 16 << 20,
	}
}

// runCore runs the core over fsys while use does, and then stops it in order.
func runCore(t *testing.T, fsys vfs.FS, use func(k *localCore)) {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	k, err := openCore(t.Context(), coreConfig(), fsys, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- k.index.Run(ctx) }()
	go func() { ended <- k.lake.Run(ctx) }()
	use(k)
	if err := k.ingest.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := k.store.Close(); err != nil {
		t.Error(err)
	}
}

// The power goes before every single write between a POST and the lake: every event acked before it is readable by its id with
// its bytes and in the lake's table once, after the restart has caught up; nothing is in the table twice.
func TestPowerCutAnywhere(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	files := vfs.NewCrashableMem()
	b := &blackout{files: files, rng: rand.New(rand.NewPCG(seed, 0)), acked: map[string][]byte{}}
	runCore(t, errorfs.Wrap(files, b), func(k *localCore) {
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for n := range 12 {
					body := fmt.Appendf(nil, ` {"writer": %d, "n": %d}`, w, n)
					if n == 5 { // over 1 MB: through the bodies
						body = fmt.Appendf(nil, `{"writer": %d, "pad": %q}`, w, strings.Repeat("p", 1_100_000))
					}
					b.post(t, k, body)
				}
			})
		}
		writers.Wait()
		k.caughtUp(t)
	})
	if len(b.cuts) < 50 {
		t.Fatalf("only %d cuts", len(b.cuts))
	}
	t.Logf("%d cuts", len(b.cuts))
	for _, c := range b.cuts {
		runCore(t, c.files, func(k *localCore) {
			k.caughtUp(t)
			c.verify(t, k)
		})
		if t.Failed() {
			t.Fatalf("after a cut before operation %s", c.operation)
		}
	}
}

// post has the body acked, and notes it as acked only then.
func (b *blackout) post(t *testing.T, k *localCore, body []byte) {
	hold := k.budget.Hold()
	defer hold.Release()
	if err := hold.Grow(t.Context(), int64(len(body))); err != nil {
		t.Error(err)
		return
	}
	ack, _, err := k.ingest.Accept(t.Context(), ingest.Submission{Body: body, Hold: hold}, "")
	if err != nil {
		t.Error(err)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acked[ack.ID] = body
}

// caughtUp waits until both sinks hold all that is on the stream.
func (k *localCore) caughtUp(t *testing.T) {
	t.Helper()
	tips, err := k.store.Stream().Tips(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.lakeSink.FlushThrough(t.Context(), tips); err != nil {
		t.Fatal(err)
	}
	if _, err := k.store.Ledger().Stored(t.Context(), []string{schemas.NewID(time.Now())}); err != nil {
		t.Fatal(err)
	}
}

func (c cut) verify(t *testing.T, k *localCore) {
	t.Helper()
	for id, want := range c.acked {
		event, err := k.store.Index().Get(t.Context(), id)
		if err != nil {
			t.Errorf("index: %s: %v", id, err)
			continue
		}
		got := event.Data
		if event.DataRef != "" {
			body, err := k.bodies.Open(t.Context(), event.DataRef)
			if err != nil {
				t.Errorf("body of %s: %v", id, err)
				continue
			}
			if got, err = io.ReadAll(body); err != nil {
				t.Error(err)
			}
			if err := body.Close(); err != nil {
				t.Error(err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s came back with other bytes", id)
		}
	}
	inTable := map[string]int{}
	paths, err := k.table.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		for _, id := range idColumn(t, c.files, path) {
			if inTable[id]++; inTable[id] > 1 {
				t.Errorf("%s is in the table twice", id)
			}
		}
	}
	for id := range c.acked {
		if inTable[id] == 0 {
			t.Errorf("%s is not in the table", id)
		}
	}
}

// idColumn reads the ids of a data file, without Penstock's own reader.
func idColumn(t *testing.T, fsys vfs.FS, path string) []string {
	t.Helper()
	f, err := fsys.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	parquet, err := file.NewParquetReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	reader, err := pqarrow.NewFileReader(parquet, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	column, err := reader.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer column.Release()
	var ids []string
	for _, chunk := range column.Column(0).Data().Chunks() {
		values, ok := chunk.(*array.String)
		if !ok {
			t.Fatalf("column id is a %T", chunk)
		}
		for i := range values.Len() {
			ids = append(ids, strings.Clone(values.Value(i)))
		}
	}
	return ids
}
