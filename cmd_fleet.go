package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"penstock/consumer"
	"penstock/infra/aws"
	"penstock/infra/client/tabular"
)

// fleetTimeout bounds both looks of `penstock fleet`.
const fleetTimeout = 30 * time.Second

// fleetCmd is `penstock fleet`.
type fleetCmd struct {
	Stream     string   `default:"penstock" env:"PENSTOCK_STREAM" help:"Kinesis data stream."`
	StateTable string   `default:"penstock-state" env:"PENSTOCK_STATE_TABLE" help:"DynamoDB table of leases, claims and progress."`
	Sink       []string `default:"index,lake" enum:"index,lake" env:"PENSTOCK_SINK" help:"Whose fleets to show."`
	JSON       bool     `name:"json" help:"As a JSON object."`
}

// Help implements kong.HelpProvider.
func (*fleetCmd) Help() string {
	return `Shows for each sink who works on which shard of the stream, how far that is (the lag is how long ago the oldest record arrived
that the sink does not hold durably), and its last error. It reads the stream's list of shards and the state table only, so it tells
as much when no consumer is alive: lags are then counted on from what the last one has told.

Exit status 1 means that a shard is unowned, or that it could not be told. Unowned is a shard that is not read to its end, and that
nobody has worked on for 6 s. One that only changes hands is not: to tell, the command looks a second time, 6 s later.

Region, credentials and endpoints come from the AWS SDK's own variables and files; kinesis:ListShards, dynamodb:Query and
dynamodb:GetItem must be allowed.

Examples:

    penstock fleet
    penstock fleet --sink lake --stream orders --state-table orders-state
    penstock fleet --json | jq -r '.sinks[].shards[] | select(.state == "unowned") | .shard'`
}

// Run shows the fleets.
func (c *fleetCmd) Run(ctx context.Context, out *output) error {
	if c.Stream == "" || c.StateTable == "" {
		return errors.New("--stream and --state-table: must not be empty")
	}
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	clients, err := aws.Connect(ctx)
	if err != nil {
		return err
	}
	roster := consumer.NewRoster(aws.NewSource(clients.Kinesis, c.Stream), aws.NewLeases(clients, aws.Tables{State: c.StateTable}), awsLeaseLife)
	sinks, err := roster.Look(ctx, c.Sink...)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(out.stdout).Encode(fleetJSON(c.Stream, sinks))
	} else {
		err = showFleet(out, c.Stream, sinks)
	}
	if err != nil {
		return err
	}
	return unownedShards(sinks)
}

// unownedShards is the error that shards without a worker are.
func unownedShards(sinks []consumer.SinkRoster) error {
	var alarms []string
	for _, s := range sinks {
		shards := s.Unowned()
		if len(shards) == 0 {
			continue
		}
		advice := fmt.Sprintf("start `penstock consumer --sink %s`", s.Sink)
		if len(s.Workers) > 0 {
			advice = fmt.Sprintf("look into the logs of %s", tabular.Visible(strings.Join(s.Workers, ", ")))
		}
		alarms = append(alarms, fmt.Sprintf("UNOWNED: nobody works on %d of the %d shards for the sink %s, %s among them: %s",
			len(shards), len(s.Shards), s.Sink, tabular.Visible(shards[0].Shard.ID), advice))
	}
	if len(alarms) == 0 {
		return nil
	}
	return errors.New(strings.Join(alarms, "; "))
}

func showFleet(out *output, stream string, sinks []consumer.SinkRoster) error {
	var b strings.Builder
	for i, s := range sinks {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s of stream %s: %s, %s, %d unowned\n", s.Sink, tabular.Visible(stream),
			plural(int64(len(s.Shards)), "shard"), plural(int64(len(s.Workers)), "worker"), len(s.Unowned()))
		table := &tabular.Table{Header: []string{"shard", "state", "worker", "renewed", "lag", "checkpoint"}}
		for _, shard := range s.Shards {
			table.Rows = append(table.Rows, fleetRow(shard))
		}
		if err := table.Render(&b, out.style()); err != nil {
			return err
		}
		for _, shard := range s.Shards {
			if r := shard.Lease.Report; r.Error != "" {
				state := "went on after"
				if r.Failing {
					state = "waits to be tried again after"
				}
				fmt.Fprintf(&b, "%s %s an error %s ago: %s\n", tabular.Visible(shard.Shard.ID), state, age(r.ErrorAge), tabular.Visible(r.Error))
			}
		}
	}
	_, err := fmt.Fprint(out.stdout, b.String())
	return err
}

func fleetRow(s consumer.ShardRoster) []tabular.Value {
	state := string(s.State)
	if s.State == consumer.ShardUnowned {
		state = strings.ToUpper(state)
	}
	renewed, lag := "never", "not known"
	if s.Lease.Shard != "" {
		renewed = age(s.Lease.Age) + " ago"
	}
	if s.Lease.Report.LagKnown {
		lag = age(s.Lease.Report.Lag)
	}
	return texts(s.Shard.ID, state, s.Lease.Owner, renewed, lag, s.Lease.Report.At.Position.String())
}

// age is a time in whole seconds.
func age(d time.Duration) string { return d.Round(time.Second).String() }

// fleetView is what `penstock fleet --json` prints.
type fleetView struct {
	Stream string     `json:"stream"`
	Sinks  []sinkView `json:"sinks"`
}

type sinkView struct {
	Sink    string      `json:"sink"`
	Workers []string    `json:"workers"` // that are alive
	Unowned int         `json:"unowned"`
	Shards  []shardView `json:"shards"`
}

// shardView has null or no member where nothing is known.
type shardView struct {
	Shard      string     `json:"shard"`
	Closed     bool       `json:"closed"`
	State      string     `json:"state"`            // owned, drained, changing, unowned
	Worker     string     `json:"worker,omitempty"` // that has the lease, or had it last
	RenewedAgo *float64   `json:"renewedSecondsAgo"`
	Lag        *float64   `json:"lagSeconds"`
	Checkpoint string     `json:"checkpoint,omitempty"`
	AsOf       *time.Time `json:"asOf,omitempty"`
	Failing    bool       `json:"failing"`
	Error      string     `json:"lastError,omitempty"`
	ErrorAgo   *float64   `json:"lastErrorSecondsAgo,omitempty"`
}

func fleetJSON(stream string, sinks []consumer.SinkRoster) fleetView {
	view := fleetView{Stream: stream, Sinks: make([]sinkView, 0, len(sinks))}
	for _, s := range sinks {
		sink := sinkView{Sink: s.Sink, Workers: append([]string{}, s.Workers...), Unowned: len(s.Unowned()), Shards: []shardView{}}
		for _, shard := range s.Shards {
			r := shard.Lease.Report
			sink.Shards = append(sink.Shards, shardView{
				Shard: shard.Shard.ID, Closed: shard.Shard.Closed, State: string(shard.State), Worker: shard.Lease.Owner,
				RenewedAgo: secondsIf(shard.Lease.Shard != "", shard.Lease.Age), Lag: secondsIf(r.LagKnown, r.Lag),
				Checkpoint: r.At.Position.String(), AsOf: timeIf(r.At.AsOf),
				Failing: r.Failing, Error: r.Error, ErrorAgo: secondsIf(r.Error != "", r.ErrorAge),
			})
		}
		view.Sinks = append(view.Sinks, sink)
	}
	return view
}

// secondsIf is null where nothing is known.
func secondsIf(known bool, d time.Duration) *float64 {
	if !known {
		return nil
	}
	s := d.Seconds()
	return &s
}

func timeIf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
