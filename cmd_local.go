//go:build !nolocal

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// drainTime is how long a stopping process may take to finish what it has accepted.
const drainTime = 30 * time.Second

// Run starts everything, says where it listens, and stops in order when ctx ends.
func (c *localCmd) Run(ctx context.Context, out *output) (err error) {
	if err := c.validate(); err != nil {
		return err
	}
	l, err := openLocal(ctx, c, out.stderr)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to stop before anything was accepted
	}
	if err != nil {
		return err
	}
	if err := l.start(ctx); err != nil {
		return errors.Join(err, l.stop())
	}
	if _, err := fmt.Fprintf(out.stdout, "Penstock is ready.\n  HTTP  %s\n%s  S3    %s\n  data  %s\n",
		l.httpURL(), l.adminLine(), l.s3URL(), c.Data); err != nil {
		return errors.Join(err, l.stop())
	}
	select {
	case <-ctx.Done():
		l.logger.Info("stopping: finishing what was accepted", "limit", drainTime)
	case err = <-l.failed:
		l.logger.Error("stopping: a part of the program failed", "error", err)
	}
	return errors.Join(err, l.stop())
}
