package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"penstock/schemas"
)

const (
	// maxFlightBytes is the limit of one PutRecords call, partition keys included
	// (https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html). Its other limit, 500 records, is out
	// of reach: of two records in a row, the first is full, or both together hold more than MaxAggregateBytes.
	maxFlightBytes = 10 << 20
	// putTimeout is a flight's own deadline. It is longer than any request waits, so that a client that gives up does
	// not make the fate of everybody else's events in the flight unknown.
	putTimeout = 5 * time.Second
	// recordKey is every record's partition key. It decides nothing, since the explicit hash key goes before it.
	recordKey = "p"
	// subrecordOverhead bounds what the aggregated format adds to one event: tag and length of the sub-record (1+4), its
	// two key indexes (2+2), tag and length of its data (1+4), with room.
	subrecordOverhead = 16
)

// flight is what one call of Put carries: the items of each record, in order.
type flight struct {
	visit visit
	items []*item
	ends  []int // ends[k] is the index in items behind the last one of record k
}

// record gives the items of record k.
func (f *flight) record(k int) []*item {
	if k == 0 {
		return f.items[:f.ends[0]]
	}
	return f.items[f.ends[k-1]:f.ends[k]]
}

// load takes from the front of the queue what fits one call, cut into records in order: events are gathered up to
// schemas.MaxAggregateEvents and MaxAggregateBytes, and a larger one goes alone. l.mu is held, and the queue not empty.
func (l *lane) load() *flight {
	f := &flight{visit: visit{since: l.queue.first.group.received}}
	record, events, total := 0, 0, 0 // bytes and events of the open record, bytes of all
	for it := l.queue.first; it != nil; it = l.queue.first {
		size := len(it.encoded) + subrecordOverhead
		if events == schemas.MaxAggregateEvents || events > 0 && record+size > schemas.MaxAggregateBytes {
			f.ends = append(f.ends, len(f.items))
			record, events = 0, 0
		}
		if events == 0 {
			record = l.overhead + len(recordKey)
			size += record
		}
		if len(f.items) > 0 && total+size > maxFlightBytes {
			break
		}
		record, events, total = record+size, events+1, total+size
		if received := it.group.received; received.Before(f.visit.since) {
			f.visit.since = received
		}
		l.queue.remove(it)
		it.state = flying
		f.items = append(f.items, it)
	}
	if events > 0 {
		f.ends = append(f.ends, len(f.items))
	}
	return f
}

// fly sends one flight and lands it.
func (l *lane) fly(f *flight) {
	defer l.gate.leave(&f.visit)
	ctx, cancel := context.WithTimeout(l.ctx, putTimeout)
	defer cancel()
	errs := l.stream.Put(ctx, l.pack(f))
	l.counters.puts.Add(1)
	if pause := l.land(f, errs); pause > 0 {
		l.rest(pause)
	}
}

// pack makes the records of a flight, in one piece of memory that is the flight's own.
func (l *lane) pack(f *flight) []Record {
	size := 0
	for _, it := range f.items {
		size += len(it.encoded) + subrecordOverhead
	}
	buffer := make([]byte, 0, size+len(f.ends)*l.overhead)
	records := make([]Record, len(f.ends))
	events := make([][]byte, 0, min(len(f.items), schemas.MaxAggregateEvents))
	for k := range records {
		events = events[:0]
		for _, it := range f.record(k) {
			events = append(events, it.encoded)
		}
		start := len(buffer)
		buffer = schemas.AppendAggregate(buffer, recordKey, l.hashKey, events)
		records[k] = Record{
			PartitionKey: recordKey,
			HashKey:      l.hashKey,
			Data:         buffer[start:len(buffer):len(buffer)],
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

// land gives every item of the flight its outcome or its place in the queue, frees the slot, lets the next flights go,
// and only then wakes the waiters. It returns for how long the calling goroutine has to keep the lane paused.
func (l *lane) land(f *flight, errs []error) (pause time.Duration) {
	done := make([]*item, 0, len(f.items))
	var again []*item
	progress, retry := false, false
	l.mu.Lock()
	for k := range f.ends {
		var err error
		if k < len(errs) {
			err = errs[k]
		} else {
			err = fmt.Errorf("%w: the stream answered for %d of %d records", ErrAmbiguous, len(errs), len(f.ends))
		}
		v := classify(err)
		l.count(v)
		progress = progress || v == stored
		retry = retry || v == throttled || v == ambiguous
		done, again = l.sort(f.record(k), v, err, done, again)
	}
	l.queue.putBack(again)
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
