package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// peakMemory is the largest resident size that the process has had, in MiB (proc(5), VmHWM).
func (p *process) peakMemory() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the server's peak memory: %w", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	if _, err := fmt.Sscanf(rest, "%g", &kib); err != nil {
		return 0, fmt.Errorf("read the server's peak memory: %w", err)
	}
	return kib / 1024, nil
}

// memory is the peak of a fresh server under each of two loads, against a bound.
func (b *bench) memory(ctx context.Context) ([]measure, error) {
	large := append(append([]byte{'"'}, bytes.Repeat([]byte{'m'}, 10<<20-2)...), '"')
	var measures []measure
	for _, c := range []struct {
		what  string
		load  load
		bound float64 // MiB
	}{
		{"peak, 1,024 connections × 1 KB", load{nil, 1024, posts(mediaJSON, documents(variants, kilobyte)), http.StatusAccepted, 0}, 300},
		// The first answers come at once; the status of the others is 202 or an honest 503.
		{"peak, 64 × 10 MiB at once", load{nil, 64, posts(mediaJSON, [][]byte{large}), anyStatus, 0}, 1200},
	} {
		peak, err := b.peakUnder(ctx, &c.load)
		if err != nil {
			return measures, fmt.Errorf("%s: %w", c.what, err)
		}
		single := []pair{{sample{perSecond: c.bound}, sample{perSecond: peak}}}
		measures = append(measures, summarize(c.what, "a bound", "MiB", atMost(1), single, scaled(1)))
	}
	return measures, nil
}

func (b *bench) peakUnder(ctx context.Context, l *load) (peak float64, err error) {
	server, err := b.startServer(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = server.end(err) }()
	l.dial = dialer(server.address)
	if _, err := l.round(ctx, time.Duration(b.rounds)*b.length); err != nil {
		return 0, err
	}
	return server.peakMemory()
}
