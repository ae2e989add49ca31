package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// largeRequests at once keep processors, disk and network busy.
	largeRequests = 8
	// settle is more than an event takes from its receipt to its shard.
	settle = 10 * time.Second
)

// drainTime is how long a stopping process may take to finish what it has accepted.
const drainTime = 30 * time.Second

// parts are what a process runs side by side until it is told to end.
type parts struct {
	logger  *slog.Logger
	running sync.WaitGroup
	names   sync.Map   // of what runs
	failed  chan error // the first failures
}

func newParts() *parts { return &parts{failed: make(chan error, 8)} }

// goes runs a part; its error ends the process.
func (p *parts) goes(name string, part func() error) {
	p.names.Store(name, nil)
	p.running.Go(func() {
		defer p.names.Delete(name)
		if err := part(); err != nil && !errors.Is(err, context.Canceled) {
			select {
			case p.failed <- fmt.Errorf("%s: %w", name, err):
			default: // the process is ending because of others
			}
		}
	})
}

// untilStopped waits for a signal, nil, or the failure of a part.
func (p *parts) untilStopped(ctx context.Context) error {
	select {
	case <-ctx.Done():
		p.logger.Info("stopping: finishing what was accepted", "limit", drainTime)
		return nil
	case err := <-p.failed:
		p.logger.Error("stopping: a part of the program failed", "error", err)
		return err
	}
}

// await waits for all parts. Those that are late it names at once, since what comes then may hang as well.
func (p *parts) await() error {
	if inTime, _ := finish(func() error { p.running.Wait(); return nil }); inTime {
		return nil
	}
	var late []string
	p.names.Range(func(name, _ any) bool { late = append(late, fmt.Sprint(name)); return true })
	names := strings.Join(late, ", ")
	p.logger.Error("stopping: late parts are given up", "parts", names)
	return fmt.Errorf("did not stop in time: %s; what was acked is durable", names)
}

// finish gives up on do after drainTime.
func finish(do func() error) (inTime bool, err error) {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return true, err
	case <-time.After(drainTime):
		return false, nil
	}
}
