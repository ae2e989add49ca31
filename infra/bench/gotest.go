package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// goBenchmarks are benchmarks of a package's tests, for what has no face over HTTP. Each reports what it did a second.
type goBenchmarks struct {
	binary, dir string
	benchtime   string   // of a round, in the form of go test's flag
	env         []string // beside the harness's own
}

// goBenchmarks compiles the tests of a package of this repository, which is the working directory.
func (b *bench) goBenchmarks(ctx context.Context, pkg string) (*goBenchmarks, error) {
	dir, err := filepath.Abs(pkg)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", pkg, err)
	}
	binary := filepath.Join(b.dir, "bench.test")
	if said, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "./"+pkg).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the tests of %s: %w: %s", pkg, err, said)
	}
	return &goBenchmarks{binary: binary, dir: dir, benchtime: "1x"}, nil
}

// perSecond finds the metric of a benchmark whose unit ends in /s.
var perSecond = regexp.MustCompile(`\s([0-9.]+) [a-z]+/s\b`)

// side is one benchmark by its exact name; a round is one run of it with the benchtime, however long that takes.
func (g *goBenchmarks) side(name string) side {
	return sideFunc(func(ctx context.Context, _ time.Duration) (sample, error) {
		run := exec.CommandContext(ctx, g.binary, "-test.run", "^$", "-test.bench", name, "-test.benchtime", g.benchtime)
		run.Dir = g.dir
		run.Env = append(os.Environ(), g.env...)
		out, err := run.CombinedOutput()
		if err != nil {
			return sample{}, fmt.Errorf("benchmark %s: %w: %s", name, err, out)
		}
		found := perSecond.FindSubmatch(out)
		if found == nil {
			return sample{}, errors.New("benchmark " + name + " reported nothing a second: " + string(out))
		}
		rate, err := strconv.ParseFloat(string(found[1]), 64)
		if err != nil {
			return sample{}, fmt.Errorf("benchmark %s: %w", name, err)
		}
		return sample{perSecond: rate}, nil
	})
}

// consumers: both sinks against decoding the same records and doing nothing.
func (b *bench) consumers(ctx context.Context) ([]measure, error) {
	g, err := b.goBenchmarks(ctx, ".")
	if err != nil {
		return nil, err
	}
	pairs, err := b.alternate(ctx, g.side("^BenchmarkConsumers$/^decode$"), g.side("^BenchmarkConsumers$/^index.lake$"))
	if err != nil {
		return nil, err
	}
	return []measure{summarize("throughput, both sinks", "decoding alone", "events/s", atLeast(0.25), pairs, scaled(1))}, nil
}

// lakeAppend: an append with sorting, conversion and offsets against iceberg-go's own of batches made beforehand.
func (b *bench) lakeAppend(ctx context.Context) ([]measure, error) {
	g, err := b.goBenchmarks(ctx, "infra/iceberg")
	if err != nil {
		return nil, err
	}
	pairs, err := b.alternate(ctx, g.side("^BenchmarkRawAppend$"), g.side("^BenchmarkAppend$"))
	if err != nil {
		return nil, err
	}
	return []measure{summarize("100,000 rows of 200 B", "iceberg-go's append", "rows/s", atLeast(0.7), pairs, scaled(1))}, nil
}
