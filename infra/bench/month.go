package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
)

// monthDay is a day of the simulated month, as BenchmarkMonth of the root package tells it, which also says what is what.
type monthDay struct {
	Day             int     `json:"day"`
	CommitMillis    float64 `json:"commitMillis"`
	CommitP99Millis float64 `json:"commitP99Millis"`
	UpkeepMillis    float64 `json:"upkeepMillis"`
	CountDayMillis  float64 `json:"countDayMillis"`
	CountAllMillis  float64 `json:"countAllMillis"`
	LookupMicros    float64 `json:"lookupMicros"`
	TableFiles      int64   `json:"tableFiles"`
	TableBytes      int64   `json:"tableBytes"`
	DirectoryFiles  int64   `json:"directoryFiles"`
	DirectoryBytes  int64   `json:"directoryBytes"`
	MetadataBytes   int64   `json:"metadataBytes"`
	Manifests       int     `json:"manifests"`
	Snapshots       int     `json:"snapshots"`
	StateBytes      int64   `json:"stateBytes"`
	HeapBytes       uint64  `json:"heapBytes"`
	Seconds         float64 `json:"seconds"`
}

const (
	// openDayFiles bounds the data files of a day that is not over, and directoryFiles all files of the table beside the
	// one of each closed day.
	openDayFiles   = 40
	directoryFiles = 1000
	metadataKB     = 1000
)

// month runs the simulated month in a process of its own and compares its last day with its first.
func (b *bench) month(ctx context.Context) ([]measure, error) {
	g, err := b.goBenchmarks(ctx, ".")
	if err != nil {
		return nil, err
	}
	run := exec.CommandContext(ctx, g.binary, "-test.run", "^$", "-test.bench", "^BenchmarkMonth$", "-test.benchtime", "1x")
	run.Dir = g.dir
	run.Env = append(os.Environ(), "TMPDIR="+b.dir, "PENSTOCK_BENCH_DAYS="+strconv.Itoa(b.days))
	var said bytes.Buffer // what is no day: the reason when it fails
	run.Stderr = &said
	stdout, err := run.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the month: %w", err)
	}
	if err := run.Start(); err != nil {
		return nil, fmt.Errorf("start the month: %w", err)
	}
	days, readErr := readMonth(stdout, b.progress, &said)
	b.details.Days = days
	if err := errors.Join(readErr, run.Wait()); err != nil {
		return nil, fmt.Errorf("the month: %w: %.2000s", err, said.String())
	}
	if len(days) != b.days {
		return nil, fmt.Errorf("the month ended after %d of %d days: %.2000s", len(days), b.days, said.String())
	}
	return monthMeasures(days), nil
}

// readMonth reads the days as they pass, shows each, and copies to said what else there is.
func readMonth(from io.Reader, progress, said io.Writer) ([]monthDay, error) {
	var days []monthDay
	if _, err := fmt.Fprintln(progress, "  day | commit p50, p99 ms | upkeep ms | count day, all ms | look-up µs | files: table, directory | "+
		"MB: table, directory, index | metadata KB | manifests | snapshots | heap MB | took s"); err != nil {
		return nil, fmt.Errorf("show progress: %w", err)
	}
	for lines := bufio.NewScanner(from); lines.Scan(); {
		_, text, found := bytes.Cut(lines.Bytes(), []byte("{")) // the first stands behind the benchmark's name
		if !found {
			if _, err := fmt.Fprintln(said, lines.Text()); err != nil {
				return days, fmt.Errorf("keep what it said: %w", err)
			}
			continue
		}
		var d monthDay
		decoder := json.NewDecoder(io.MultiReader(bytes.NewReader([]byte("{")), bytes.NewReader(text)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&d); err != nil {
			return days, fmt.Errorf("a day of the month, %q: %w", lines.Text(), err)
		}
		days = append(days, d)
		const mega = 1e6
		if _, err := fmt.Fprintf(progress, "  %3d | %6.1f %6.1f      | %6.1f    | %6.1f %6.1f     | %6.1f     | %4d %5d               | "+
			"%6.0f %6.0f %6.0f      | %5.0f       | %3d       | %3d       | %4.0f    | %4.0f\n",
			d.Day, d.CommitMillis, d.CommitP99Millis, d.UpkeepMillis, d.CountDayMillis, d.CountAllMillis, d.LookupMicros, d.TableFiles,
			d.DirectoryFiles, float64(d.TableBytes)/mega, float64(d.DirectoryBytes)/mega, float64(d.StateBytes)/mega,
			float64(d.MetadataBytes)/1000, d.Manifests, d.Snapshots, float64(d.HeapBytes)/mega, d.Seconds); err != nil {
			return days, fmt.Errorf("show progress: %w", err)
		}
	}
	return days, nil
}

// monthMeasures compares the last day with the first, and the largest sizes of any day with their bounds.
func monthMeasures(days []monthDay) []measure {
	first, last := days[0], days[len(days)-1]
	lastDay := func(what, unit string, g *goal, of func(*monthDay) float64) measure {
		single := []pair{{sample{perSecond: of(&first)}, sample{perSecond: of(&last)}}}
		return summarize(what, "the first day", unit, g, single, scaled(1))
	}
	most := func(what, unit string, bound float64, of func(*monthDay) float64) measure {
		largest := 0.0
		for i := range days {
			largest = max(largest, of(&days[i]))
		}
		return bounded(what, unit, bound, largest, atMost(1))
	}
	return []measure{
		lastDay("SQL count of a day", "ms", atMost(2), func(d *monthDay) float64 { return d.CountDayMillis }),
		lastDay("SQL count of all", "ms", atMost(2), func(d *monthDay) float64 { return d.CountAllMillis }),
		lastDay("look-up by id", "µs", atMost(2), func(d *monthDay) float64 { return d.LookupMicros }),
		lastDay("commit, p50", "ms", atMost(2), func(d *monthDay) float64 { return d.CommitMillis }),
		lastDay("upkeep, p50", "ms", nil, func(d *monthDay) float64 { return d.UpkeepMillis }),
		lastDay("Go heap", "MB", nil, func(d *monthDay) float64 { return float64(d.HeapBytes) / 1e6 }),
		most("files in the table", "files", float64(len(days)+openDayFiles), func(d *monthDay) float64 { return float64(d.TableFiles) }),
		most("files in the directory", "files", float64(len(days)+directoryFiles),
			func(d *monthDay) float64 { return float64(d.DirectoryFiles) }),
		most("metadata file", "KB", metadataKB, func(d *monthDay) float64 { return float64(d.MetadataBytes) / 1000 }),
	}
}
