package consumer

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// memStream is a stream with shards whose sequence numbers go up by ten.
type memStream struct {
	faults *faults
	// keep, if it is not 0, is for how long records are kept. Such a stream is like Kinesis: a record that is gone is no place to
	// go on behind, also if it was the last.
	keep time.Duration

	mu      sync.Mutex
	changed chan struct{}
	shards  []Shard
	records map[string][]Record
	trimmed map[string]string
	last    int
}

func newMemStream(shards ...string) *memStream {
	s := &memStream{changed: make(chan struct{}), records: map[string][]Record{}, trimmed: map[string]string{}}
	for _, id := range shards {
		s.shards = append(s.shards, Shard{ID: id})
	}
	return s
}

func (s *memStream) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

// put appends one record and returns its sequence number.
func (s *memStream) put(shard string, data []byte) (sequence string) {
	s.change(func() {
		s.last += 10
		sequence = strconv.Itoa(s.last)
		s.records[shard] = append(s.records[shard], Record{Sequence: sequence, Arrived: time.Now(), Data: data})
	})
	return sequence
}

// split closes a shard and lists children of it.
func (s *memStream) split(parent string, children ...string) {
	s.change(func() {
		for i := range s.shards {
			if s.shards[i].ID == parent {
				s.shards[i].Closed = true
			}
		}
		for _, c := range children {
			s.shards = append(s.shards, Shard{ID: c, Parents: []string{parent}})
		}
	})
}

// trim forgets all records up to the sequence number.
func (s *memStream) trim(shard, through string) {
	s.change(func() {
		s.trimmed[shard] = through
		s.records[shard] = slices.DeleteFunc(s.records[shard], func(r Record) bool {
			return compareSequences(r.Sequence, through) <= 0
		})
	})
}

func (s *memStream) Shards(context.Context) ([]Shard, error) {
	if err := s.faults.at("Shards", false); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.shards), nil
}

func (s *memStream) Tips(context.Context) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tips := map[string]string{}
	for _, shard := range s.shards {
		tips[shard.ID] = s.trimmed[shard.ID]
		if records := s.records[shard.ID]; len(records) > 0 {
			tips[shard.ID] = records[len(records)-1].Sequence
		}
	}
	return tips, nil
}

func (s *memStream) Read(ctx context.Context, shard, after string, maxBytes int) (Page, error) {
	if err := s.faults.at("Read", false); err != nil {
		return Page{}, err
	}
	moment := time.NewTimer(time.Second)
	defer moment.Stop()
	for last := false; ; {
		s.mu.Lock()
		page, err := s.page(shard, after, maxBytes)
		changed := s.changed
		s.mu.Unlock()
		if err != nil || len(page.Records) > 0 || page.End || last {
			return page, err
		}
		select {
		case <-changed:
		case <-moment.C:
			last = true
		case <-ctx.Done():
			return Page{}, ctx.Err()
		}
	}
}

func (s *memStream) page(shard, after string, maxBytes int) (Page, error) {
	i := slices.IndexFunc(s.shards, func(x Shard) bool { return x.ID == shard })
	if i < 0 {
		return Page{}, fmt.Errorf("shard %s: %w", shard, ErrNotFound)
	}
	var page Page
	if s.keep > 0 {
		page.Kept = time.Now().Add(-s.keep)
		for _, r := range s.records[shard] {
			if r.Arrived.Before(page.Kept) {
				s.trimmed[shard] = r.Sequence
			}
		}
		s.records[shard] = slices.DeleteFunc(s.records[shard], func(r Record) bool { return r.Arrived.Before(page.Kept) })
	}
	if gone := compareSequences(after, s.trimmed[shard]); after != "" && (gone < 0 || s.keep > 0 && gone == 0) {
		return Page{}, ErrTrimmed
	}
	size, tip := 0, true
	for _, r := range s.records[shard] {
		if compareSequences(r.Sequence, after) <= 0 {
			continue
		}
		if size > 0 && size+len(r.Data) > maxBytes {
			tip = false
			break
		}
		size += len(r.Data)
		r.Data = bytes.Clone(r.Data)
		page.Records = append(page.Records, r)
	}
	if tip {
		page.AsOf = time.Now()
		page.End = s.shards[i].Closed
	}
	return page, nil
}

var (
	_ Source = (*memStream)(nil)
	_ Tips   = (*memStream)(nil)
)
