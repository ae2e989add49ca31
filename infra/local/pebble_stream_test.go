package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

func TestHashRanges(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 7, maxShards} {
		ranges := hashRanges(n)
		st := &Stream{}
		for i, r := range ranges {
			st.shards = append(st.shards, &shard{number: i, hash: r})
		}
		for i, r := range ranges {
			if a, b := st.shardOf(r.first), st.shardOf(r.last); a.number != i || b.number != i {
				t.Errorf("%d shards: ends of range %d are in shards %d and %d", n, i, a.number, b.number)
			}
		}
		if ranges[0].first != (schemas.HashKey{}) || ranges[n-1].last != schemas.MaxHashKey {
			t.Errorf("%d shards: ranges from %s to %s", n, ranges[0].first, ranges[n-1].last)
		}
	}
}

// numbered is a record that a tailing reader can check: who wrote it and its how many-th it is.
func numbered(k schemas.HashKey, writer, n int) ingest.Record {
	data := binary.BigEndian.AppendUint32(nil, uint32(writer))
	return ingest.Record{PartitionKey: "p", HashKey: k, Data: binary.BigEndian.AppendUint32(data, uint32(n))}
}

// tail reads a shard until it has seen want records of each writer, and checks that each writer's come in order, once.
func tail(t *testing.T, s *Store, shard, writers, want int) {
	source, id := s.stream.Source(), s.stream.shards[shard].id
	next := make([]int, writers)
	var asOf time.Time
	after := ""
	for seen := 0; seen < writers*want; {
		p, err := source.Read(t.Context(), id, after, 4<<10)
		if err != nil {
			t.Errorf("tailing %s: %v", id, err)
			return
		}
		for _, r := range p.Records {
			w, n := binary.BigEndian.Uint32(r.Data), int(binary.BigEndian.Uint32(r.Data[4:]))
			if n != next[w] {
				t.Errorf("%s at %s: record %d of writer %d, want %d", id, r.Sequence, n, w, next[w])
				return
			}
			if r.Arrived.Before(asOf) {
				t.Errorf("%s at %s: arrived %s, but the shard was complete as of %s", id, r.Sequence, r.Arrived, asOf)
				return
			}
			next[w]++
			seen++
			after = r.Sequence
		}
		if !p.AsOf.IsZero() {
			asOf = p.AsOf
		}
	}
}

func TestTailingReaders(t *testing.T) {
	t.Parallel()
	const writers, each, shards = 24, 60, 4
	s := memStore(t)
	var wg sync.WaitGroup
	for shard := range shards {
		for range 2 {
			wg.Go(func() { tail(t, s, shard, writers, each) })
		}
	}
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				records := make([]ingest.Record, shards)
				for i := range records {
					records[i] = numbered(keyIn(s, (w+i)%shards), w, n)
				}
				for _, err := range s.stream.Put(t.Context(), records) {
					if err != nil {
						t.Errorf("Put: %v", err)
						return
					}
				}
				// What is acked is at or before the tips.
				tips, err := s.stream.Tips(t.Context())
				if err != nil || len(tips) != shards {
					t.Errorf("Tips() = %v, %v", tips, err)
				}
			}
		})
	}
	wg.Wait()
	for _, st := range s.stream.Stats() {
		if st.Records != writers*each || st.Oldest != "1" || st.Newest != fmt.Sprint(writers*each) {
			t.Errorf("stats %+v", st)
		}
	}
}

// A reader at the tip wakes at once, not at its timeout: in virtual time no time passes.
func TestReaderWakesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, testConfig(vfs.NewMem()))
		defer mustClose(t, s)
		source, id := s.stream.Source(), s.stream.shards[0].id
		for after := uint64(0); after < 20; after++ {
			woken := make(chan time.Duration, 1)
			go func() {
				start := time.Now()
				p, err := source.Read(t.Context(), id, formatSequence(after), 1<<20)
				if err != nil || len(p.Records) != 1 {
					t.Errorf("page %v, %v", p, err)
				}
				woken <- time.Since(start)
			}()
			synctest.Wait() // it waits at the tip
			mustPut(t, s, recordIn(s, 0, "x"))
			if took := <-woken; took != 0 {
				t.Errorf("the reader woke after %s", took)
			}
		}
		start := time.Now()
		p, err := source.Read(t.Context(), id, "20", 1<<20)
		if err != nil || len(p.Records) != 0 || time.Since(start) != maxWait || !p.AsOf.Equal(time.Now()) {
			t.Errorf("page %v, %v after %s; want an empty one as of now after %s", p, err, time.Since(start), maxWait)
		}
	})
}

