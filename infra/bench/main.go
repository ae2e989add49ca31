package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err) // nothing is left to tell it to
		os.Exit(1)                                    //nolint:forbidigo // this is main
	}
}

// bench is what the rows share.
type bench struct {
	server   string        // the program under test
	front    string        // the same, as a front end alone
	consumer string        // the same, for AWS
	dir      string        // where data directories and the comparators' files are made
	rounds   int           // pairs of rounds
	length   time.Duration // of one round
	days     int           // of the simulated month
	load     time.Duration // of the even load
	progress io.Writer
	details  details
}

// asFiber and asStub are the arguments by which the harness starts itself as the bare comparator, and as what the front end
// on AWS talks to.
const (
	asFiber = "bare-fiber"
	asStub  = "stub-aws"
)

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 1 && args[0] == asFiber {
		return serveFiber(stdin, stdout)
	}
	if len(args) == 1 && args[0] == asStub {
		return serveStub(stdin, stdout)
	}
	b := bench{progress: stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("run", "", "run only the rows whose name contains this")
	jsonFile := flags.String("json", "", "write the figures to this file, as JSON")
	parent := flags.String("dir", "", "directory on the disk to measure (default: the system's for temporary files)")
	endure := flags.Bool("endure", false, "measure what time does to Penstock instead: a simulated month, and an even load")
	flags.IntVar(&b.days, "days", 30, "with -endure: days of the simulated month, 2 to 366")
	flags.DurationVar(&b.load, "load", 20*time.Minute, "with -endure: length of the even load, 10s to 24h")
	flags.StringVar(&b.server, "server", "bin/penstock", "the program under test")
	flags.StringVar(&b.front, "front", "bin/penstock-frontend", "the front end alone, for the rows on AWS")
	flags.StringVar(&b.consumer, "consumer", "bin/penstock-aws", "the build for AWS, for the rows on how consumers start")
	flags.IntVar(&b.rounds, "rounds", 3, "pairs of rounds, 1 to 100")
	flags.DurationVar(&b.length, "round", 2*time.Second, "length of one round, 100ms to 10m")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	if b.rounds < 1 || b.rounds > 100 || b.length < 100*time.Millisecond || b.length > 10*time.Minute {
		return fmt.Errorf("-rounds %d must be 1 to 100, -round %v must be 100ms to 10m", b.rounds, b.length)
	}
	if b.days < 2 || b.days > 366 || b.load < 10*time.Second || b.load > 24*time.Hour {
		return fmt.Errorf("-days %d must be 2 to 366, -load %v must be 10s to 24h", b.days, b.load)
	}
	rows := b.rows()
	if *endure {
		rows = b.endurance()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp(*parent, "penstock-bench-")
	if err != nil {
		return fmt.Errorf("make a directory to measure in: %w", err)
	}
	b.dir = dir
	report, err := b.all(ctx, rows, *only)
	err = errors.Join(err, os.RemoveAll(dir))
	if len(report.Measures) > 0 {
		err = errors.Join(err, report.table(stdout))
	}
	if *jsonFile != "" {
		text, marshalErr := json.MarshalIndent(report, "", "  ")
		err = errors.Join(err, marshalErr, os.WriteFile(*jsonFile, append(text, '\n'), 0o600))
	}
	return err
}

// all runs the wanted rows. A row that fails is reported and does not keep the others from running.
func (b *bench) all(ctx context.Context, rows []row, only string) (report, error) {
	r := report{Cores: runtime.GOMAXPROCS(0), Go: runtime.Version(), Rounds: b.rounds, Round: b.length.String()}
	var failed []error
	for _, row := range rows {
		if !strings.Contains(row.name, only) {
			continue
		}
		if _, err := fmt.Fprintf(b.progress, "%s …\n", row.name); err != nil {
			return r, fmt.Errorf("show progress: %w", err)
		}
		began := time.Now()
		measures, err := row.measure(ctx)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", row.name, err))
		}
		for i := range measures {
			measures[i].Load = row.name
		}
		r.Measures = append(r.Measures, measures...)
		if _, err := fmt.Fprintf(b.progress, "  %.0f s\n", time.Since(began).Seconds()); err != nil {
			return r, fmt.Errorf("show progress: %w", err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	r.details = b.details
	if len(r.Measures) == 0 && len(failed) == 0 {
		failed = append(failed, fmt.Errorf("no row's name contains %q", only))
	}
	return r, errors.Join(failed...)
}
