//go:build !nolocal

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/infra/iceberg"
	"penstock/infra/local"
	"penstock/schemas"
)

const (
	// monthDaysEnv says how many days a month has, 30 unless it is set.
	monthDaysEnv    = "PENSTOCK_BENCH_DAYS"
	minutesOfDay    = 24 * 60
	monthShards     = 4
	eventsPerMinute = 60
	eventsPerDay    = minutesOfDay * eventsPerMinute
	// minutesPerUpkeep is the default of --upkeep-interval.
	minutesPerUpkeep = 5
	// Statements and look-ups whose median counts, at the end of each day.
	monthCounts  = 21
	monthLookups = 500
	// monthKeptIDs of each day, about, may be looked up, each once at a time: a block that is in memory already counts little.
	monthKeptIDs = 600
)

// BenchmarkMonth is a month in which the lake gets a commit a minute, 60 events of 1 KB each: the real lake over Pebble's pointer,
// upkeep as it is by default, the index, and DuckDB, all on the real disk, under a clock that is a minute farther after each
// commit. It writes what each day came to on standard output, a JSON object a line (monthDay). `make endure` runs it.
//
// The clock of snapshots stays the machine's, since iceberg-go has no other; that changes nothing here: at a commit a minute
// the 50 snapshots that are kept by number are always younger than the hour after which they go by age.
func BenchmarkMonth(b *testing.B) {
	days := 30
	if text := os.Getenv(monthDaysEnv); text != "" {
		var err error
		if days, err = strconv.Atoi(text); err != nil || days < 1 {
			b.Fatalf("%s=%q must be a number of days", monthDaysEnv, text)
		}
	}
	for b.Loop() {
		m, err := newMonth(b.Context(), b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		for day := 1; day <= days && err == nil; day++ {
			var d monthDay
			if d, err = m.day(b.Context(), day); err == nil {
				err = json.NewEncoder(os.Stdout).Encode(d)
			}
		}
		if err := errors.Join(err, m.close()); err != nil {
			b.Fatal(err)
		}
	}
}

// monthDay is what a day came to. Times are in milliseconds, look-ups' in microseconds; they and all sizes but the first
// three are as of the day's last minute, before upkeep takes it for closed.
type monthDay struct {
	Day             int     `json:"day"`
	CommitMillis    float64 `json:"commitMillis"` // the median of the day's commits
	CommitP99Millis float64 `json:"commitP99Millis"`
	UpkeepMillis    float64 `json:"upkeepMillis"`   // the median of the day's runs
	CountDayMillis  float64 `json:"countDayMillis"` // SQL: this day's events
	CountAllMillis  float64 `json:"countAllMillis"` // SQL: all events
	LookupMicros    float64 `json:"lookupMicros"`   // events of any day so far, by id
	TableFiles      int64   `json:"tableFiles"`
	TableBytes      int64   `json:"tableBytes"`
	DirectoryFiles  int64   `json:"directoryFiles"` // of the table's directory, whatever they are
	DirectoryBytes  int64   `json:"directoryBytes"`
	MetadataBytes   int64   `json:"metadataBytes"` // of the current metadata file
	Manifests       int     `json:"manifests"`
	Snapshots       int     `json:"snapshots"`
	StateBytes      int64   `json:"stateBytes"` // Pebble's directories
	HeapBytes       uint64  `json:"heapBytes"`  // Go's live heap
	Seconds         float64 `json:"seconds"`    // that the day took
}

// month is the lake, the index and SQL of one data directory, under a clock of its own. One goroutine uses it.
type month struct {
	dir    string
	now    time.Time
	store  *local.Store
	lake   *iceberg.Lake
	upkeep *iceberg.Upkeep
	engine *local.DuckDB

	at   [monthShards]int // events of each shard
	kept []string         // ids of some events of each day
}

// newMonth begins at the next midnight: a file is then never younger by the simulated clock than it is by the disk's.
func newMonth(ctx context.Context, dir string) (_ *month, err error) {
	began := time.Now()
	m := &month{dir: dir, now: began.Add(began.Truncate(24 * time.Hour).Add(24 * time.Hour).Sub(began))}
	clock := func() time.Time { return m.now }
	quiet := slog.New(slog.DiscardHandler)
	if m.store, err = local.Open(ctx, local.Config{Dir: dir, FS: vfs.Default, Shards: monthShards, Now: clock, Logger: quiet}); err != nil {
		return nil, err
	}
	files, err := iceberg.NewLocalFiles(vfs.Default, m.lakeDir())
	if err != nil {
		return nil, errors.Join(err, m.store.Close())
	}
	m.lake, err = iceberg.Open(ctx, iceberg.Config{
		Files: files, Pointer: m.store.Pointer(), Admit: m.store.Guard().AdmitReserve, Logger: quiet,
	})
	if err != nil {
		return nil, errors.Join(err, m.store.Close())
	}
	m.upkeep, err = iceberg.NewUpkeep(m.lake, iceberg.UpkeepConfig{
		TargetBytes: iceberg.DefaultTargetBytes, SafeAge: time.Hour, SnapshotAge: snapshotAge,
		Room: m.store.Guard().Admit, Busy: func() bool { return false }, Now: clock, Logger: quiet,
	})
	if err != nil {
		return nil, errors.Join(err, m.store.Close())
	}
	m.engine, err = local.NewDuckDB(local.DuckDBConfig{
		TempDir: filepath.Join(local.ScratchDir(dir), "spill"), MaxTemp: 1 << 30, MemoryLimit: 1 << 30,
		Room: m.store.Guard().ScratchRoom, Threads: runtime.GOMAXPROCS(0), Now: time.Now, Worker: testWorker,
	}, m.lake)
	if err != nil {
		return nil, errors.Join(err, m.store.Close())
	}
	return m, nil
}

func (m *month) lakeDir() string { return filepath.Join(m.dir, "lake", "events") }

func (m *month) close() error {
	m.engine.Close()
	return m.store.Close()
}

// day lives through a day, and looks at what is there before its last upkeep.
func (m *month) day(ctx context.Context, number int) (monthDay, error) {
	began, midnight := time.Now(), m.now
	d := monthDay{Day: number}
	var commits, upkeeps []time.Duration
	for minute := 1; minute <= minutesOfDay; minute++ {
		took, err := m.minute(ctx)
		if err != nil {
			return d, fmt.Errorf("day %d, minute %d: %w", number, minute, err)
		}
		commits = append(commits, took)
		if minute == minutesOfDay {
			if err := m.look(ctx, &d, midnight); err != nil {
				return d, fmt.Errorf("day %d: %w", number, err)
			}
		}
		if minute%minutesPerUpkeep == 0 {
			started := time.Now()
			if err := m.upkeep.Once(ctx); err != nil {
				return d, fmt.Errorf("day %d, minute %d: upkeep: %w", number, minute, err)
			}
			upkeeps = append(upkeeps, time.Since(started))
		}
	}
	d.CommitMillis, d.CommitP99Millis = inMillis(quantileOf(commits, 0.5)), inMillis(quantileOf(commits, 0.99))
	d.UpkeepMillis, d.Seconds = inMillis(quantileOf(upkeeps, 0.5)), time.Since(began).Seconds()
	return d, nil
}

// minute receives a minute's events, has them indexed, and commits them to the lake; it says how long the commit took.
func (m *month) minute(ctx context.Context) (time.Duration, error) {
	entries := make([][]consumer.Entry, monthShards)
	var rows []consumer.Row
	before := m.at
	for i := range eventsPerMinute {
		shard := i % monthShards
		received := m.now.Add(time.Duration(i) * time.Minute / eventsPerMinute)
		m.at[shard]++
		body := benchBody(m.at[shard]*monthShards + shard)
		event, err := schemas.NewEvent(schemas.NewID(received), received, &schemas.Attributes{Type: "click", Source: "month"}, body)
		if err != nil {
			return 0, err
		}
		e := consumer.Entry{Event: event, Encoded: schemas.AppendEvent(nil, &event), Shard: monthShard(shard),
			Position: monthPosition(m.at[shard]), Arrived: received}
		entries[shard] = append(entries[shard], e)
		rows = append(rows, consumer.Row{Event: event, Body: body, Landed: received, Shard: e.Shard, Position: e.Position})
	}
	m.now = m.now.Add(time.Minute)
	if rand.IntN(minutesOfDay) < monthKeptIDs {
		m.kept = append(m.kept, rows[rand.IntN(len(rows))].Event.ID)
	}
	var moves []consumer.Move
	for shard, list := range entries {
		move := consumer.Move{Shard: monthShard(shard), From: m.checkpoint(before[shard]), To: m.checkpoint(m.at[shard])}
		if err := m.store.Index().Apply(ctx, move.Shard, list, move.To); err != nil {
			return 0, err
		}
		moves = append(moves, move)
	}
	started := time.Now()
	err := m.lake.Append(ctx, rows, moves)
	return time.Since(started), err
}

func monthShard(n int) string { return "shard-" + strconv.Itoa(n) }

func monthPosition(n int) schemas.Position { return schemas.Position{Sequence: strconv.Itoa(n)} }

// checkpoint after event n of a shard; that of none is the zero one.
func (m *month) checkpoint(n int) consumer.Checkpoint {
	if n == 0 {
		return consumer.Checkpoint{}
	}
	return consumer.Checkpoint{Position: monthPosition(n), AsOf: m.now}
}

// look measures at the end of the day that began at midnight.
func (m *month) look(ctx context.Context, d *monthDay, midnight time.Time) (err error) {
	const form = "2006-01-02 15:04:05"
	ofDay := fmt.Sprintf("SELECT count(*) FROM events WHERE received_at >= TIMESTAMP '%s' AND received_at < TIMESTAMP '%s'",
		midnight.UTC().Format(form), midnight.Add(24*time.Hour).UTC().Format(form))
	if d.CountDayMillis, err = m.count(ctx, ofDay, eventsPerDay); err != nil {
		return err
	}
	if d.CountAllMillis, err = m.count(ctx, "SELECT count(*) FROM events", d.Day*eventsPerDay); err != nil {
		return err
	}
	if d.LookupMicros, err = m.lookup(ctx); err != nil {
		return err
	}
	status, err := m.lake.Status(ctx)
	if err != nil {
		return err
	}
	d.TableFiles, d.TableBytes, d.Snapshots = status.Files, status.Bytes, status.Snapshots
	if d.DirectoryFiles, d.DirectoryBytes, err = directorySize(m.lakeDir()); err != nil {
		return err
	}
	for _, dir := range []string{"state", "index"} {
		_, size, err := directorySize(filepath.Join(m.dir, dir))
		if err != nil {
			return err
		}
		d.StateBytes += size
	}
	if d.Manifests, d.MetadataBytes, err = tableMetadata(status.MetadataLocation); err != nil {
		return err
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	d.HeapBytes = memory.HeapAlloc
	return nil
}

// count runs a statement that counts, and holds it to the number of events that there are: no event is lost or doubled.
func (m *month) count(ctx context.Context, sql string, want int) (millis float64, err error) {
	var took []time.Duration
	for range monthCounts {
		var result bytes.Buffer
		started := time.Now()
		if _, err := m.engine.Run(ctx, sql, nil, &result); err != nil {
			return 0, fmt.Errorf("%s: %w", sql, err)
		}
		took = append(took, time.Since(started))
		lines := bytes.Split(result.Bytes(), []byte("\n"))
		if got := string(bytes.Trim(lines[min(1, len(lines)-1)], `"`)); got != strconv.Itoa(want) {
			return 0, fmt.Errorf("%s: found %s events, want %d", sql, got, want)
		}
	}
	return inMillis(quantileOf(took, 0.5)), nil
}

// lookup gets events of any day by their ids.
func (m *month) lookup(ctx context.Context) (micros float64, err error) {
	var took []time.Duration
	chosen := rand.Perm(len(m.kept))
	for _, i := range chosen[:min(monthLookups, len(chosen))] {
		id := m.kept[i]
		started := time.Now()
		if _, err := m.store.Index().Get(ctx, id); err != nil {
			return 0, err
		}
		took = append(took, time.Since(started))
	}
	return 1000 * inMillis(quantileOf(took, 0.5)), nil
}

// tableMetadata reads a version of the table through iceberg-go alone.
func tableMetadata(location string) (manifests int, size int64, err error) {
	text, err := icebergio.LocalFS{}.ReadFile(location)
	if err != nil {
		return 0, 0, err
	}
	meta, err := table.ParseMetadata(bytes.NewReader(text))
	if err != nil {
		return 0, 0, err
	}
	list, err := meta.CurrentSnapshot().Manifests(icebergio.LocalFS{})
	return len(list), int64(len(text)), err
}

// directorySize counts the files below a directory. One that is gone before it is looked at doesn't count.
func directorySize(dir string) (files, size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			files, size = files+1, size+info.Size()
		}
		return err
	})
	return files, size, err
}

// quantileOf sorts the times and takes one (nearest rank).
func quantileOf(times []time.Duration, q float64) time.Duration {
	slices.Sort(times)
	return times[int(q*float64(len(times)-1)+0.5)]
}

func inMillis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
