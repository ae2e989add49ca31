package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// appendSynced is the least that an ack must wait for: some bytes at the end of a file, and its fsync.
func appendSynced(path string, body []byte) (side, func() error, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, nil, fmt.Errorf("make the comparator's file: %w", err)
	}
	return repeat(func() error {
		if _, err := f.Write(body); err != nil {
			return fmt.Errorf("append: %w", err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("fsync: %w", err)
		}
		return nil
	}), f.Close, nil
}

// copySynced copies bodies to new files, each with an fsync, from several goroutines.
func copySynced(dir string, writers int, bodies [][]byte) side {
	return sideFunc(func(ctx context.Context, length time.Duration) (sample, error) {
		samples, errs := make([]sample, writers), make([]error, writers)
		start := time.Now()
		var group sync.WaitGroup
		for w := range writers {
			n := 0
			step := repeat(func() error {
				n++
				return copyOnce(filepath.Join(dir, fmt.Sprintf("copy-%d-%d", w, n)), bodies[(w+n)%len(bodies)])
			})
			group.Go(func() { samples[w], errs[w] = step(ctx, length) })
		}
		group.Wait()
		var all sample
		for _, s := range samples {
			all.latencies = append(all.latencies, s.latencies...)
		}
		slices.Sort(all.latencies)
		all.perSecond = float64(len(all.latencies)) / time.Since(start).Seconds()
		return all, errors.Join(errs...)
	})
}

// copyOnce writes a file and takes it away again: what is measured is a new file, but the disk must not fill up.
func copyOnce(path string, body []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	_, err = io.Copy(f, bytes.NewReader(body))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(path))
}
