//go:build !nolocal

package main

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

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