// A reader sees a record only after its sync, AsOf does not pass it before, and a Put that gave up says "open".
func TestUnsyncedIsInvisible(t *testing.T) {
	t.Parallel()
	f := faults{hung: make(chan struct{}, 1)}
	s := openTest(t, testConfig(f.wrap(vfs.NewMem())))
	mustPut(t, s, recordIn(s, 0, "before"))
	indexed := consumer.Checkpoint{Position: schemas.Position{Sequence: "1"}}
	known, encoded := event(t, 0)
	entries := []consumer.Entry{{Event: known, Encoded: encoded}}
	if err := s.index.Apply(t.Context(), s.stream.shards[0].id, entries, indexed); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	f.set(isLogSync, nil, release)

	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.stream.Put(ctx, []ingest.Record{recordIn(s, 0, "slow")})[0] }()
	<-f.hung
	started := s.clock.read()

	if got := readAll(t, s, 0); len(got) != 1 {
		t.Errorf("%d records are visible before the sync, want 1", len(got))
	}
	p, err := s.stream.Source().Read(t.Context(), s.stream.shards[0].id, "", 1<<20)
	if err != nil || len(p.Records) != 1 || p.AsOf.UnixNano() >= started {
		t.Errorf("page %v, %v: AsOf must lie before the write under way began, %s", p, err, timeOf(started))
	}
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := s.ledger.Stored(short, []string{"x"}); !errors.Is(err, ingest.ErrUnsettled) {
		t.Errorf("Ledger during a write: %v, want ErrUnsettled", err)
	}
	if got, err := s.ledger.Stored(t.Context(), []string{known.ID}); err != nil || !got[0] {
		t.Errorf("Ledger during a write, of what is in the index: %v, %v", got, err)
	}
	cancel()
	if err := <-result; !errors.Is(err, ingest.ErrOpen) {
		t.Errorf("Put that gave up: %v, want ErrOpen", err)
	}

	f.set(nil, nil, nil)
	close(release)
	p, err = s.stream.Source().Read(t.Context(), s.stream.shards[0].id, "1", 1<<20)
	for err == nil && len(p.Records) == 0 {
		p, err = s.stream.Source().Read(t.Context(), s.stream.shards[0].id, "1", 1<<20)
	}
	if err != nil || string(p.Records[0].Data) != "slow" {
		t.Errorf("after the sync: %v, %v", p, err)
	}
}

// lateContext ends in the moment in which a write is settled: the write of a Put alone, whose number is next.
type lateContext struct {
	context.Context
	stream  *Stream
	next    uint64
	settled <-chan struct{}
}

func (c *lateContext) Done() <-chan struct{} {
	c.stream.mu.Lock()
	for w := range c.stream.writes {
		c.settled = w.settled
	}
	c.stream.mu.Unlock()
	sh := c.stream.shards[0]
	sh.mu.Lock()
	begun := sh.next > c.next
	sh.mu.Unlock()
	if !begun {
		return nil
	}
	<-c.settled
	return c.settled
}

// A Put whose record is published in the moment in which its context ends says so.
func TestPutSettledAtItsDeadline(t *testing.T) {
	t.Parallel()
	s := memStore(t)
	for i := range 20 { // of two cases that are ready select takes any
		ctx := &lateContext{Context: t.Context(), stream: s.stream, next: uint64(i + 1)}
		if err := s.stream.Put(ctx, []ingest.Record{recordIn(s, 0, "x")})[0]; err != nil {
			t.Fatalf("Put %d: %v", i, err)
		}
	}
}

// A write that the disk holds up beyond the flight's deadline lands once: its event is not sent again.
func TestFrozenDiskMakesNoDouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := faults{hung: make(chan struct{}, 1)}
		cfg := testConfig(f.wrap(vfs.NewMem()))
		cfg.Shards = 1
		s := mustOpen(t, cfg)
		defer mustClose(t, s)
		budget := ingest.NewBudget(1 << 20)
		in, err := ingest.New(t.Context(), ingest.Config{Slots: 1, Calls: 64, LaneBytes: 10 << 20, Large: 1, Now: time.Now}, s.stream, nil, s.claims, s.ledger, budget)
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		f.set(isLogSync, nil, release)
		// The client waits on, as one does whose deadline was frozen too.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		_, _, err = in.Accept(ctx, ingest.Submission{Body: []byte("1"), Hold: budget.Hold()}, "")
		if !errors.Is(err, ingest.ErrUnknownOutcome) || time.Since(begun) >= time.Minute {
			t.Errorf("after %v: %v, want ErrUnknownOutcome", time.Since(begun), err)
		}
		f.set(nil, nil, nil)
		close(release)
		if err := in.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := readAll(t, s, 0); len(got) != 1 {
			t.Errorf("%d records, want the one that landed late", len(got))
		}
	})
}

