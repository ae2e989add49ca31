package aws

import (
	"context"
	"math/rand/v2"
	"time"

	"penstock/schemas"
)

// A shard takes 5 GetRecords a second and gives 2 MB a second, to all of its readers together
// (https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html). They are the two fleets, and the archive:
// Firehose makes one call a second. So a fleet has 2 calls a second, at the tip as well as behind it, where more would be of no
// use: calls are made as large as the bytes allow. Of those a fleet that catches up takes what it can get. But it rests after an
// answer for longer than the bytes need, by up to a half: otherwise its every call would come in the moment in which the shard
// has something to give again, and the other fleet's never.
const (
	callEvery      = 500 * time.Millisecond
	bytesPerSecond = 2_000_000
	// fetchBytes is how much is fetched at once when a page is to be smaller: two calls a second then are all that a shard gives.
	fetchBytes = 1 << 20
	// firstRecordSize is taken for a record's size before one was read: that of a full aggregate.
	firstRecordSize = schemas.MaxAggregateBytes
	// maxLimit is the most records of one call.
	maxLimit = 10_000
	// firstRefusal and longestRefusal bound the pause after a call that was throttled or got no answer. It doubles, and is
	// never the same for two.
	firstRefusal   = 250 * time.Millisecond
	longestRefusal = time.Second
	// patience is for how long calls may fail before a reader hears of it. What is retried sooner costs a sink nothing, while
	// an error makes it forget what it has read and not committed.
	patience = time.Minute
)

// pace spaces the calls on one shard, and suits their size to its records. The zero value is ready.
type pace struct {
	next       time.Time // no call before
	recordSize int       // in bytes, of the records to come
	refusals   int       // in a row
	failing    time.Time // since when there has been no answer; zero: there is
}

// book takes the next call's time, if that is before until; zero stands for never. Otherwise ok is false and there is nothing
// to do before until.
func (p *pace) book(until time.Time) (at time.Time, ok bool) {
	at = time.Now()
	if p.next.After(at) {
		at = p.next
	}
	if !until.IsZero() && !at.Before(until) {
		return until, false
	}
	p.next = at.Add(callEvery)
	return at, true
}

// size is what a record is taken to have.
func (p *pace) size() int {
	if p.recordSize == 0 {
		return firstRecordSize
	}
	return p.recordSize
}

// limit is for how many records to ask, so that they come near that many bytes.
func (p *pace) limit(bytes int) int32 {
	return int32(min(max(bytes/p.size(), 1), maxLimit))
}

// answered takes note of an answer. Larger records count at once, smaller ones only half: a few small records before large
// ones must not fetch much more than was meant. GetRecords itself stops at 10 MiB.
func (p *pace) answered(records, bytes int) {
	p.refusals, p.failing = 0, time.Time{}
	if records == 0 {
		return
	}
	p.recordSize = max(bytes/records, p.size()/2, 1)
	seconds := float64(bytes) / bytesPerSecond * (1 + rand.Float64()/2)
	if paid := time.Now().Add(time.Duration(seconds * float64(time.Second))); paid.After(p.next) {
		p.next = paid
	}
}

// refused takes note of a call that was throttled or got no answer, and reports whether that has gone on for too long.
func (p *pace) refused() (tooLong bool) {
	now := time.Now()
	if p.failing.IsZero() {
		p.failing = now
	}
	wait := min(firstRefusal<<min(p.refusals, 8), longestRefusal)
	p.refusals++
	p.next = now.Add(wait/2 + rand.N(wait/2))
	return now.Sub(p.failing) >= patience
}

// waitUntil waits until the time has come, or ctx ends.
func waitUntil(ctx context.Context, at time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return pause(ctx, time.Until(at))
}
