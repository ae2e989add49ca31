package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A part that does not stop is named while there is still somebody to read it.
func TestLatePartsAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := newParts()
		p.logger = slog.New(slog.NewTextHandler(&log, nil))
		release := make(chan struct{})
		p.goes("stuck fleet", func() error { <-release; return nil })
		p.goes("quick", func() error { return nil })
		begun := time.Now()
		err := p.await()
		if err == nil || !strings.Contains(err.Error(), ": stuck fleet;") || !strings.Contains(log.String(), `parts="stuck fleet"`) {
			t.Errorf("%v\n%s", err, log.String())
		}
		if took := time.Since(begun); took != drainTime {
			t.Errorf("took %v", took)
		}
		close(release)
		if err := p.await(); err != nil {
			t.Error(err)
		}
	})
}
