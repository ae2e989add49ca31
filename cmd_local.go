//go:build !nolocal

package main

import (
	"context"
	"errors"
	"fmt"
)

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
		l.httpURL(), adminLine(l.admin), l.s3URL(), c.Data); err != nil {
		return errors.Join(err, l.stop())
	}
	err = l.untilStopped(ctx)
	return errors.Join(err, l.stop())
}
