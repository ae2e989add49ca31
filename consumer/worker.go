package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"penstock/schemas"
)

// trimmedRetry is the pause before a shard that lost its place to trimming is tried again.
const trimmedRetry = time.Minute

// worker moves the events of one shard from the source to the sink. It never skips: whatever fails is tried again from
// the sink's own durable progress, and affects no other shard (invariants 6, 8, 9).
type worker struct {
	shard     Shard
	source    Source
	sink      Sink
	letters   DeadLetters
	pageBytes int
	pacer     *pacer
	log       *slog.Logger
	// awaitParents returns when every parent of the shard is drained, or ctx ends.
	awaitParents func(ctx context.Context, shard Shard) error
	window       *window // nil where there are no doubles to be found

	mu       sync.Mutex
	progress progress
}

// progress is what a worker shows of itself.
type progress struct {
	at      Checkpoint
	arrived time.Time // arrival of the newest record taken
	// tip is when the shard was last read to its tip, by this process's clock; zero when there was more to read since.
	tip     time.Time
	doubles uint64 // events left out because they stand earlier already
	err     error  // that it waits to be retried after; nil while it goes on
	// The last error as it may be shown, and when it came; see noteError.
	shown  string
	failed time.Time
}

// run works until the shard is drained (true) or ctx ends (false).
func (w *worker) run(ctx context.Context) (drained bool) {
	var retry backoff
	for {
		err := w.pass(ctx, &retry)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		}
		wait := retry.delay()
		w.note(func(p *progress) { p.noteError(err, time.Now()) })
		switch {
		case errors.Is(err, ErrTrimmed):
			// Going on at the oldest kept record would lose the events in between without a trace.
			wait = trimmedRetry
			w.log.Error("shard stopped: the stream trimmed events that this sink does not have; "+
				"they must be filled in from the archive", "err", err, "retry_in", wait)
		case errors.Is(err, ErrRewound):
			w.log.Info("shard is read again from the sink's durable progress", "retry_in", wait)
		default:
			w.log.Warn("shard is retried", "err", err, "retry_in", wait)
		}
		if !pause(ctx, wait) {
			return false
		}
	}
}

// pass reads the shard from the sink's progress to its end (nil) or an error.
func (w *worker) pass(ctx context.Context, retry *backoff) error {
	start, err := w.sink.Resume(ctx, w.shard.ID)
	if err != nil {
		return fmt.Errorf("load the shard's progress: %w", err)
	}
	from, after := start.From, start.After
	w.note(func(p *progress) { p.at = from })
	if from.End {
		return nil
	}
	if from.Position.IsZero() && from.AsOf.IsZero() {
		// Otherwise events of one key could overtake each other across a reshard.
		if err := w.awaitParents(ctx, w.shard); err != nil {
			return fmt.Errorf("wait for the shard's parents: %w", err)
		}
	}
	inside := after != from.Position.Sequence
	gone := false // the record `after`
	for {
		page, err := w.read(ctx, after, from, &gone)
		if err != nil {
			return fmt.Errorf("read after %q: %w", after, err)
		}
		read := time.Now()
		if n := len(page.Records); n > 0 {
			after = page.Records[n-1].Sequence
		}
		if inside {
			there, err := holdsRest(page, from.Position)
			if err != nil {
				return err
			}
			if !there {
				continue
			}
			inside = false
		}
		if len(page.Records) == 0 {
			from, err = w.deliver(ctx, page, from)
		} else {
			err = w.pacer.work(ctx, lagOf(page), func() (err error) {
				from, err = w.deliver(ctx, page, from)
				return err
			})
		}
		if err != nil {
			return err
		}
		retry.reset()
		w.note(func(p *progress) { p.goOn(page, from, read) })
		if from.End {
			return nil
		}
	}
}

// read gives the page after a record. When that record is gone, it gives the page of the oldest that are kept, provided that
// nothing is gone that the sink does not have: it has all that arrived before from.AsOf, and what arrived later is kept. So a
// shard in which nothing arrives for longer than the stream keeps records can be gone on with.
func (w *worker) read(ctx context.Context, after string, from Checkpoint, gone *bool) (Page, error) {
	bytes := w.pacer.pageBytes(w.pageBytes)
	trimmed := ErrTrimmed
	if !*gone {
		page, err := w.source.Read(ctx, w.shard.ID, after, bytes)
		if !errors.Is(err, ErrTrimmed) || from.AsOf.IsZero() {
			return page, err
		}
		trimmed = err
	}
	page, err := w.source.Read(ctx, w.shard.ID, "", bytes)
	if err != nil {
		return Page{}, err
	}
	if page.Kept.IsZero() || from.AsOf.Before(page.Kept) {
		return Page{}, fmt.Errorf("this sink was last at the tip at %s: %w", from.AsOf.Format(time.RFC3339), trimmed)
	}
	if !*gone {
		w.log.Info("the record where this sink stopped is gone, and nothing that it does not have", "after", after)
	}
	*gone = len(page.Records) == 0
	return page, nil
}

// goOn takes note of a page that the sink has taken, up to the checkpoint, and of when it was read.
func (p *progress) goOn(page Page, to Checkpoint, read time.Time) {
	p.at, p.err = to, nil
	if n := len(page.Records); n > 0 {
		p.arrived, p.tip = page.Records[n-1].Arrived, time.Time{}
	}
	if !page.AsOf.IsZero() {
		p.tip = read
	}
}

// holdsRest reports whether a page has the record inside of which a sink has stopped; false means that the page ends before
// it. That the record is not there any more is ErrTrimmed.
func holdsRest(page Page, at schemas.Position) (bool, error) {
	for _, r := range page.Records {
		switch c := compareSequences(r.Sequence, at.Sequence); {
		case c == 0:
			return true, nil
		case c > 0:
			return false, fmt.Errorf("rest of record %s: %w", at.Sequence, ErrTrimmed)
		}
	}
	if page.End || !page.AsOf.IsZero() {
		return false, fmt.Errorf("rest of record %s: %w", at.Sequence, ErrTrimmed)
	}
	return false, nil
}

// deliver gives a page to the sink and returns the checkpoint behind it. The bad records are in the dead letters,
// durably, before the sink's checkpoint can pass them.
func (w *worker) deliver(ctx context.Context, page Page, from Checkpoint) (Checkpoint, error) {
	d := decodePage(w.sink.Name(), w.shard.ID, page, from)
	for _, letter := range d.letters {
		if err := w.letters.Put(ctx, letter); err != nil {
			return from, fmt.Errorf("store dead letter %s: %w", letter.Position, err)
		}
		w.log.Error("bad record is in the dead letters", "position", letter.Position.String(), "reason", letter.Reason)
	}
	entries := d.entries
	if w.window != nil {
		var err error
		if entries, err = w.window.single(ctx, entries, from.Position, d.to.Position); err != nil {
			return from, err
		}
		w.note(func(p *progress) { p.doubles += uint64(len(d.entries) - len(entries)) })
	}
	b := Batch{Shard: w.shard.ID, From: from, To: d.to, Entries: entries}
	if err := w.sink.Deliver(ctx, b); err != nil {
		return from, fmt.Errorf("deliver up to %s: %w", d.to.Position, err)
	}
	return d.to, nil
}

func (w *worker) note(change func(*progress)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.progress)
}

func (w *worker) state() progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress
}
