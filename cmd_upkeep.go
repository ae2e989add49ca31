package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"penstock/infra/client"
)

// lakeTaskCmd is what the tasks of lake upkeep have in common.
type lakeTaskCmd struct {
	remote
	JSON bool `name:"json" help:"The outcome as a JSON object."`
}

// lakeCompactCmd is `penstock lake compact`.
type lakeCompactCmd struct{ lakeTaskCmd }

// Help implements kong.HelpProvider.
func (*lakeCompactCmd) Help() string {
	return `Days that are over end with files near 128 MiB; the day that is open is compacted in steps. The server does this by itself
every few minutes. Appends and queries go on; the files that were replaced go with "lake expire" and "lake orphans".

Examples:

    penstock lake compact
    penstock lake compact --json | jq .filesAfter`
}

// Run compacts.
func (c *lakeCompactCmd) Run(ctx context.Context, out *output) error {
	return c.run(ctx, out, "compact", func(t *client.UpkeepTask) string {
		return fmt.Sprintf("%s (%s) became %s (%s)", plural(t.FilesBefore, "file"), bytesText(t.BytesBefore),
			plural(t.FilesAfter, "file"), bytesText(t.BytesAfter))
	})
}

// lakeExpireCmd is `penstock lake expire`.
type lakeExpireCmd struct{ lakeTaskCmd }

// Help implements kong.HelpProvider.
func (*lakeExpireCmd) Help() string {
	return `Forgets the table's snapshots that are older than an hour, but for the current one. No file is removed: "lake orphans" does
that. The server does this by itself every few minutes.

Example:

    penstock lake expire`
}

// Run expires.
func (c *lakeExpireCmd) Run(ctx context.Context, out *output) error {
	return c.run(ctx, out, "expire", func(t *client.UpkeepTask) string {
		return plural(t.SnapshotsForgotten, "snapshot") + " forgotten"
	})
}

// lakeOrphansCmd is `penstock lake orphans`.
type lakeOrphansCmd struct{ lakeTaskCmd }

// Help implements kong.HelpProvider.
func (*lakeOrphansCmd) Help() string {
	return `Removes the files in the table's directory that no snapshot refers to: what compaction has replaced, and what a crash has left
over. A file is kept for --orphan-age of the server after it was written, and after a query last could have begun to read
it. The server does this by itself every few minutes.

Example:

    penstock lake orphans`
}

// Run sweeps.
func (c *lakeOrphansCmd) Run(ctx context.Context, out *output) error {
	return c.run(ctx, out, "orphans", func(t *client.UpkeepTask) string {
		text := fmt.Sprintf("%s removed (%s)", plural(t.FilesRemoved, "file"), bytesText(t.BytesRemoved))
		if t.FilesKept > 0 {
			text += fmt.Sprintf("; %s kept for now (%s)", plural(t.FilesKept, "file"), bytesText(t.BytesKept))
		}
		return text
	})
}

// run starts a task, shows how far it is until it ends, and prints what it did.
func (c *lakeTaskCmd) run(ctx context.Context, out *output, name string, describe func(*client.UpkeepTask) string) error {
	api, err := c.connect(1)
	if err != nil {
		return err
	}
	defer api.Close()
	task, err := api.StartUpkeep(ctx, name)
	shown := taskProgress{out: out, last: time.Now()}
	for err == nil && !task.Done() {
		text := describe(&task)
		if task.Queued() {
			text = "waiting for its turn"
		}
		shown.show(name + ": " + text)
		task, err = api.WaitUpkeep(ctx, name)
	}
	shown.clear()
	if err != nil {
		return explained(err)
	}
	if c.JSON {
		err = json.NewEncoder(out.stdout).Encode(task)
	} else {
		_, err = fmt.Fprintln(out.stdout, describe(&task))
	}
	if err == nil && !task.Succeeded() {
		err = errors.New("lake " + name + ": " + task.Error)
	}
	return err
}

// taskProgress is a line on a terminal that changes, and elsewhere a line every few seconds.
type taskProgress struct {
	out   *output
	last  time.Time // when a plain line was printed
	dirty bool
}

// show shows a text. A terminal that takes none is no reason to stop, so its errors are dropped, here and in clear.
func (p *taskProgress) show(text string) {
	switch {
	case p.out.stderrWidth > 0 && p.out.color:
		p.dirty = true
		_, _ = io.WriteString(p.out.stderr, "\r\x1b[K"+text)
	case time.Since(p.last) >= plainInterval:
		p.last = time.Now()
		_, _ = fmt.Fprintln(p.out.stderr, text)
	}
}

func (p *taskProgress) clear() {
	if p.dirty {
		_, _ = io.WriteString(p.out.stderr, "\r\x1b[K")
	}
}
