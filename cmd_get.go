package main

import (
	"context"
	"errors"
	"io"
	"time"
)

// getCmd is `penstock get`.
type getCmd struct {
	remote
	ID       string        `arg:"" help:"Event id, as an ack, penstock send --ids or SQL gives it."`
	Envelope bool          `help:"The whole event as CloudEvents JSON instead of the document."`
	Output   string        `short:"o" placeholder:"FILE" help:"Write to a file, which appears only when it is complete."`
	Wait     time.Duration `default:"2s" help:"How long to ask again while the event is not in the index yet."`
}

// Help implements kong.HelpProvider.
func (*getCmd) Help() string {
	return `The document comes back byte for byte as it was posted, and is checked against its SHA-256 on the way.

Examples:

    penstock get 2yTsGkJ3hDqGRQmXqTzVQkZ0bXk
    penstock get 2yTsGkJ3hDqGRQmXqTzVQkZ0bXk --envelope | jq .type
    penstock get 2yTsGkJ3hDqGRQmXqTzVQkZ0bXk -o order.json`
}

// Run prints the document.
func (c *getCmd) Run(ctx context.Context, out *output) error {
	api, err := c.connect(1)
	if err != nil {
		return err
	}
	defer api.Close()
	body, err := api.Get(ctx, c.ID, c.Envelope, c.Wait)
	if err != nil {
		return explained(err)
	}
	err = out.writeResult(c.Output, func(w io.Writer) error {
		_, err := io.Copy(w, body)
		return err
	})
	return explained(errors.Join(err, body.Close()))
}
