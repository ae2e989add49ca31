package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"penstock/schemas"
)

const (
	// maxFlightBytes and maxFlightRecords are the limits of one PutRecords call, partition keys included
	// (https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html).
	maxFlightBytes   = 10 << 20
	maxFlightRecords = 500
	// maxRecordBytes is the limit of one record.
	maxRecordBytes = 1 << 20
	// putTimeout is a flight's own deadline. It is longer than any request waits, so that a client that gives up does
	// not make the fate of everybody else's events in the flight unknown.
	putTimeout = 5 * time.Second
	// slowPut is when a call that is still under way no longer keeps others from being made: so a stream that loses some
	// answers does not come to a standstill. Its lanes' own slots stay taken, which bounds such calls.
	slowPut = 250 * time.Millisecond
	// recordKey is every record's partition key. It decides nothing, since the explicit hash key goes before it.
	recordKey = "p"
	// subrecordOverhead bounds what the aggregated format adds to one event: tag and length of the sub-record (1+4), its
	// two key indexes (2+2), tag and length of its data (1+4), with room.
	subrecordOverhead = 16
)

// flight is what one call of Put carries.
type flight struct {
	legs           []*leg
	bytes, records int
}

// isFull: not even one more event is sure to fit.
func (f *flight) isFull() bool {
	return f.bytes+maxRecordBytes > maxFlightBytes || f.records >= maxFlightRecords
}

func (f *flight) events() (n int) {
	for _, g := range f.legs {
		n += len(g.items)
	}
	return n
}

// leg is what one lane has in a flight: the items of each record, in order.
type leg struct {
	lane  *lane
	visit visit
	items []*item
	ends  []int // ends[k] is the index in items behind the last one of record k
}

// record gives the items of record k.
func (g *leg) record(k int) []*item {
	if k == 0 {
		return g.items[:g.ends[0]]
	}
	return g.items[g.ends[k-1]:g.ends[k]]
}

// load takes from the front of the queue what fits, cut into records in order: events are gathered up to
// schemas.MaxAggregateEvents and MaxAggregateBytes, and a larger one goes alone. At least one event fits unless the flight is
// full. l.mu is held, and the queue not empty.
func (l *lane) load(f *flight) {
	g := &leg{lane: l, visit: visit{since: l.queue.first.group.received}}
	most := min(l.most, maxFlightBytes-f.bytes)
	record, events, total := 0, 0, 0 // bytes and events of the open record, bytes of all
	for it := l.queue.first; it != nil; it = l.queue.first {
		size := len(it.encoded) + subrecordOverhead
		if events == schemas.MaxAggregateEvents || events > 0 && record+size > schemas.MaxAggregateBytes {
			g.ends = append(g.ends, len(g.items))
			record, events = 0, 0
		}
		if events == 0 {
			record = l.overhead + len(recordKey)
			size += record
		}
		if len(g.items) > 0 && (total+size > most || events == 0 && f.records+len(g.ends) == maxFlightRecords) {
			break
		}
		record, events, total = record+size, events+1, total+size
		if received := it.group.received; received.Before(g.visit.since) {
			g.visit.since = received
		}
		l.dequeue(it)
		it.state = flying
		g.items = append(g.items, it)
	}
	if events > 0 {
		g.ends = append(g.ends, len(g.items))
	}
	l.free--
	l.gate.join(&g.visit)
	f.legs, f.bytes, f.records = append(f.legs, g), f.bytes+total, f.records+len(g.ends)
}

// fly sends one flight and lands it. All its lanes are of one Ingest.
func (f *flight) fly() {
	first := f.legs[0].lane
	first.calls.carries(f.events())
	ctx, cancel := context.WithTimeout(first.ctx, putTimeout)
	defer cancel()
	slow := time.AfterFunc(slowPut, first.calls.give)
	errs := first.stream.Put(ctx, f.pack())
	first.counters.puts.Add(1)
	pauses := make([]time.Duration, len(f.legs))
	for i, g := range f.legs {
		n := min(len(errs), len(g.ends))
		pauses[i] = g.land(errs[:n])
		errs = errs[n:]
	}
	if slow.Stop() {
		first.calls.give()
	}
	for i, g := range f.legs {
		g.leave(pauses[i])
	}
}

