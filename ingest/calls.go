package ingest

import "sync"

// calls shares out the calls of Put that may be under way at a time among all lanes. A lane that finds none free stands in
// line, and the next call that ends is followed by one for all that stand there: so the number of calls depends on how long
// the stream takes for one, not on how many shards or clients there are.
type calls struct {
	mu   sync.Mutex
	free int
	line []*lane // those that have something to send, the longest waiting first
}

// take takes a call for l, or has l stand in line. l.mu is held.
func (c *calls) take(l *lane) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.free > 0 {
		c.free--
		return true
	}
	if !l.inLine {
		l.inLine = true
		c.line = append(c.line, l)
	}
	return false
}

// give gives a call back, to those who stand in line if there are any. No lane's mutex is held.
func (c *calls) give() {
	for {
		line := c.leave()
		if len(line) == 0 {
			return
		}
		f := &flight{}
		for i, l := range line {
			if f.isFull() {
				c.goOnWaiting(line[i:])
				break
			}
			l.board(f)
		}
		if len(f.legs) > 0 {
			go f.fly()
			return
		}
	}
}

// leave takes everybody out of the line; when nobody is in it, the call is free.
func (c *calls) leave() []*lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	line := c.line
	if len(line) == 0 {
		c.free++
		return nil
	}
	c.line = nil
	for _, l := range line {
		l.inLine = false
	}
	return line
}

// goOnWaiting returns lanes to their places in line, before all that came since.
func (c *calls) goOnWaiting(lanes []*lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var line []*lane
	for _, l := range lanes {
		if !l.inLine {
			l.inLine = true
			line = append(line, l)
		}
	}
	c.line = append(line, c.line...)
}
