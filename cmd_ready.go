package main

import (
	"context"
	"fmt"
)

// readyCmd is `penstock ready`: the health check of a container, whose image has no other program that could ask.
type readyCmd struct{ remote }

// Help implements kong.HelpProvider.
func (*readyCmd) Help() string {
	return `Asks /readyz, which needs no key: of a front end where it listens, of a consumer at its --admin-listen. The exit status is 0 when
everything that the process depends on is proven.

Examples:

    penstock ready
    penstock ready --url http://127.0.0.1:9090`
}

// Run asks once.
func (c *readyCmd) Run(ctx context.Context, out *output) error {
	api, err := c.connect(1)
	if err != nil {
		return err
	}
	defer api.Close()
	if err := api.Ready(ctx); err != nil {
		return explained(err)
	}
	_, err = fmt.Fprintln(out.stdout, "ready")
	return err
}