// pack makes the records of a flight, in one piece of memory that is the flight's own.
func (f *flight) pack() []Record {
	buffer := make([]byte, 0, f.bytes)
	records := make([]Record, 0, f.records)
	events := make([][]byte, 0, min(len(f.legs[0].items), schemas.MaxAggregateEvents))
	for _, g := range f.legs {
		for k := range g.ends {
			events = events[:0]
			for _, it := range g.record(k) {
				events = append(events, it.encoded)
			}
			start := len(buffer)
			buffer = schemas.AppendAggregate(buffer, recordKey, g.lane.hashKey, events)
			records = append(records, Record{
				PartitionKey: recordKey,
				HashKey:      g.lane.hashKey,
				Data:         buffer[start:len(buffer):len(buffer)],
			})
		}
	}
	return records
}

// verdict is what a record's error means for its events.
type verdict uint8

const (
	stored    verdict = iota
	throttled         // not stored; try again
	ambiguous         // stored or not; try again, in the same lane
	open              // stored or not; don't try again
	refused           // not stored, and would not be
)

func classify(err error) verdict {
	switch {
	case err == nil:
		return stored
	case errors.Is(err, ErrOpen): // first: in doubt, doubt
		return open
	case errors.Is(err, ErrAmbiguous):
		return ambiguous
	case errors.Is(err, ErrThrottled):
		return throttled
	default:
		return refused
	}
}

// land gives every item of the leg its outcome or its place in the queue, frees the slot, lets the lane's next flights go,
// and only then wakes the waiters. It returns for how long the lane has to rest.
func (g *leg) land(errs []error) (pause time.Duration) {
	l := g.lane
	done := make([]*item, 0, len(g.items))
	var again []*item
	progress, retry := false, false
	l.mu.Lock()
	for k := range g.ends {
		var err error
		if k < len(errs) {
			err = errs[k]
		} else {
			err = fmt.Errorf("%w: the stream answered for too few records", ErrAmbiguous)
		}
		v := classify(err)
		l.count(v)
		progress = progress || v == stored
		retry = retry || v == throttled || v == ambiguous
		done, again = l.sort(g.record(k), v, err, done, again)
	}
	l.putBack(again)
	l.free++
	if progress {
		l.strikes = 0
	}
	if retry {
		l.strikes++
	}
	if retry && !l.paused {
		l.paused, pause = true, l.pause()
	}
	done = append(done, l.dispatch()...)
	l.mu.Unlock()
	l.release(done)
	return pause
}

// leave ends the leg, once its lane has rested.
func (g *leg) leave(pause time.Duration) {
	if pause == 0 {
		g.lane.gate.leave(&g.visit)
		return
	}
	go func() {
		defer g.lane.gate.leave(&g.visit)
		g.lane.rest(pause)
	}()
}

// sort appends the items of one record to those that are done or to those that have to fly again. l.mu is held.
func (l *lane) sort(items []*item, v verdict, err error, done, again []*item) (_, _ []*item) {
	var certain, doubtful error // outcomes of those that are done
	if v != stored {
		certain, doubtful = fmt.Errorf("%w: %w", ErrNotDurable, err), unknown(err)
	}
	for _, it := range items {
		it.doubtful = it.doubtful || v == ambiguous || v == open
		switch {
		case v == stored:
			it.settle(nil)
		case (v == throttled || v == ambiguous) && !it.abandoned:
			it.state, it.reason = queued, err
			again = append(again, it)
			continue
		case it.doubtful: // an earlier attempt may have landed, whatever this one says
			it.settle(doubtful)
		default:
			it.settle(certain)
		}
		done = append(done, it)
	}
	return done, again
}

func (l *lane) count(v verdict) {
	switch v {
	case stored:
		l.counters.records.Add(1)
	case throttled:
		l.counters.throttled.Add(1)
	case ambiguous, open:
		l.counters.ambiguous.Add(1)
	case refused:
		l.counters.failed.Add(1)
	}
}

// unknown wraps a cause in ErrUnknownOutcome.
func unknown(cause error) error { return fmt.Errorf("%w: %w", ErrUnknownOutcome, cause) }
