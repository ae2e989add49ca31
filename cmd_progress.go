package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"penstock/infra/client"
)

// plainInterval is the time between two lines of progress where there is no terminal.
const plainInterval = 5 * time.Second

// progress shows how far a long job is: a bar on a terminal, a line every few seconds elsewhere. Lines that are printed
// meanwhile go through it, so that they don't run into the bar. It is safe for concurrent use.
type progress struct {
	out   *output
	total int64 // bytes; 0 when unknown

	mu     sync.Mutex
	bar    *progressbar.ProgressBar // nil where there is no terminal
	done   int64
	events int64
	shown  time.Time // when the last plain line was printed
	noted  time.Time // when the last retry was mentioned
	err    error     // of writing; nothing is written after it
}

// newProgress begins. bar says that a bar is wanted, if there is a terminal for it.
func newProgress(out *output, extent client.Extent, bar bool) *progress {
	p := &progress{out: out, shown: time.Now()}
	size := int64(-1)
	if !extent.Unbounded {
		p.total, size = extent.Bytes, extent.Bytes
	}
	if bar && out.stderrWidth > 0 && size != 0 {
		p.bar = progressbar.NewOptions64(size,
			progressbar.OptionSetWriter(out.stderr),
			progressbar.OptionSetDescription("sending"),
			progressbar.OptionShowBytes(true),
			progressbar.OptionSetWidth(min(30, max(5, out.stderrWidth-60))),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetRenderBlankState(true),
			progressbar.OptionSetSpinnerChangeInterval(0), // or else it runs a goroutine of its own
			progressbar.OptionUseANSICodes(out.color),
			progressbar.OptionClearOnFinish(),
		)
	}
	return p
}

// add moves it forward.
func (p *progress) add(bytes, events int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total > 0 {
		bytes = min(bytes, p.total-p.done) // a file may have grown since it was measured
	}
	p.done += bytes
	p.events += events
	if p.err != nil {
		return
	}
	if p.bar != nil {
		p.err = p.bar.Add64(bytes)
		return
	}
	if now := time.Now(); now.Sub(p.shown) >= plainInterval {
		p.shown = now
		amount := humanize.Bytes(uint64(p.done)) // counted up from 0
		if p.total > 0 {
			amount += fmt.Sprintf(" of %s (%d %%)", humanize.Bytes(uint64(p.total)), 100*p.done/p.total)
		}
		p.write(fmt.Sprintf("sent %s events, %s", humanize.Comma(p.events), amount))
	}
}

// line prints a line above the bar.
func (p *progress) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(text)
}

// waiting mentions a retry: the first one, and then one every few seconds.
func (p *progress) waiting(err error, _ time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.noted) >= plainInterval {
		p.noted = now
		p.write("trying again: " + client.Explain(err))
	}
}

func (p *progress) write(text string) {
	if p.err != nil {
		return
	}
	if p.bar != nil {
		p.err = p.bar.Clear()
	}
	_, err := fmt.Fprintln(p.out.stderr, text)
	p.err = errors.Join(p.err, err)
}

// finish takes the bar away.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil && p.err == nil {
		p.err = p.bar.Exit()
	}
	if p.bar != nil && p.err == nil {
		p.err = p.bar.Clear()
	}
}
