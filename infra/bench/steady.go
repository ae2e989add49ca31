package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	steadyConnections = 256
	// sampleEvery is how often the server's state is looked at.
	sampleEvery = 10 * time.Second
	// settleLimit is how long the sinks may take to be up to date again after the closed loop.
	settleLimit = 3 * time.Minute
	// closedMinutes of a closed loop find the throughput. The sinks give way to a spike, for 20 s; what the server takes for good is the
	// last minute's, when they have to keep up.
	closedMinutes = 3
	// tolerance is how far apart two looks at a server that does not grow may be.
	tolerance = 1.10
	mebibyte  = 1 << 20
)

// vitals are what a process holds at one moment. Sizes are in bytes.
type vitals struct {
	Seconds     float64 `json:"seconds"` // since the load began
	RSS         float64 `json:"rss"`
	Heap        float64 `json:"heap"` // Go's, with what the collector has not come to yet
	Goroutines  float64 `json:"goroutines"`
	Descriptors float64 `json:"descriptors"`
	Disk        float64 `json:"disk"` // the data directory
}

// steadyMinute is what a minute of the load came to.
type steadyMinute struct {
	PerSecond float64  `json:"perSecond"`
	P50Millis float64  `json:"p50Millis"`
	P99Millis float64  `json:"p99Millis"`
	Vitals    []vitals `json:"vitals"`
}

// steady puts an even load on the server, less than it could take, and compares the last minute with the first. A minute is a
// round of an open loop, with connections of its own; a run shorter than two minutes is cut in two.
func (b *bench) steady(ctx context.Context) (_ []measure, err error) {
	server, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(server.end(err), os.RemoveAll(server.dataDir)) }()
	subject := load{dialer(server.address), steadyConnections, posts(mediaJSON, documents(variants, kilobyte)), http.StatusAccepted, 0}
	length := min(time.Minute, b.load/2)
	var closed sample
	for range closedMinutes {
		if closed, err = subject.round(ctx, length); err != nil {
			return nil, fmt.Errorf("closed loop: %w", err)
		}
		if _, err := fmt.Fprintf(b.progress, "  %.0f requests/s in a closed loop\n", closed.perSecond); err != nil {
			return nil, fmt.Errorf("show progress: %w", err)
		}
	}
	if err := server.settle(ctx); err != nil {
		return nil, err
	}
	subject.rate = openLoad * closed.perSecond
	if _, err := fmt.Fprintf(b.progress, "  %v at %.0f/s\n", b.load, subject.rate); err != nil {
		return nil, fmt.Errorf("show progress: %w", err)
	}
	for began := time.Now(); time.Since(began)+length/2 < b.load; {
		minute, err := server.observed(ctx, &subject, length, began)
		if err != nil {
			return nil, fmt.Errorf("minute %d: %w", len(b.details.Minutes)+1, err)
		}
		b.details.Minutes = append(b.details.Minutes, minute)
		v := minute.Vitals[len(minute.Vitals)-1]
		if _, err := fmt.Fprintf(b.progress, "  %5.0f s: %.0f/s, p50 %.1f ms, p99 %.1f ms, RSS %.0f MiB, heap %.0f MiB, "+
			"%.0f goroutines, %.0f descriptors, %.1f GB on disk\n", v.Seconds, minute.PerSecond, minute.P50Millis, minute.P99Millis,
			v.RSS/mebibyte, v.Heap/mebibyte, v.Goroutines, v.Descriptors, v.Disk/1e9); err != nil {
			return nil, fmt.Errorf("show progress: %w", err)
		}
	}
	return steadyMeasures(b.details.Minutes), nil
}

// observed is a round of the load with looks at the server in its course, and one at its end.
func (p *process) observed(ctx context.Context, l *load, length time.Duration, began time.Time) (steadyMinute, error) {
	var m steadyMinute
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				v, err := p.vitals(ctx, began)
				if err != nil {
					watched <- err
					return
				}
				m.Vitals = append(m.Vitals, v)
			case <-ended:
				watched <- nil
				return
			}
		}
	}()
	s, err := l.round(ctx, length)
	close(ended)
	if err := errors.Join(err, <-watched); err != nil {
		return m, err
	}
	v, err := p.vitals(ctx, began)
	if err != nil {
		return m, err
	}
	m.Vitals = append(m.Vitals, v)
	m.PerSecond, m.P50Millis, m.P99Millis = s.perSecond, millis(0.5)(&s), millis(0.99)(&s)
	return m, nil
}

