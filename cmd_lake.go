package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"penstock/infra/client"
	"penstock/infra/client/tabular"
)

// lakeCmd is `penstock lake`.
type lakeCmd struct {
	Status  lakeStatusCmd  `cmd:"" help:"Show the table that SQL reads, how far the sinks are behind the stream, and the disk."`
	Compact lakeCompactCmd `cmd:"" help:"Rewrite its small data files into larger ones."`
	Expire  lakeExpireCmd  `cmd:"" help:"Forget its old snapshots."`
	Orphans lakeOrphansCmd `cmd:"" help:"Remove files that nothing refers to any more."`
	Erase   lakeEraseCmd   `cmd:"" help:"Erase events for good, from the index and the bodies too."`
}

// lakeStatusCmd is `penstock lake status`.
type lakeStatusCmd struct {
	remote
	JSON bool `name:"json" help:"As the server's JSON."`
}

// Help implements kong.HelpProvider.
func (*lakeStatusCmd) Help() string {
	return `Everything that was received before "complete through" is in the table.

Examples:

    penstock lake status
    penstock lake status --json | jq .rows`
}

// Run shows the state of the table.
func (c *lakeStatusCmd) Run(ctx context.Context, out *output) error {
	api, err := c.connect(1)
	if err != nil {
		return err
	}
	defer api.Close()
	status, raw, err := api.Lake(ctx)
	if err != nil {
		return explained(err)
	}
	if c.JSON {
		var line bytes.Buffer
		if err := json.Compact(&line, raw); err != nil {
			return fmt.Errorf("read the server's JSON: %w", err)
		}
		line.WriteByte('\n')
		_, err = line.WriteTo(out.stdout)
		return err
	}
	return showLake(out, &status, time.Now())
}

func showLake(out *output, s *client.LakeStatus, now time.Time) error {
	var b strings.Builder
	snapshot := "none yet"
	if !s.Committed.IsZero() {
		snapshot = fmt.Sprintf("%d, committed %s (%s kept)", s.SnapshotID, moment(s.Committed, now), plural(int64(s.Snapshots), "snapshot"))
	}
	for _, line := range [][2]string{
		{"table", tabular.Visible(s.Table)},
		{"rows", humanize.Comma(s.Rows)},
		{"data", fmt.Sprintf("%s (%s small), %s", plural(s.DataFiles, "file"), humanize.Comma(s.SmallFiles), bytesText(s.DataBytes))},
		{"snapshot", snapshot},
		{"complete through", moment(s.CompleteThrough, now)},
		{"upkeep", upkeepText(s, now)},
		{"stream", streamText(s)},
		{"slowest sink", slowestText(s, now)},
		{"disk", diskText(s)},
	} {
		fmt.Fprintf(&b, "%-17s %s\n", line[0], line[1])
	}
	b.WriteByte('\n')
	table := &tabular.Table{Header: []string{"shard", "position", "read through", "state"}}
	for _, shard := range s.Shards {
		state := "open"
		if shard.End {
			state = "read to its end"
		}
		table.Rows = append(table.Rows, texts(shard.Shard, shard.Position, moment(shard.AsOf, now), state))
	}
	if len(s.Shards) > 0 {
		if err := table.Render(&b, out.style()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(out.stdout, b.String())
	return err
}

// upkeepText tells what upkeep did since the server was started.
func upkeepText(s *client.LakeStatus, now time.Time) string {
	compacted := "nothing compacted yet"
	if !s.LastCompaction.IsZero() {
		compacted = "compacted " + moment(s.LastCompaction, now)
	}
	return compacted + "; " + plural(s.OrphansRemoved, "orphan") + " removed"
}

// streamText tells what the stream keeps.
func streamText(s *client.LakeStatus) string {
	text := bytesText(s.Stream.Bytes)
	if s.Stream.HeldBytes > 0 {
		text += ", of it " + bytesText(s.Stream.HeldBytes) + " only for the slowest sink"
	}
	return text
}

// slowestText tells how far the sink is that trimming waits for most.
func slowestText(s *client.LakeStatus, now time.Time) string {
	for _, sink := range s.Stream.Sinks {
		if sink.Sink == s.Stream.SlowestSink {
			return fmt.Sprintf("%s, %s to go, the oldest from %s", tabular.Visible(sink.Sink), bytesText(sink.BacklogBytes), moment(sink.Oldest, now))
		}
	}
	return "none: all have everything"
}

// diskText tells what lies on the server's disk beside the table.
func diskText(s *client.LakeStatus) string {
	text := fmt.Sprintf("state %s, index %s", bytesText(s.Disk.StateBytes), bytesText(s.Disk.IndexBytes))
	if s.Disk.SizeBytes > 0 {
		text += fmt.Sprintf("; %s free of %s", bytesText(s.Disk.FreeBytes), bytesText(s.Disk.SizeBytes))
	}
	return text
}

// moment writes a time and how long it is ago.
func moment(t, now time.Time) string {
	if t.IsZero() {
		return "not known"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC") + ", " + humanize.RelTime(t, now, "ago", "from now")
}

// texts makes a row.
func texts(values ...string) []tabular.Value {
	row := make([]tabular.Value, len(values))
	for i, v := range values {
		row[i].Text = v
	}
	return row
}

// style is how tables look on standard output.
func (o *output) style() tabular.Style {
	return tabular.Style{Width: o.stdoutWidth, Color: o.color && o.stdoutWidth > 0}
}
