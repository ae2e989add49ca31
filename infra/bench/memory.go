package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// peakMemory is the largest resident size that the process has had, in MiB.
func (p *process) peakMemory() (float64, error) { return peakOf(p.cmd.Process.Pid) }

// peakWithWorkers is that of the process and of those that it has started and that still run, one by one, though they share
// the pages of the program's file.
func (p *process) peakWithWorkers() (float64, error) {
	sum, err := p.peakMemory()
	if err != nil {
		return 0, err
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid)) // proc_pid_task_children(5)
	if err != nil {
		return 0, fmt.Errorf("find the server's workers: %w", err)
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a thread that has ended
		}
		if err != nil {
			return 0, fmt.Errorf("find the server's workers: %w", err)
		}
		for _, child := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				return 0, fmt.Errorf("find the server's workers: %w", err)
			}
			peak, err := peakOf(pid)
			if err != nil {
				return 0, err
			}
			sum += peak
		}
	}
	return sum, nil
}

// peakOf reads VmHWM (proc_pid_status(5)).
func peakOf(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read a peak of memory: %w", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	if _, err := fmt.Sscanf(rest, "%g", &kib); err != nil {
		return 0, fmt.Errorf("read a peak of memory: %w", err)
	}
	return kib / 1024, nil
}

// memory is the peak of a fresh server under each of two loads, against a bound.
func (b *bench) memory(ctx context.Context) ([]measure, error) {
	small := load{nil, 1024, posts(mediaJSON, documents(variants, kilobyte)), http.StatusAccepted, 0}
	peak, err := b.peakUnder(ctx, func(dial dialFunc) error {
		small.dial = dial
		_, err := small.round(ctx, time.Duration(b.rounds)*b.length)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("small bodies: %w", err)
	}
	measures := []measure{bounded("peak, 1,024 connections × 1 KB", "MiB", 300, peak, atMost(1))}
	document := append(append([]byte{'"'}, bytes.Repeat([]byte{'m'}, 10<<20-2)...), '"')
	large := posts(mediaJSON, [][]byte{document})[0]
	if peak, err = b.peakUnder(ctx, func(dial dialFunc) error { return allAtOnce(ctx, dial, 64, large) }); err != nil {
		return measures, fmt.Errorf("large bodies: %w", err)
	}
	return append(measures, bounded("peak, 64 × 10 MiB at once", "MiB", 1200, peak, atMost(1))), nil
}

// bounded is a figure of one measurement against a fixed bound.
func bounded(what, unit string, bound, measured float64, g *goal) measure {
	single := []pair{{sample{perSecond: bound}, sample{perSecond: measured}}}
	return summarize(what, "a bound", unit, g, single, scaled(1))
}

// peakUnder is the peak of a fresh server after use.
func (b *bench) peakUnder(ctx context.Context, use func(dialFunc) error) (peak float64, err error) {
	server, err := b.startServer(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = server.end(err) }()
	if err := use(dialer(server.address)); err != nil {
		return 0, err
	}
	return server.peakMemory()
}

// allAtOnce sends one request on each of n connections at once. An honest 503 is as good an answer as a 202.
func allAtOnce(ctx context.Context, dial dialFunc, n int, request []byte) error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			conn, err := dial(ctx)
			if err != nil {
				errs[i] = err
				return
			}
			c := newClientConn(conn)
			if err := c.exchange(request, http.StatusAccepted); err != nil && !errors.Is(err, errRefused) {
				errs[i] = err
			}
			errs[i] = errors.Join(errs[i], c.close())
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