// vitals are read from /metrics and from the data directory.
func (p *process) vitals(ctx context.Context, began time.Time) (vitals, error) {
	found, err := p.metrics(ctx)
	if err != nil {
		return vitals{}, err
	}
	v := vitals{Seconds: time.Since(began).Seconds()}
	for name, into := range map[string]*float64{
		"process_resident_memory_bytes": &v.RSS, "go_memstats_heap_alloc_bytes": &v.Heap,
		"go_goroutines": &v.Goroutines, "process_open_fds": &v.Descriptors,
	} {
		value, ok := found[name]
		if !ok {
			return v, fmt.Errorf("/metrics does not tell %s", name)
		}
		*into = value
	}
	v.Disk, err = diskUsed(p.dataDir)
	return v, err
}

// settle waits until no sink lags behind what the server has acked.
func (p *process) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for {
		found, err := p.metrics(ctx)
		if err != nil {
			return err
		}
		behind := sinkLag(found)
		if behind < 1 {
			return nil
		}
		if err := waitUntil(ctx, time.Now().Add(time.Second)); err != nil {
			return fmt.Errorf("the sinks lag by %.0f s after %v: %w", behind, settleLimit, err)
		}
	}
}

// sinkLag is that of the slowest sink and shard, in seconds.
func sinkLag(metrics map[string]float64) float64 {
	behind := 0.0
	for name, value := range metrics {
		if strings.HasPrefix(name, "penstock_sink_lag_seconds{") {
			behind = max(behind, value)
		}
	}
	return behind
}

// metrics are the server's, by name with labels (https://prometheus.io/docs/instrumenting/exposition_formats/).
func (p *process) metrics(ctx context.Context) (map[string]float64, error) {
	text, err := p.ask(ctx, http.MethodGet, "/metrics", nil, http.StatusOK)
	if err != nil {
		return nil, fmt.Errorf("scrape: %w", err)
	}
	return parseMetrics(bytes.NewReader(text))
}

// parseMetrics reads the text format. No label of ours holds a space before its value's.
func parseMetrics(text io.Reader) (map[string]float64, error) {
	found := make(map[string]float64)
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		line := lines.Text()
		space := strings.LastIndexByte(line, ' ')
		if space < 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w", line, err)
		}
		found[line[:space]] = value
	}
	return found, lines.Err()
}

// diskUsed is the size of all files below a directory, in bytes. One that is gone before it is looked at doesn't count.
func diskUsed(dir string) (used float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			used += float64(info.Size())
		}
		return err
	})
	return used, err
}

// steadyMeasures compares the last minute with the first: the median of what was seen in each.
func steadyMeasures(minutes []steadyMinute) []measure {
	first, last := &minutes[0], &minutes[len(minutes)-1]
	against := func(what, unit string, g *goal, of func(*steadyMinute) float64) measure {
		single := []pair{{sample{perSecond: of(first)}, sample{perSecond: of(last)}}}
		return summarize(what, "the first minute", unit, g, single, scaled(1))
	}
	seen := func(of func(*vitals) float64) func(*steadyMinute) float64 {
		return func(m *steadyMinute) float64 {
			var values []float64
			for i := range m.Vitals {
				values = append(values, of(&m.Vitals[i]))
			}
			return median(values)
		}
	}
	return []measure{
		against("p50", "ms", nil, func(m *steadyMinute) float64 { return m.P50Millis }),
		against("p99", "ms", atMost(1.5), func(m *steadyMinute) float64 { return m.P99Millis }),
		against("resident memory", "MiB", atMost(tolerance), seen(func(v *vitals) float64 { return v.RSS / mebibyte })),
		against("Go heap", "MiB", atMost(tolerance), seen(func(v *vitals) float64 { return v.Heap / mebibyte })),
		against("goroutines", "", atMost(tolerance), seen(func(v *vitals) float64 { return v.Goroutines })),
		against("descriptors", "", atMost(tolerance), seen(func(v *vitals) float64 { return v.Descriptors })),
		against("disk", "GB", nil, seen(func(v *vitals) float64 { return v.Disk / 1e9 })),
	}
}
