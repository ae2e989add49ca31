package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"penstock/consumer"
	"penstock/ingest"
)

const (
	// maxWait is how long a Read waits at the tip.
	maxWait = time.Second
	// maxCursors are kept of a shard: one reader's, and one that a reader has left behind, or a second reader's.
	maxCursors = 2
)

// Source is a Kinesis data stream as consumers read it. It remembers where a reader stopped, so that one that goes on there
// makes one GetRecords a page.
type Source struct {
	client  *kinesis.Client
	reading *kinesis.Client // never repeats a request: a repeated one counts against the shard's limits
	name    string

	mu     sync.Mutex
	shards map[string]*reads
	sweep  time.Time // when to look for what is left behind
}

var _ consumer.Source = (*Source)(nil)

// reads is what a Source knows of its readers of one shard.
type reads struct {
	pace    pace
	used    time.Time
	cursors []*cursor // that nobody uses now, the oldest first
}

// NewSource makes the reading side of the stream of that name. It talks to nobody yet.
func NewSource(client *kinesis.Client, name string) *Source {
	return &Source{client: client, reading: withoutRetries(client), name: name, shards: map[string]*reads{}}
}

// Shards implements consumer.Source. A parent that is not listed any more is one of which every record is gone.
func (s *Source) Shards(ctx context.Context) ([]consumer.Shard, error) {
	listed, err := listShards(ctx, s.client, s.name)
	if err != nil {
		return nil, err
	}
	shards := make([]consumer.Shard, len(listed))
	for i, l := range listed {
		shards[i] = consumer.Shard{ID: sdk.ToString(l.ShardId), Closed: isClosed(l)}
		for _, parent := range []*string{l.ParentShardId, l.AdjacentParentShardId} {
			if p := sdk.ToString(parent); p != "" {
				shards[i].Parents = append(shards[i].Parents, p)
			}
		}
	}
	return shards, nil
}

// Read implements consumer.Source. It asks a shard twice a second at most, see callEvery.
//
// It returns consumer.ErrTrimmed also when the record `after` itself is gone and nothing behind it: Kinesis can't tell the two
// apart. An unknown shard, or stream, is consumer.ErrNotFound.
//
// While Kinesis throttles or does not answer, pages are empty and without a time, for up to a minute; then it is an error.
//
// In memory are, for every shard, the records of one GetRecords: about maxBytes or 1 MiB, whichever is more, and never more
// than 10 MiB; three times that for the moment in which an answer is decoded.
func (s *Source) Read(ctx context.Context, shard, after string, maxBytes int) (consumer.Page, error) {
	until := time.Now().Add(maxWait)
	c := s.take(shard, after)
	defer s.keep(c)
	for len(c.rest) == 0 && !c.end {
		if inTime, err := s.turn(ctx, shard, until); err != nil {
			return consumer.Page{}, fmt.Errorf("read shard %s: %w", shard, err)
		} else if !inTime {
			break
		}
		if err := s.step(ctx, c, max(maxBytes, fetchBytes)); err != nil {
			return consumer.Page{}, err
		}
	}
	return c.page(maxBytes), nil
}

// turn waits for the shard's next call, but not beyond until, which it then reports with false. Zero is never.
func (s *Source) turn(ctx context.Context, shard string, until time.Time) (inTime bool, err error) {
	s.mu.Lock()
	at, inTime := s.of(shard).pace.book(until)
	s.mu.Unlock()
	return inTime, waitUntil(ctx, at)
}

// step makes one GetRecords, for about so many bytes. After one that is worth another try it returns nil, and the cursor has no
// records.
func (s *Source) step(ctx context.Context, c *cursor, bytes int) error {
	s.mu.Lock()
	limit := s.of(c.shard).pace.limit(bytes)
	s.mu.Unlock()
	var records, size int
	var err error
	if c.iterator == nil {
		err = c.open(ctx, s.reading, s.name)
	}
	if err == nil {
		records, size, err = c.fetch(ctx, s.reading, limit)
	}
	if err == nil {
		err = c.checkOverdue(ctx, s.client, s.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.of(c.shard).pace
	switch {
	case err == nil:
		p.answered(records, size)
		return nil
	case ctx.Err() != nil:
		return err
	case hasCode(err, "ExpiredIteratorException"):
		c.reset()
		return nil
	case isWorthAnotherTry(err) && !p.refused():
		return nil
	default:
		c.reset()
		return err
	}
}

// isWorthAnotherTry reports whether a read was throttled or got no answer. A read changes nothing, so its fate is no question.
func isWorthAnotherTry(err error) bool {
	class := outcome(err)
	return errors.Is(class, ingest.ErrThrottled) || errors.Is(class, ingest.ErrAmbiguous)
}

// of is what is known of the shard. s.mu is held.
func (s *Source) of(shard string) *reads {
	r := s.shards[shard]
	if r == nil {
		r = &reads{}
		s.shards[shard] = r
	}
	r.used = time.Now()
	return r
}

// take gives the cursor that stands behind the record, or a new one.
func (s *Source) take(shard, after string) *cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	r := s.of(shard)
	i := slices.IndexFunc(r.cursors, func(c *cursor) bool { return c.after == after })
	if i < 0 {
		return &cursor{shard: shard, after: after}
	}
	c := r.cursors[i]
	r.cursors = slices.Delete(r.cursors, i, i+1)
	return c
}

// keep puts a cursor where a reader that goes on finds it.
func (s *Source) keep(c *cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.of(c.shard)
	c.idle = time.Now()
	r.cursors = append(r.cursors, c)
	if len(r.cursors) > maxCursors {
		r.cursors = slices.Delete(r.cursors, 0, 1)
	}
}

// forget drops, once a minute, the cursors whose iterators can't be used any more, with the records that they hold, and shards
// that nobody reads. s.mu is held.
func (s *Source) forget() {
	now := time.Now()
	if now.Before(s.sweep) {
		return
	}
	s.sweep = now.Add(time.Minute)
	for shard, r := range s.shards {
		r.cursors = slices.DeleteFunc(r.cursors, func(c *cursor) bool { return now.Sub(c.idle) > iteratorLife })
		if now.Sub(r.used) > iteratorLife {
			delete(s.shards, shard)
		}
	}
}
