package local

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const (
	// byHandFilesEnv names a file with the paths of Parquet files, one a line, and byHandQueryEnv is the SQL to run over
	// them: FROM events, and it gives one number, which is byHandWantEnv.
	byHandFilesEnv   = "PENSTOCK_BENCH_FILES"
	byHandQueryEnv   = "PENSTOCK_BENCH_SQL"
	byHandWantEnv    = "PENSTOCK_BENCH_WANT"
	byHandThreadsEnv = "PENSTOCK_BENCH_THREADS"
)

// BenchmarkByHand is a query over the lake's files without Penstock: a new DuckDB for each, with its defaults but the number
// of threads, and read_parquet. `make bench` runs it beside the server.
func BenchmarkByHand(b *testing.B) {
	list, err := os.ReadFile(os.Getenv(byHandFilesEnv))
	if err != nil {
		b.Fatalf("%s must name a list of files: %v", byHandFilesEnv, err)
	}
	files := sqlStrings(globPatterns(strings.Split(string(list), "\n")))
	sql := strings.Replace(os.Getenv(byHandQueryEnv), "FROM events", fmt.Sprintf("FROM read_parquet([%s])", files), 1)
	threads, want := os.Getenv(byHandThreadsEnv), os.Getenv(byHandWantEnv)
	for b.Loop() {
		c, err := openDuckDB(map[string]string{"threads": threads})
		if err != nil {
			b.Fatal(err)
		}
		got, err := c.value("SELECT CAST(n AS VARCHAR) FROM (" + sql + ") t(n)")
		c.close()
		if err != nil || string(got) != want {
			b.Fatalf("counted %q, want %s: %v", got, want, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}