// Writes become visible in the order of their numbers, whichever is durable first.
func TestPublishInOrder(t *testing.T) {
	t.Parallel()
	s := memStore(t)
	sh := s.stream.shards[0]
	records := []ingest.Record{recordIn(s, 0, "x")}
	first, second := s.stream.begin(), s.stream.begin()
	for _, w := range []*write{first, second} {
		w.unpublished.Store(1)
		w.spans = []*span{sh.take(&s.clock, w, records, []int{0})}
	}
	s.stream.publish(second)
	select {
	case <-second.settled:
		t.Error("the second write is settled before the first")
	default:
	}
	if v := sh.view(&s.clock); v.tip != 0 || v.asOf != first.spans[0].arrived {
		t.Errorf("view %+v while the first write is under way", v)
	}
	s.stream.publish(first)
	<-first.settled
	<-second.settled
	if v := sh.view(&s.clock); v.tip != 2 || len(s.stream.writes) != 0 {
		t.Errorf("view %+v with %d writes open", v, len(s.stream.writes))
	}
}

func TestPutBackpressure(t *testing.T) {
	t.Parallel()
	f := faults{hung: make(chan struct{}, 1)}
	s := openTest(t, testConfig(f.wrap(vfs.NewMem())))
	release := make(chan struct{})
	f.set(isLogSync, nil, release)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	big := recordIn(s, 0, string(make([]byte, 1<<20-1)))
	for range cap(errs) {
		wg.Go(func() { errs <- s.stream.Put(ctx, []ingest.Record{big})[0] })
	}
	<-f.hung
	cancel()
	wg.Wait()
	close(errs)
	throttled, open := 0, 0
	for err := range errs {
		switch {
		case errors.Is(err, ingest.ErrThrottled):
			throttled++
		case errors.Is(err, ingest.ErrOpen):
			open++
		default:
			t.Errorf("Put: %v", err)
		}
	}
	if open > maxFlying>>20 || throttled < cap(errs)-maxFlying>>20 {
		t.Errorf("%d writes went on their way and %d did not, want at most %d MiB of writes", open, throttled, maxFlying>>20)
	}
	f.set(nil, nil, nil)
	close(release)
}

func TestReadRefusesPositions(t *testing.T) {
	t.Parallel()
	s := memStore(t)
	mustPut(t, s, recordIn(s, 0, "x"))
	for _, after := range []string{"2", "-1", "+1", "01", "x", "99999999999999999999999"} {
		if p, err := s.stream.Source().Read(t.Context(), s.stream.shards[0].id, after, 1); err == nil {
			t.Errorf("Read after %q = %v", after, p)
		}
	}
}

// The stream's clock does not go back, also over a restart, though the machine's does.
func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	cfg := testConfig(vfs.NewMem())
	cfg.Now = clock.Now
	s := mustOpen(t, cfg)
	mustPut(t, s, recordIn(s, 0, "a"))
	clock.Advance(-time.Hour)
	mustPut(t, s, recordIn(s, 0, "b"))
	mustClose(t, s)
	clock.Advance(-time.Hour)
	s = openTest(t, cfg)
	mustPut(t, s, recordIn(s, 0, "c"))
	records := readAll(t, s, 0)
	for i := 1; i < len(records); i++ {
		if records[i].Arrived.Before(records[i-1].Arrived) {
			t.Errorf("record %d arrived at %s, before %s", i, records[i].Arrived, records[i-1].Arrived)
		}
	}
	if len(records) != 3 {
		t.Errorf("%d records", len(records))
	}
}

func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			cfg := testConfig(vfs.Default)
			cfg.Dir = b.TempDir()
			s := openTest(b, cfg)
			record := recordIn(s, 0, string(make([]byte, 1<<10)))
			work := make(chan struct{})
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					r := record
					r.HashKey = keyIn(s, w%len(s.stream.shards))
					for range work {
						if err := s.stream.Put(context.Background(), []ingest.Record{r})[0]; err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.SetBytes(1 << 10)
			b.ReportAllocs()
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
		})
	}
}
