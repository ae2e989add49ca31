package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"penstock/infra/client"
)

// sendCmd is `penstock send`.
type sendCmd struct {
	remote
	Paths        []string      `arg:"" name:"path" help:"Files (.json: one event; .ndjson, .jsonl: one event a line; each also with .gz), directories, or - for NDJSON on standard input."`
	Type         string        `placeholder:"TYPE" help:"CloudEvents type of every event."`
	Source       string        `placeholder:"URI" help:"CloudEvents source of every event."`
	Subject      string        `placeholder:"TEXT" help:"CloudEvents subject of every event."`
	PartitionKey string        `placeholder:"KEY" help:"Partition key of every event: events of one key keep to one shard."`
	Split        bool          `help:"Send the elements of a .json file's top-level array as events of their own."`
	Concurrency  int           `short:"c" default:"16" help:"Requests at once, 1 to 256. Each holds a body of at most 10 MiB in memory."`
	RetryFor     time.Duration `default:"1m" help:"How long to try a request again when the server does not answer or is too busy."`
	IDs          bool          `name:"ids" xor:"report" help:"Print a line per accepted event: path, line or index (- for a whole file) and id, separated by tabs."`
	JSON         bool          `name:"json" xor:"report" help:"Print the summary as a JSON object."`
}

// Help implements kong.HelpProvider.
func (*sendCmd) Help() string {
	return `Every byte arrives as it is in the file. A request that gets no answer is sent again with the same Idempotency-Key, so
no event is stored twice. The exit status is 0 only if every event was accepted; those that were not are named on standard
error. Directories are read recursively, in the order of names; files of other kinds in them are skipped.

Examples:

    penstock send order.json
    penstock send orders.ndjson archive/ --type order --source shop
    penstock send github_events.json --split --type github --ids > ids.tsv
    tail -f app.log.ndjson | penstock send - --type log`
}

// Run sends everything and says what became of it.
func (c *sendCmd) Run(ctx context.Context, out *output) error {
	if c.Concurrency < 1 || c.Concurrency > 256 {
		return fmt.Errorf("--concurrency %d: must be between 1 and 256", c.Concurrency)
	}
	if c.RetryFor < 0 {
		return fmt.Errorf("--retry-for %v: must not be negative", c.RetryFor)
	}
	extent, err := client.Measure(c.Paths)
	if err != nil {
		return err
	}
	api, err := c.connect(c.Concurrency)
	if err != nil {
		return err
	}
	defer api.Close()
	// Ids on the same terminal would run into the bar, and are progress enough.
	show := newProgress(out, extent, !c.IDs || out.stdoutWidth == 0)
	sender := &client.Sender{
		Client:     api,
		Attributes: client.Attributes{Type: c.Type, Source: c.Source, Subject: c.Subject, PartitionKey: c.PartitionKey},
		Split:      c.Split, Concurrency: c.Concurrency, Stdin: out.stdin,
		Retry: client.Retry{For: c.RetryFor, Waiting: show.waiting},
	}
	r := newSendReport(c, out, show, extent)
	stopped := sender.Send(ctx, c.Paths, r.outcome)
	show.finish()
	return r.finish(stopped)
}

// sendReport prints what becomes of the events, in their order.
type sendReport struct {
	cmd     *sendCmd
	out     *output
	show    *progress
	ids     *bufio.Writer
	extent  client.Extent
	started time.Time
	tally   client.Tally
	lastID  string
	errs    []sendFailure // the first of them, for --json
	err     error         // of writing to standard output
}

func newSendReport(c *sendCmd, out *output, show *progress, extent client.Extent) *sendReport {
	return &sendReport{
		cmd: c, out: out, show: show, ids: bufio.NewWriter(out.stdout), extent: extent, started: time.Now(),
	}
}

func (r *sendReport) outcome(o client.Outcome) {
	before := r.tally.Accepted
	r.tally.Add(o)
	r.show.add(o.Consumed, r.tally.Accepted-before)
	for i, receipt := range o.Receipts {
		if receipt.Err == nil {
			r.lastID = receipt.ID
			if r.cmd.IDs && r.err == nil {
				_, r.err = fmt.Fprintf(r.ids, "%s\t%s\t%s\n", o.Path, position(o.Origins[i]), receipt.ID)
			}
		}
	}
	// A listener behind a pipe wants the ids of slow input as they come; of fast input, this is one write per request.
	if r.err == nil {
		r.err = r.ids.Flush()
	}
	r.failures(o)
}

func position(o client.Origin) string {
	if o.Position == client.Whole {
		return "-"
	}
	return fmt.Sprint(o.Position)
}

// failures prints a line per event that was not accepted, or one for a run of events with the same fate.
func (r *sendReport) failures(o client.Outcome) {
	for i := 0; i < len(o.Receipts); i++ {
		err := o.Receipts[i].Err
		if err == nil {
			continue
		}
		last := i
		for last+1 < len(o.Receipts) && o.Receipts[last+1].Err == err { //nolint:errorlint // the very same one, of a request
			last++
		}
		place := client.Place(o.Path, o.Origins[i].Position)
		if last > i {
			place = fmt.Sprintf("%s-%d: %d events", place, o.Origins[last].Position, last-i+1)
		}
		r.show.line(place + ": " + err.Error())
		if len(r.errs) < maxListedFailures {
			r.errs = append(r.errs, newSendFailure(o.Path, o.Origins[i].Position, last-i+1, o.Receipts[i]))
		}
		i = last
	}
}

// finish prints the summary. The error is nil only if every event was accepted.
func (r *sendReport) finish(stopped error) error {
	s := r.summary(stopped)
	var err error
	switch {
	case r.cmd.JSON:
		err = s.writeJSON(r.out.stdout)
	case r.cmd.IDs:
		err = s.writeText(r.out.stderr)
	default:
		err = s.writeText(r.out.stdout)
	}
	if err := errors.Join(r.err, err); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	if stopped != nil {
		return explainedStop(stopped)
	}
	if s.Rejected+s.Unsent+s.Unconfirmed > 0 {
		return errReported
	}
	return nil
}

func explainedStop(stopped error) error {
	var s *client.StoppedError
	if errors.As(stopped, &s) {
		return fmt.Errorf("stopped before %s: %w", client.Place(s.Path, s.Position), explained(s.Err))
	}
	return explained(stopped)
}
