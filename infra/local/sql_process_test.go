package local

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"penstock/consumer/query"
)

// workersOf are the processes that the engine starts from now on.
func workersOf(engine *DuckDB) *[]*sqlProcess {
	var workers []*sqlProcess
	start := engine.processes.start
	engine.processes.start = func() (*sqlProcess, error) {
		p, err := start()
		if err == nil {
			workers = append(workers, p)
		}
		return p, err
	}
	return &workers
}

// forever is a result that never ends.
const forever = "SELECT x FROM range(1000000000000) AS t(x)"

// doing calls itself once something of a result has come.
type doing func()

func (do doing) Write(p []byte) (int, error) {
	do()
	return len(p), nil
}

func TestWorkerIsUsedAgain(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	workers := workersOf(engine)
	const plain, csv = "SELECT 1 AS n", "\"n\"\n\"1\"\n"
	for _, step := range []struct {
		name    string
		use     func(t *testing.T)
		started int // workers, at its end
	}{
		{"a check", func(t *testing.T) {
			if err := engine.Check(t.Context(), plain, nil); err != nil {
				t.Error(err)
			}
		}, 1},
		{"a run", func(t *testing.T) { wantCSV(t, engine, plain, csv) }, 1},
		{"a fault", func(t *testing.T) {
			_, err := runSQL(t, engine, "SELECT CAST('x' || range AS bigint) FROM range(9)")
			wantError(t, err, query.ErrStatement, "line 1, column 8: Could not convert string")
		}, 1},
		{"a fault that names one of memory's", func(t *testing.T) {
			_, err := runSQL(t, engine, "SELECT CAST('bad_alloc' || range AS bigint) FROM range(9)")
			wantError(t, err, query.ErrStatement, "line 1, column 8: Could not convert string 'bad_alloc0'")
		}, 1},
		{"after all these", func(t *testing.T) { wantCSV(t, engine, plain, csv) }, 1},
		{"a writer that fails", func(t *testing.T) {
			full := errors.New("disk full")
			if _, err := engine.Run(t.Context(), forever, nil, failingWriter{full}); !errors.Is(err, full) {
				t.Error(err)
			}
		}, 1},
		{"after the failing writer", func(t *testing.T) { wantCSV(t, engine, plain, csv) }, 2},
		{"killed as it runs", func(t *testing.T) {
			_, err := engine.Run(t.Context(), forever, nil, doing((*workers)[1].kill))
			wantError(t, err, query.ErrLimit, "ended from outside")
		}, 2},
		{"after the kill", func(t *testing.T) { wantCSV(t, engine, plain, csv) }, 3},
		{"killed as it waits", func(t *testing.T) {
			(*workers)[2].kill()
			<-(*workers)[2].exited
			wantCSV(t, engine, plain, csv)
		}, 4},
	} {
		step.use(t)
		if len(*workers) != step.started {
			t.Fatalf("%s: %d workers were started, want %d", step.name, len(*workers), step.started)
		}
	}
}

// A process that was killed closes what its workers read from, and nobody else ends them.
func TestWorkerEndsWithWhoStartedIt(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	workers := workersOf(engine)
	left := doing(func() { _ = (*workers)[0].in.Close() })
	if _, err := engine.Run(t.Context(), forever, nil, left); err == nil {
		t.Error("it ran to an end")
	}
	if state := (*workers)[0].cmd.ProcessState; state == nil || !state.Success() {
		t.Errorf("it ended otherwise: %v", state)
	}
}

func TestWorkerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	engine := newTestEngine(t)
	script := filepath.Join(t.TempDir(), "fails")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho 'no such library' >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		script:                               "the process that ran SQL ended: exit status 3: no such library",
		filepath.Join(t.TempDir(), "absent"): "starting a process for SQL: ",
	} {
		engine.cfg.Worker = func() (*exec.Cmd, error) { return exec.Command(name), nil }
		_, err := engine.Run(t.Context(), "SELECT 1", nil, io.Discard)
		wantError(t, err, err, want)
		if errors.Is(err, query.ErrLimit) || errors.Is(err, query.ErrStatement) {
			t.Errorf("taken for the query's own fault: %v", err)
		}
	}
	nobody := errors.New("no such program")
	engine.cfg.Worker = func() (*exec.Cmd, error) { return nil, nobody }
	if err := engine.Check(t.Context(), "SELECT 1", nil); !errors.Is(err, nobody) {
		t.Errorf("got %v", err)
	}
}

// A worker's values may be larger than the memory that whoever hears of them has for them.
func TestWorkerAnswersAreShort(t *testing.T) {
	t.Parallel()
	var failures, csv bytes.Buffer
	for _, quoted := range []string{strings.Repeat("x", 1<<20), strings.Repeat("\x01é", 1<<20)} {
		raw, err := json.Marshal(duckdbReport{Type: "Conversion", Message: "Could not convert string '" + quoted, Position: "7"})
		if err != nil {
			t.Fatal(err)
		}
		f := newWorkerFailure(&duckdbError{string(raw)})
		if err := gob.NewEncoder(&failures).Encode(f); err != nil || failures.Len() > maxReport {
			t.Errorf("%d bytes, %v", failures.Len(), err)
		}
		failures.Reset()
		if r := parseDuckDBReport(f.DuckDB); r.Type != "Conversion" || !strings.HasPrefix(r.Message, "Could not convert") || r.Position != "7" {
			t.Errorf("got %.200s", f.DuckDB)
		}
	}
	row := bytes.Repeat([]byte("y"), 3*csvFlushAt+1)
	if n, err := (csvChunks{gob.NewEncoder(&csv)}).Write(row); n != len(row) || err != nil {
		t.Fatal(n, err)
	}
	var got []byte
	for answers := gob.NewDecoder(&csv); len(got) < len(row); {
		var a workerAnswer
		if err := answers.Decode(&a); err != nil || len(a.CSV) > csvFlushAt {
			t.Fatalf("%d bytes, %v", len(a.CSV), err)
		}
		got = append(got, a.CSV...)
	}
	if !bytes.Equal(got, row) {
		t.Error("another row came")
	}
}

// What ends a worker is told to whoever can do something about it.
func TestEndOfAWorker(t *testing.T) {
	t.Parallel()
	const limits = "9 and 9 MiB"
	var s sqlStatement
	wantError(t, s.explain(errOutOfMemory, limits, nil), query.ErrLimit, "needs more memory or temporary disk space than it may use (9 and 9 MiB)")
	wantError(t, s.explain(errOutOfMemory, "", nil), query.ErrStatement, "a constant that it makes, is too large")
	wantError(t, s.explain(errKilled, limits, nil), query.ErrLimit, "ended from outside")
	wantError(t, s.explain(errKilled, "", nil), query.ErrBusy, "try again")
}
