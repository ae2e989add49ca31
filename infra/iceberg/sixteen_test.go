package iceberg

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// farPointer is a Pointer at some distance.
type farPointer struct {
	Pointer
	away time.Duration
}

func (p farPointer) Load(ctx context.Context) (string, error) {
	if err := sleep(ctx, p.away); err != nil {
		return "", err
	}
	return p.Pointer.Load(ctx)
}

func (p farPointer) Swap(ctx context.Context, prev, next string) (bool, error) {
	if err := sleep(ctx, p.away); err != nil {
		return false, err
	}
	return p.Pointer.Swap(ctx, prev, next)
}

// TestSixteenLakes: sixteen processes append to one table as fast as they can, each for a shard of its own, through a catalog
// that is a network away. Each gets on: none is left behind far by the others. Each event is in the table once. That they come
// to rest when they are not in such a hurry is consumer's TestSixteenLakeWorkers.
func TestSixteenLakes(t *testing.T) {
	t.Parallel()
	const workers, enough, most = 16, 1, 40
	fs, shared := vfs.NewMem(), &memoryPointer{}
	openLake(t, fs, "/lake", shared)
	var done [workers]atomic.Int64
	var overtaken atomic.Uint64
	all := func() bool {
		for w := range done {
			if done[w].Load() < enough {
				return false
			}
		}
		return true
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	for w := range workers {
		l := openLake(t, fs, "/lake", farPointer{shared, 3 * time.Millisecond})
		running.Go(func() {
			for n := 0; ctx.Err() == nil && !all(); n++ {
				if err := appendSpan(t.Context(), l, fmt.Sprint("s", w), n, n+1); err != nil {
					t.Error(err)
					return
				}
				if done[w].Add(1) == most {
					t.Errorf("worker %d has %d commits, while others have fewer than %d", w, most, enough)
					stop()
				}
			}
			overtaken.Add(l.Overtaken())
		})
	}
	running.Wait()
	want, total := map[string]int{}, int64(0)
	for w := range workers {
		want[fmt.Sprint("s", w)] = int(done[w].Load())
		total += done[w].Load()
	}
	t.Logf("%v: %d commits, %d made again", want, total, overtaken.Load())
	if overtaken.Load() == 0 {
		t.Error("they never met")
	}
	wantOnce(t, openLake(t, fs, "/lake", shared), want)
}
