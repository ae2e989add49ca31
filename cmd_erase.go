package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"penstock/infra/client"
)

// lakeEraseCmd is `penstock lake erase`.
type lakeEraseCmd struct {
	remote
	IDs  []string `arg:"" name:"id" help:"Event ids, as an ack, penstock send --ids or SQL gives them."`
	JSON bool     `name:"json" help:"A JSON object per event."`
}

// Help implements kong.HelpProvider.
func (*lakeEraseCmd) Help() string {
	return `The event goes from index, bodies and lake, and leaves a tombstone, so that neither the stream nor a dead letter brings it back.
What still holds its bytes, and until when, is told for each. Erasing again changes nothing; an unknown id is an error and
changes nothing either.

Example:

    penstock lake erase 2yTsGkJ3hDqGRQmXqTzVQkZ0bXk`
}

// Run erases one event after the other; the exit status is 0 only if all are erased.
func (c *lakeEraseCmd) Run(ctx context.Context, out *output) error {
	api, err := c.connect(1)
	if err != nil {
		return err
	}
	defer api.Close()
	failed := false
	for i, id := range c.IDs {
		wait := startSpinner(out, fmt.Sprintf("erasing %d of %d", i+1, len(c.IDs)))
		erased, err := api.Erase(ctx, id)
		wait.stop()
		var problem *client.Problem
		if err != nil && (!errors.As(err, &problem) || problem.Status == http.StatusUnauthorized) {
			return explained(err) // the others would fare no better
		}
		if err != nil {
			failed = true
			_, err = fmt.Fprintln(out.stderr, client.Explain(err))
		} else {
			err = c.show(out, &erased)
		}
		if err != nil {
			return fmt.Errorf("write the outcome: %w", err)
		}
	}
	if failed {
		return errReported
	}
	return nil
}

func (c *lakeEraseCmd) show(out *output, e *client.Erasure) error {
	if c.JSON {
		return json.NewEncoder(out.stdout).Encode(e)
	}
	text := e.ID + " erased; still held by\n"
	for _, h := range e.HeldBy {
		until := ""
		if !h.Until.IsZero() {
			until = "until " + h.Until.UTC().Format(time.RFC3339) + " "
		}
		text += fmt.Sprintf("  %-14s %s%s\n", h.Holder, until, h.Detail)
	}
	_, err := fmt.Fprint(out.stdout, text)
	return err
}
