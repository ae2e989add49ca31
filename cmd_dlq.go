package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"penstock/infra/client"
	"penstock/infra/client/tabular"
)

// dlqCmd is `penstock dlq`.
type dlqCmd struct {
	List    dlqListCmd    `cmd:"" help:"List the records that a sink could not take."`
	Show    dlqShowCmd    `cmd:"" help:"Show one of them with its bytes."`
	Requeue dlqRequeueCmd `cmd:"" help:"Feed them to their sink again."`
}

// deadLetters says whose dead letters.
type deadLetters struct {
	remote
	Sink string `arg:"" help:"Sink: index or lake."`
}

// dlqListCmd is `penstock dlq list`.
type dlqListCmd struct {
	deadLetters
	Limit int    `default:"100" help:"At most so many, 1 to 1000000."`
	After string `placeholder:"PLACE" help:"Only those behind this place."`
	JSON  bool   `name:"json" help:"A JSON object per line."`
}

// Help implements kong.HelpProvider.
func (*dlqListCmd) Help() string {
	return `A record that a sink can't take stops nobody: it is kept here with its place in the stream and the reason.

Examples:

    penstock dlq list lake
    penstock dlq list index --limit 1000 --json | jq -r .reason | sort | uniq -c`
}

// Run lists them.
func (c *dlqListCmd) Run(ctx context.Context, out *output) error {
	if c.Limit < 1 || c.Limit > 1_000_000 {
		return fmt.Errorf("--limit %d: must be between 1 and 1000000", c.Limit)
	}
	api, err := c.connect(1)
	if err != nil {
		return err
	}
	defer api.Close()
	table := &tabular.Table{Header: []string{"place", "arrived", "bytes", "reason"}}
	lines := json.NewEncoder(out.stdout)
	last, listed, more := "", 0, false
	for letter, err := range api.DeadLetters(ctx, c.Sink, c.After) {
		if err != nil {
			return explained(err)
		}
		if more = listed == c.Limit; more {
			break
		}
		if c.JSON {
			err = lines.Encode(struct {
				Place string `json:"place"`
				client.DeadLetter
			}{letter.Place(), letter})
		} else {
			table.Rows = append(table.Rows, texts(letter.Place(), letter.Arrived.UTC().Format(time.RFC3339), fmt.Sprint(letter.Size), letter.Reason))
		}
		if err != nil {
			return fmt.Errorf("write to standard output: %w", err)
		}
		last = letter.Place()
		listed++
	}
	if c.JSON {
		return nil
	}
	return showLetters(out, table, c.Sink, last, more)
}

func showLetters(out *output, table *tabular.Table, sink, last string, more bool) error {
	var b strings.Builder
	if len(table.Rows) > 0 {
		if err := table.Render(&b, out.style()); err != nil {
			return err
		}
	}
	fmt.Fprintf(&b, "(%s of %s", plural(int64(len(table.Rows)), "dead letter"), sink)
	if more {
		fmt.Fprintf(&b, "; there are more: --after %s", last)
	}
	_, err := fmt.Fprintln(out.stdout, b.String()+")")
	return err
}

// dlqShowCmd is `penstock dlq show`.
type dlqShowCmd struct {
	deadLetters
	Place string `arg:"" help:"SHARD/SEQUENCE/SUB, as dlq list shows it."`
	Raw   bool   `xor:"format" help:"Only the record's bytes, as they are."`
	JSON  bool   `name:"json" xor:"format" help:"As a JSON object, the record in base64."`
}

// Help implements kong.HelpProvider.
func (*dlqShowCmd) Help() string {
	return `Examples:

    penstock dlq show lake shardId-000000000000/184/3
    penstock dlq show lake shardId-000000000000/184/3 --raw > record`
}

// shownRecord is how many bytes of a record are shown to people.
const shownRecord = 4 << 10

// Run shows it.
func (c *dlqShowCmd) Run(ctx context.Context, out *output) error {
	api, err := c.connect(1)
	if err != nil {
		return err
	}
	defer api.Close()
	letter, err := api.GetDeadLetter(ctx, c.Sink, c.Place)
	if err != nil {
		return explained(err)
	}
	switch {
	case c.Raw:
		_, err = out.stdout.Write(letter.Raw)
		return err
	case c.JSON:
		return json.NewEncoder(out.stdout).Encode(letter)
	}
	record := tabular.Visible(string(letter.Raw[:min(len(letter.Raw), shownRecord)]))
	if left := len(letter.Raw) - shownRecord; left > 0 {
		record += fmt.Sprintf("… (%s more: --raw)", plural(int64(left), "byte"))
	}
	_, err = fmt.Fprintf(out.stdout, "sink     %s\nplace    %s\narrived  %s\nreason   %s\nbytes    %d\nrecord   %s\n",
		c.Sink, c.Place, letter.Arrived.UTC().Format(time.RFC3339Nano), tabular.Visible(letter.Reason), len(letter.Raw), record)
	return err
}

// dlqRequeueCmd is `penstock dlq requeue`.
type dlqRequeueCmd struct {
	deadLetters
	Places []string `arg:"" optional:"" name:"place" help:"SHARD/SEQUENCE/SUB of each, as dlq list shows it."`
	All    bool     `help:"All dead letters of the sink."`
}

// Help implements kong.HelpProvider.
func (*dlqRequeueCmd) Help() string {
	return `A record goes to its own sink alone, and leaves the dead letters once the sink has taken it. One that is refused again stays;
the exit status is 0 only if all were taken.

Examples:

    penstock dlq requeue lake shardId-000000000000/184/3
    penstock dlq requeue lake --all`
}

// Run feeds them to their sink.
func (c *dlqRequeueCmd) Run(ctx context.Context, out *output) error {
	if c.All == (len(c.Places) > 0) {
		return errors.New("name the places of dead letters, or give --all")
	}
	api, err := c.connect(2)
	if err != nil {
		return err
	}
	defer api.Close()
	taken, failed := int64(0), int64(0)
	requeue := func(place string) error {
		err := api.Requeue(ctx, c.Sink, place)
		var problem *client.Problem
		if err != nil && (!errors.As(err, &problem) || problem.Status == http.StatusUnauthorized) {
			return err // the others would fare no better
		}
		if err != nil {
			failed++
			_, err = fmt.Fprintln(out.stderr, client.Explain(err))
			return err
		}
		taken++
		return nil
	}
	err = c.each(ctx, api, requeue)
	if _, writeErr := fmt.Fprintf(out.stdout, "%s of %s requeued, %d refused\n", plural(taken, "dead letter"), c.Sink, failed); writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	if err == nil && failed > 0 {
		return errReported
	}
	return explained(err)
}

func (c *dlqRequeueCmd) each(ctx context.Context, api *client.Client, requeue func(place string) error) error {
	for _, place := range c.Places {
		if err := requeue(place); err != nil {
			return err
		}
	}
	if !c.All {
		return nil
	}
	for letter, err := range api.DeadLetters(ctx, c.Sink, "") {
		if err == nil {
			err = requeue(letter.Place())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
