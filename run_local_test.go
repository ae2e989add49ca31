//go:build !nolocal

package main

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A part that does not stop is named while there is still somebody to read it.
func TestLatePartsAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := &localProcess{logger: slog.New(slog.NewTextHandler(&log, nil))}
		release := make(chan struct{})
		l.goes("stuck fleet", func() error { <-release; return nil })
		l.goes("quick", func() error { return nil })
		begun := time.Now()
		err := l.await()
		if err == nil || !strings.Contains(err.Error(), ": stuck fleet;") || !strings.Contains(log.String(), `parts="stuck fleet"`) {
			t.Errorf("%v\n%s", err, log.String())
		}
		if took := time.Since(begun); took != drainTime {
			t.Errorf("took %v", took)
		}
		close(release)
		if err := l.await(); err != nil {
			t.Error(err)
		}
	})
}

// A disk that hangs does not keep the process from ending.
func TestCloseEndsOnAHangingDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var hang atomic.Bool
		fsys := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if hang.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				<-release
			}
			return nil
		}))
		k, err := openCore(t.Context(), coreConfig(), fsys, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		l := &localProcess{localCore: k}
		hang.Store(true)
		if err := l.closeInTime(); err == nil || !strings.Contains(err.Error(), "took longer") {
			t.Errorf("got %v", err)
		}
		close(release)
		synctest.Wait() // the close goes on, and ends
	})
}
