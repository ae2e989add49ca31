package local

import (
	"io"
	"syscall"
	"testing"

	"penstock/consumer/query"
)

// What SQL makes of nothing ends at a limit: DuckDB's own, or the bound of its process. Without that bound some of these take
// gigabytes, and would take the whole machine's.
func TestValuesAreBounded(t *testing.T) {
	t.Parallel()
	const (
		// bound is what the workers may take, and twice the program itself with what it holds of the kernel's.
		bound = 2*testMemory + outsideDuckDB + 256<<20
		text  = "rpad(CAST(range AS varchar), 100000, 'x')"
	)
	doubled := "(SELECT CAST(range AS varchar) || 'xxxxxxxxxxxxxxxx' AS s FROM range(100000))"
	for name, sql := range map[string]string{
		"long":       "SELECT rpad(CAST(range AS varchar), 1000000, 'x') FROM range(100000)", // 100 GB
		"the same":   "SELECT rpad('x', 1000000, 'x') FROM range(100000)",                    // 100 GB of a constant
		"as JSON":    "SELECT to_json(sequence(1, 10000)) FROM range(1000000)",
		"very long":  "SELECT rpad(CAST(range AS varchar), 2000000000, 'x') FROM range(50)",
		"wide":       "SELECT " + nested(7, "%s, %s", text) + " FROM range(8000)",
		"doubled":    "SELECT s FROM " + nested(16, "(SELECT s || s AS s FROM %s)", doubled),
		"recursive":  "WITH RECURSIVE r AS (SELECT 'x' AS s UNION ALL SELECT s || s FROM r) SELECT s FROM r",
		"replaced":   "SELECT replace(rpad(CAST(range AS varchar), 10000, 'x'), 'x', rpad('y', 10000, 'y')) FROM range(1000)",
		"formatted":  "SELECT format('%999999d', range) FROM range(100000)",
		"gathered":   "SELECT string_agg(" + text + ", '') FROM range(1000000)",
		"listed":     "SELECT array_agg(" + text + ") FROM range(1000000)",
		"made lists": "SELECT transform(sequence(1, 10000), y -> rpad(CAST(y AS varchar), 10000, 'x')) FROM range(10000)",
		"sorted":     "SELECT " + text + " AS s FROM range(1000000) ORDER BY s",
		"grouped":    "SELECT " + text + " AS s, count(*) FROM range(1000000) GROUP BY 1",
		"constant":   "SELECT replace(replace(rpad('x', 10000, 'x'), 'x', rpad('y', 10000, 'y')), 'y', rpad('z', 10000, 'z'))",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := newTestEngine(t)
			workers := workersOf(engine)
			if err := engine.Check(t.Context(), sql, nil); err != nil {
				wantError(t, err, query.ErrStatement, "takes too much memory before it runs")
			}
			_, err := engine.Run(t.Context(), sql, nil, io.Discard)
			wantError(t, err, query.ErrLimit, "needs more memory")
			wantCSV(t, engine, "SELECT 1 AS n", "\"n\"\n\"1\"\n")
			engine.processes.ready.close()
			var own syscall.Rusage // a process inherits the peak of the one that started it
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
				t.Fatal(err)
			}
			for _, w := range *workers {
				usage, _ := w.cmd.ProcessState.SysUsage().(*syscall.Rusage)
				if peak := usage.Maxrss << 10; peak > max(bound, own.Maxrss<<10) {
					t.Errorf("a worker took %d MiB, bound %d MiB", peak>>20, bound>>20)
				}
			}
		})
	}
}

// What a heavy run leaves behind is not the next one's burden.
func TestWorkerThatKeepsMuchIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	engine := newEngineWith(t, 1<<30)
	workers := workersOf(engine)
	wantCSV(t, engine, "SELECT length(max(rpad(CAST(range AS varchar), 300000, 'x'))) AS n FROM range(2000)", "\"n\"\n\"300000\"\n")
	wantCSV(t, engine, "SELECT 1 AS n", "\"n\"\n\"1\"\n")
	if len(*workers) != 2 {
		t.Errorf("%d workers were started", len(*workers))
	}
}
