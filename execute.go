package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// execute runs a command and returns the exit status: 0 done, 1 failed. The first signal ends the command in order; from then
// on signals have their usual effect, so a second one aborts.
func execute(out *output, command func(context.Context, *output) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := command(ctx, out)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errReported) {
		_, _ = fmt.Fprintln(out.stderr, "penstock:", err) // nothing is left to tell it to
	}
	return 1
}
