package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "chaos:", err) // nothing is left to tell it to
		os.Exit(1)                                    //nolint:forbidigo // this is main
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	c := config{out: stderr}
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.binary, "penstock", "bin/penstock-aws", "the program under test")
	flags.DurationVar(&c.length, "duration", 10*time.Minute, "length of the load and the faults, 30s to 1h")
	flags.Uint64Var(&c.seed, "seed", 0, "of the schedule, the faults and the documents; 0 takes one by chance")
	flags.Float64Var(&c.rate, "rate", 150, "documents a second, 1 to 10000")
	keep := flags.Bool("keep", false, "keep the logs of the processes even when all is well")
	jsonFile := flags.String("json", "", "write the report to this file, as JSON")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	if c.length < 30*time.Second || c.length > time.Hour || c.rate < 1 || c.rate > 10000 {
		return fmt.Errorf("-duration %v must be 30s to 1h, -rate %v must be 1 to 10000", c.length, c.rate)
	}
	for c.seed == 0 {
		c.seed = rand.Uint64()
	}
	var err error
	if c.binary, err = filepath.Abs(c.binary); err != nil {
		return fmt.Errorf("-penstock: %w", err)
	}
	if c.dir, err = os.MkdirTemp("", "penstock-chaos-"); err != nil {
		return fmt.Errorf("make a directory for logs: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	_, _ = fmt.Fprintf(stderr, "chaos for %v; the same schedule again: -seed %d -duration %v\n", c.length, c.seed, c.length) // for a person
	told, err := c.run(ctx)
	if err == nil {
		told.print(stdout)
		if *jsonFile != "" {
			err = told.write(*jsonFile)
		}
		if len(told.Findings) > 0 {
			err = errors.Join(err, fmt.Errorf("%d things are wrong", len(told.Findings)), told.write(filepath.Join(c.dir, "report.json")))
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w; seed %d, the logs of all processes are in %s", err, c.seed, c.dir)
	case *keep:
		_, _ = fmt.Fprintln(stderr, "the logs of all processes are in", c.dir) // for a person
		return nil
	default:
		return os.RemoveAll(c.dir)
	}
}
