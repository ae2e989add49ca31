package local

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"penstock/consumer"
	"penstock/schemas"
)

// isIndexFlush: the index begins to write a table. None of these tests has it compact.
func isIndexFlush(op errorfs.Op) bool {
	return op.Kind == errorfs.OpCreate && filepath.Ext(op.Path) == ".sst" && filepath.Base(filepath.Dir(op.Path)) == "index"
}

func checkpointAt(sequence uint64) consumer.Checkpoint {
	return consumer.Checkpoint{Position: schemas.Position{Sequence: formatSequence(sequence)}}
}

// logged is called with each line of a log.
type logged func([]byte)

func (l logged) Write(p []byte) (int, error) {
	l(p)
	return len(p), nil
}

// A flush that hangs holds up nobody beyond his context, also behind one who waits without end, and the sink goes on.
func TestIndexFlushHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := faults{hung: make(chan struct{}, 1)}
		s := openTest(t, testConfig(f.wrap(vfs.NewMem())))
		shard := s.stream.shards[0].id
		e, encoded := event(t, 1)
		entries := []consumer.Entry{{Event: e, Encoded: encoded}}
		if err := s.index.Apply(t.Context(), shard, entries, checkpointAt(1)); err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		f.set(isIndexFlush, nil, release)
		patient := make(chan error, 1)
		go func() { patient <- s.index.Apply(t.Context(), shard, entries, consumer.Checkpoint{}) }()
		<-f.hung

		for range 2 {
			for name, op := range map[string]func(context.Context) error{
				"requeue": func(ctx context.Context) error { return s.index.Apply(ctx, shard, entries, consumer.Checkpoint{}) },
				"remove":  func(ctx context.Context) error { return s.index.Remove(ctx, "another") },
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				if err := op(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s while the flush hangs: %v", name, err)
				}
				cancel()
			}
		}
		if err := s.index.Apply(t.Context(), shard, entries, checkpointAt(2)); err != nil {
			t.Errorf("the sink: %v", err)
		}

		f.set(nil, nil, nil)
		close(release)
		if err := <-patient; err != nil {
			t.Errorf("once the disk goes on: %v", err)
		}
		if err := s.index.Apply(t.Context(), shard, entries, consumer.Checkpoint{}); err != nil {
			t.Errorf("requeued again: %v", err)
		}
	})
}

// The same once it hung so long that Pebble takes no more writes; and what lands afterwards, of callers that have gone, comes
// before a removal.
func TestIndexTakesNoMore(t *testing.T) {
	t.Parallel()
	f := faults{hung: make(chan struct{}, 1)}
	cfg := testConfig(f.wrap(vfs.NewMem()))
	sinkCtx, stop := context.WithCancel(t.Context())
	defer stop()
	cfg.Logger = slog.New(slog.NewTextHandler(logged(func(p []byte) {
		if bytes.Contains(p, []byte("pebble stalls writes")) {
			stop()
		}
	}), nil))
	s := openTest(t, cfg)
	release := make(chan struct{})
	f.set(isIndexFlush, nil, release)
	shard, other := s.stream.shards[0].id, s.stream.shards[1].id
	e, _ := event(t, 1)
	entries := []consumer.Entry{{Event: e, Encoded: make([]byte, memTableSize)}}
	var err error
	var sequence uint64
	for err == nil {
		sequence++
		err = s.index.Apply(sinkCtx, shard, entries, checkpointAt(sequence))
	}
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the sink: %v", err)
	}
	for name, op := range map[string]func(context.Context) error{
		"the same shard": func(ctx context.Context) error { return s.index.Apply(ctx, shard, nil, checkpointAt(sequence+1)) },
		"requeue":        func(ctx context.Context) error { return s.index.Apply(ctx, other, entries, consumer.Checkpoint{}) },
		"remove":         func(ctx context.Context) error { return s.index.Remove(ctx, e.ID) },
		"flush":          s.index.keep,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		if err := op(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s while no write is taken: %v", name, err)
		}
		cancel()
	}
	f.set(nil, nil, nil)
	close(release)
	if err := s.index.Remove(t.Context(), e.ID); err != nil {
		t.Error(err)
	}
	if c, err := s.index.Checkpoint(t.Context(), shard); err != nil || c != checkpointAt(sequence) {
		t.Errorf("checkpoint %v, %v; want that of the sink's last write, %d", c, err, sequence)
	}
	if _, err := s.index.Get(t.Context(), e.ID); !errors.Is(err, consumer.ErrNotFound) {
		t.Errorf("what was removed: %v", err)
	}
}

// Who can't wait for a flush any more keeps nobody from closing the store, though the flush fails without end.
func TestCloseWhileIndexFlushFails(t *testing.T) {
	t.Parallel()
	var f faults
	s := mustOpen(t, testConfig(f.wrap(vfs.NewMem())))
	f.set(isIndexFlush, errors.New("input/output error"), nil)
	ctx, cancel := context.WithCancel(t.Context())
	removed := make(chan error, 1)
	go func() { removed <- s.index.Remove(ctx, "x") }()
	waitFor(t, func() bool { return s.Err() != nil })
	cancel()
	if err := <-removed; !errors.Is(err, context.Canceled) {
		t.Errorf("Remove while the flush fails: %v", err)
	}
	mustClose(t, s)
}

// An erasure begins when no Apply is under way; what one still writes whose caller has gone must not come after the removal.
func TestRemoveComesLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memStore(t)
		apply := s.index.shard("x").apply
		if err := apply.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.index.Remove(ctx, "id"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Remove beside a write: %v", err)
		}
		apply.give()
		if err := s.index.Remove(t.Context(), "id"); err != nil {
			t.Error(err)
		}
	})
}
