//go:build !nolocal

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"maps"
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

// posted are the clients' documents at one moment.
type posted struct {
	acked map[string][]byte // by id
	keyed map[string]string // by Idempotency-Key: the acked id
	tried map[string][]byte // by Idempotency-Key: sent, acked or not
}

// cut is the file system as the power went at one moment, and what the clients knew before it.
type cut struct {
	posted
	operation string
	files     *vfs.MemFS
}

// blackout cuts the power before every operation that changes the file system, while the whole core runs on it: stream, bodies, index, data
// files, manifests, metadata, pointer and checkpoints are all in the same cut.
type blackout struct {
	files *vfs.MemFS
	rng   *rand.Rand

	mu sync.Mutex
	posted
	cuts []cut
	hits map[string]int // cuts after the first ack, by what was about to happen to which kind of file
}

func (*blackout) String() string { return "blackout" }

// MaybeError is called before every operation on the file system. It never fails one.
func (b *blackout) MaybeError(op errorfs.Op) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	// Some of what was not synced may survive, but not while the database is first made: Pebble names its manifest in a
	// marker before the manifest's own directory entry is synced, and counts on the file system's order.
	unsynced := []int{0, 0, 50}[b.rng.IntN(3)]
	if len(b.acked) == 0 {
		unsynced = 0
	} else {
		b.hits[change(op)+" "+kind(op.Path)]++
	}
	b.cuts = append(b.cuts, cut{
		operation: fmt.Sprintf("%d: %v %s (%d %% of what was not synced survives)", len(b.cuts), op.Kind, op.Path, unsynced),
		files:     b.files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: b.rng}),
		posted:    posted{maps.Clone(b.acked), maps.Clone(b.keyed), maps.Clone(b.tried)},
	})
	return nil
}

func change(op errorfs.Op) string {
	switch op.Kind {
	case errorfs.OpFileWrite:
		return "write"
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return "sync"
	default:
		return "other"
	}
}

// kinds of files that must be whole after a cut, by a part of their path.
var kinds = []string{"/objects/penstock/", ".parquet", ".avro", ".metadata.json", ".log"}

func kind(path string) string {
	for _, k := range kinds {
		if strings.Contains(path, k) {
			return k
		}
	}
	return "other"
}

func coreConfig() *localCmd {
	return &localCmd{
		Data: "/data", Shards: 2, Retention: time.Hour, RetentionBytes: 1 << 30, frontFlags: frontFlags{Memory: 64 << 20},
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
	stopCore(t, k, cancel, ended)
}

// stopCore stops a core and its two sinks in order.
func stopCore(t *testing.T, k *localCore, cancel context.CancelFunc, ended <-chan error) {
	t.Helper()
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
// its bytes and in the lake's table once, after the restart has caught up; nothing is in the table twice. A client that
// retries with its key has its first id if it had one, and its document in the table once.
func TestPowerCutAnywhere(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	files := vfs.NewCrashableMem()
	b := &blackout{
		files: files, rng: rand.New(rand.NewPCG(seed, 0)), hits: map[string]int{},
		posted: posted{map[string][]byte{}, map[string]string{}, map[string][]byte{}},
	}
	runCore(t, errorfs.Wrap(files, b), func(k *localCore) {
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for n := range 12 {
					body := fmt.Appendf(nil, ` {"writer": %d, "n": %d}`, w, n)
					if n == 5 && w < 2 { // over 1 MB: through the bodies
						body = fmt.Appendf(nil, `{"writer": %d, "pad": %q}`, w, strings.Repeat("p", 1_100_000))
					}
					key := ""
					if (w+n)%2 == 0 {
						key = fmt.Sprintf("%d-%d", w, n)
					}
					b.post(t, k, body, key)
				}
			})
		}
		writers.Wait()
		k.caughtUp(t)
	})
	t.Logf("%d cuts; %v", len(b.cuts), b.hits)
	for _, k := range kinds {
		if b.hits["write "+k] == 0 || b.hits["sync "+k] == 0 {
			t.Errorf("no cut came before a write or a sync of a file %q", k)
		}
	}
	storedUnacked := 0
	for _, c := range b.cuts {
		runCore(t, c.files, func(k *localCore) {
			storedUnacked += c.retry(t, k)
			k.caughtUp(t)
			c.verify(t, k)
		})
		if t.Failed() {
			t.Fatalf("after a cut before operation %s", c.operation)
		}
	}
	t.Logf("%d times an event was stored and not acked", storedUnacked)
	if storedUnacked == 0 {
		t.Error("no cut fell between the store of an event and its ack")
	}
}

