package ingest

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// crowd is how many events one of the last calls must have carried for the next to linger: where few come, a call less
	// saves little.
	crowd = 4
	// lookBack is how many calls tell what the next one may expect.
	lookBack = 8
)

// calls shares out the calls of Put that may be under way at a time among all lanes. A lane that finds none free stands in
// line, and the next call that ends is followed by one for all that stand there: so the number of calls depends on how long
// the stream takes for one, not on how many shards or clients there are.
//
// A call that is free lingers where many events come, since it costs the same for each number of them: until so long after the
// take-off of the one before, or until as many events wait as the largest of the last calls carried. The latter is when a number of
// clients, of whom each waits for its ack before it sends again, has nothing more to send.
//
// While a call is free and a lane in line, a timer runs or somebody is about to serve the line.
type calls struct {
	linger  time.Duration
	waiting atomic.Int64 // events in the lanes' queues

	mu      sync.Mutex
	free    int
	line    []*lane // those that have something to send, the longest waiting first
	began   time.Time
	carried [lookBack]int // events of the last calls
	made    int           // calls, so that carried[made%lookBack] is the oldest
	waking  bool          // a timer runs for those in line
}

// take takes a call for l, or has l stand in line. l.mu is held.
func (c *calls) take(l *lane) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	goes := c.takeOff()
	if goes && len(c.line) == 0 {
		return true
	}
	if !l.inLine {
		l.inLine = true
		c.line = append(c.line, l)
	}
	if goes {
		go c.serve()
	}
	return false
}

// takeOff takes a call if one is free and has lingered enough. If it has not, a timer sees to those who stand in line. c.mu is
// held.
func (c *calls) takeOff() bool {
	if c.free == 0 || c.lingers() {
		return false
	}
	c.begin()
	return true
}

func (c *calls) begin() {
	c.free--
	c.began = time.Now()
}

func (c *calls) lingers() bool {
	if c.linger == 0 {
		return false
	}
	expected := slices.Max(c.carried[:])
	if expected < crowd || c.waiting.Load() >= int64(expected) {
		return false
	}
	left := c.linger - time.Since(c.began)
	if left > 0 && !c.waking {
		c.waking = true
		time.AfterFunc(left, c.wake)
	}
	return left > 0
}

// wake ends the lingering.
func (c *calls) wake() {
	c.mu.Lock()
	c.waking = false
	c.mu.Unlock()
	c.next()
}

// give gives a call back. No lane's mutex is held.
func (c *calls) give() {
	c.mu.Lock()
	c.free++
	c.mu.Unlock()
	c.next()
}

// next has a free call serve those who stand in line, unless it lingers for more. No lane's mutex is held.
func (c *calls) next() {
	c.mu.Lock()
	goes := len(c.line) > 0 && c.takeOff()
	c.mu.Unlock()
	if goes {
		c.serve()
	}
}

// serve makes the call that was taken for those who stand in line, and if they fill it another one that is free. No lane's mutex
// is held.
func (c *calls) serve() {
	for taken := true; taken; {
		line := c.leave()
		if len(line) == 0 {
			return
		}
		f := &flight{}
		full := false
		for i, l := range line {
			if full = f.isFull(); full {
				c.goOnWaiting(line[i:])
				break
			}
			l.board(f)
		}
		if len(f.legs) > 0 {
			go f.fly()
			taken = full && c.another()
		}
	}
}

// another takes a call if one is free.
func (c *calls) another() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.free == 0 {
		return false
	}
	c.begin()
	return true
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

// carries tells of the events of a call that takes off.
func (c *calls) carries(events int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.carried[c.made%lookBack] = events
	c.made++
}
