//go:build !nolocal

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"penstock/infra/local"
)

// Run starts everything, says where it listens, and stops in order when ctx ends.
func (c *localCmd) Run(ctx context.Context, out *output) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	l, err := openLocal(ctx, c, out.stderr) // before processors are added: DuckDB wants as many threads as there are CPUs
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to stop before anything was accepted
	}
	if err != nil {
		return err
	}
	addProcessors()
	if err := l.start(ctx); err != nil {
		return errors.Join(err, l.stop())
	}
	if _, err := fmt.Fprintf(out.stdout, "Penstock is ready.\n  HTTP  %s\n%s  S3    %s\n  data  %s\n",
		l.httpURL(), adminLine(l.admin), l.s3URL(), c.Data); err != nil {
		return errors.Join(err, l.stop())
	}
	err = l.untilStopped(ctx)
	return errors.Join(err, l.stop())
}

// processorsPerCPU is how many goroutines may run for each CPU. A file's write or sync keeps Go's processor, while the disk works,
// until the runtime's monitor takes it away, up to 10 ms later; and flushes and compactions run for long. Neither shall leave a request
// without one: the kernel, which shares the CPUs out finely, prefers threads that have waited.
const processorsPerCPU = 2

// addProcessors has more goroutines run at once than there are CPUs, unless GOMAXPROCS says what the operator wants.
func addProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processorsPerCPU * runtime.GOMAXPROCS(0))
	}
}

// sqlWorkerCmd is what `penstock local` starts to run SQL.
type sqlWorkerCmd struct{}

// Run runs SQL until the process that started this one ends, or wants it to. Signals are left to that one.
func (*sqlWorkerCmd) Run(out *output) error { return local.ServeSQL(out.stdin, out.stdout) }

// sqlWorker is the command of this program as a worker; on Linux of this very one, also after its file was replaced by
// another version's.
func sqlWorker() (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(program, "sql-worker") //nolint:noctx // it serves many runs
	if runtime.GOOS == "linux" {
		cmd.Path = "/proc/self/exe" // proc_pid_exe(5)
	}
	return cmd, nil
}
