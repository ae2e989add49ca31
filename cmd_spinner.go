package main

import (
	"fmt"
	"sync/atomic"
	"time"
)

// spinner shows on a terminal that something is going on, and for how long; elsewhere nothing.
type spinner struct {
	what atomic.Pointer[string]
	quit chan struct{}
	done chan struct{}
}

func startSpinner(out *output, what string) *spinner {
	s := &spinner{quit: make(chan struct{}), done: make(chan struct{})}
	s.say(what)
	if out.stderrWidth == 0 || !out.color {
		close(s.done)
		return s
	}
	go func() {
		defer close(s.done)
		started := time.Now()
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
		for i := 0; ; i++ {
			var err error
			select {
			case <-s.quit:
				_, _ = fmt.Fprint(out.stderr, "\r\x1b[K") // it was only an ornament
				return
			case now := <-ticker.C:
				_, err = fmt.Fprintf(out.stderr, "\r\x1b[K%c %s %.1fs", frames[i%len(frames)], *s.what.Load(), now.Sub(started).Seconds())
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

// say changes what is going on.
func (s *spinner) say(what string) { s.what.Store(&what) }

// stop takes it away; after that the terminal is free.
func (s *spinner) stop() {
	close(s.quit)
	<-s.done
}