// post has the body acked, and notes it as acked only then.
func (b *blackout) post(t *testing.T, k *localCore, body []byte, key string) {
	if key != "" {
		b.mu.Lock()
		b.tried[key] = body
		b.mu.Unlock()
	}
	id, _, err := k.accept(t.Context(), body, key)
	if err != nil {
		t.Error(err)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acked[id] = body
	if key != "" {
		b.keyed[key] = id
	}
}

// accept takes a document in, as the HTTP side does.
func (k *localCore) accept(ctx context.Context, body []byte, key string) (id string, replayed bool, err error) {
	hold := k.budget.Hold()
	defer hold.Release()
	if err := hold.Grow(ctx, int64(len(body))); err != nil {
		return "", false, err
	}
	ack, replayed, err := k.ingest.Accept(ctx, ingest.Submission{Body: body, Hold: hold}, key)
	return ack.ID, replayed, err
}

// retry sends again all that bears a key, all at once, and counts what had been stored but not acked. From here on it is
// acked.
func (c cut) retry(t *testing.T, k *localCore) (storedUnacked int) {
	var clients sync.WaitGroup
	var mu sync.Mutex
	for key, body := range c.tried {
		clients.Go(func() {
			id, replayed, err := k.accept(t.Context(), body, key)
			mu.Lock()
			defer mu.Unlock()
			first, acked := c.keyed[key]
			switch {
			case err != nil:
				t.Errorf("retry of %s: %v", key, err)
			case acked && (id != first || !replayed):
				t.Errorf("%s was acked as %s, its retry as %s (replayed %t)", key, first, id, replayed)
			case !acked && replayed:
				storedUnacked++
			}
			c.acked[id] = body
		})
	}
	clients.Wait()
	return storedUnacked
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
	ids, sums := map[string]int{}, map[string]int{}
	paths, err := k.table.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		columns := readColumns(t, c.files, path, "id", "sha256")
		for _, id := range columns[0] {
			if ids[id]++; ids[id] > 1 {
				t.Errorf("%s is in the table twice", id)
			}
		}
		for _, sum := range columns[1] {
			sums[sum]++
		}
	}
	for id := range c.acked {
		if ids[id] == 0 {
			t.Errorf("%s is not in the table", id)
		}
	}
	for key, body := range c.tried {
		if n := sums[fmt.Sprintf("%x", sha256.Sum256(body))]; n != 1 {
			t.Errorf("the document of %s is in the table %d times", key, n)
		}
	}
}

// readColumns reads text columns of a data file, without Penstock's own reader.
func readColumns(t *testing.T, fsys vfs.FS, path string, names ...string) [][]string {
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
	var leaves, groups []int
	for _, name := range names {
		leaves = append(leaves, parquet.MetaData().Schema.ColumnIndexByName(name))
	}
	for g := range parquet.NumRowGroups() {
		groups = append(groups, g)
	}
	table, err := reader.ReadRowGroups(t.Context(), leaves, groups)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	columns := make([][]string, len(names))
	for i := range names {
		for _, chunk := range table.Column(i).Data().Chunks() {
			values, ok := chunk.(*array.String)
			if !ok {
				t.Fatalf("column %s is a %T", names[i], chunk)
			}
			for row := range values.Len() {
				columns[i] = append(columns[i], strings.Clone(values.Value(row)))
			}
		}
	}
	return columns
}
