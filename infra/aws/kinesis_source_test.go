package aws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"penstock/consumer"
)

// fill puts n records of some bytes.
func (st *stub) fill(shard, n, bytes int) {
	for range n {
		st.put(shard, make([]byte, bytes))
	}
}

// drain reads from the place to the tip, or the end, and returns the pages that held something and the last one.
func drain(t *testing.T, s *Source, shard, after string, maxBytes int) (pages []consumer.Page, last consumer.Page) {
	t.Helper()
	t.Helper()
	for {
		p, err := s.Read(t.Context(), shard, after, maxBytes)
		if err != nil {
			t.Errorf("Read(%s, %q): %v", shard, after, err)
			return pages, p
		}
		if n := len(p.Records); n > 0 {
			after = p.Records[n-1].Sequence
			pages = append(pages, p)
		}
		if p.End || !p.AsOf.IsZero() {
			return pages, p
		}
	}
}

func countRecords(pages []consumer.Page) (n int) {
	for _, p := range pages {
		n += len(p.Records)
	}
	return n
}

// Who reads in sequence opens a shard once.
func TestReadInSequence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		st.fill(0, 100, 100<<10)
		s := NewSource(st.client(), stubStream)
		pages, _ := drain(t, s, shardName(0), "", 1<<20)
		if countRecords(pages) != 100 {
			t.Errorf("%d records", countRecords(pages))
		}
		if n := st.count("GetShardIterator"); n != 1 {
			t.Errorf("%d iterators for %d pages", n, len(pages))
		}
		if n := st.count("GetRecords"); n > len(pages)+1 {
			t.Errorf("%d calls for %d pages", n, len(pages))
		}
	})
}

// A page is cut to what was asked for, of whatever size the answers are; what they hold beyond waits in memory, which stays
// near that.
func TestReadPieces(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ records, size, maxBytes, most int }{
		"records of 1 byte":            {5000, 1, 1000, 2 << 20},
		"small ones, small pages":      {20_000, 1000, 100_000, 2 << 20},
		"small ones, large pages":      {40_000, 1000, 4 << 20, 5 << 20},
		"the largest, alone":           {20, 1 << 20, 1, 10 << 20},
		"the largest, in pages":        {40, 1 << 20, 4 << 20, 10 << 20},
		"one call's most, by one byte": {20_000, 1000, 1, 2 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newStub(1)
				st.fill(0, test.records, test.size)
				pages, last := drain(t, NewSource(st.client(), stubStream), shardName(0), "", test.maxBytes)
				if countRecords(pages) != test.records || last.End {
					t.Errorf("%d records, want %d", countRecords(pages), test.records)
				}
				for i, p := range pages {
					if n := len(p.Records); n > 1 && n*test.size > test.maxBytes {
						t.Fatalf("page %d has %d bytes", i, n*test.size)
					}
				}
				if got := st.shards[0].largest; got > test.most {
					t.Errorf("an answer had %d bytes", got)
				}
				if st.shards[0].refused > 0 {
					t.Errorf("%d calls were refused", st.shards[0].refused)
				}
			})
		})
	}
}

// Large records behind a few small ones don't come by the hundred.
func TestReadLargeBehindSmall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		st.fill(0, 10, 1000)
		st.fill(0, 50, 1<<20)
		pages, _ := drain(t, NewSource(st.client(), stubStream), shardName(0), "", 1<<20)
		if countRecords(pages) != 60 || st.shards[0].largest > 4<<20 {
			t.Errorf("%d records, an answer had %d bytes", countRecords(pages), st.shards[0].largest)
		}
	})
}

// An iterator that is too old is replaced, and reading goes on where it was: nothing twice, nothing left out.
func TestReadAfterIteratorExpired(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]time.Duration{
		"by the source's reckoning": 6 * time.Minute,
		"by the server's":           0,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newStub(1)
				first, second := st.put(0, []byte("a")), st.put(0, []byte("b"))
				s := NewSource(st.client(), stubStream)
				p, err := s.Read(t.Context(), shardName(0), "", 1)
				if err != nil || len(p.Records) != 1 || p.Records[0].Sequence != first {
					t.Fatalf("%+v, %v", p, err)
				}
				drain(t, s, shardName(0), first, 1)
				st.put(0, []byte("c"))
				expired := false
				if wait == 0 {
					st.answer = func(_ context.Context, op string, _ map[string]any) (int, any, bool) {
						if op != "GetRecords" || expired {
							return 0, nil, false
						}
						expired = true
						return 400, failure("ExpiredIteratorException", "Iterator expired."), true
					}
				}
				if err := pause(t.Context(), wait); err != nil {
					t.Fatal(err)
				}
				pages, _ := drain(t, s, shardName(0), second, 1)
				if len(pages) != 1 || string(pages[0].Records[0].Data) != "c" || st.count("GetShardIterator") != 2 {
					t.Errorf("%+v by %d iterators", pages, st.count("GetShardIterator"))
				}
				for _, r := range s.shards {
					if len(r.cursors) > maxCursors {
						t.Errorf("%d cursors are kept", len(r.cursors))
					}
				}
			})
		})
	}
}

// What is left behind does not stay in memory.
func TestSourceForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(2)
		st.fill(0, 20, 10)
		s := NewSource(st.client(), stubStream)
		for i := range 5 { // as readers that start again somewhere else
			if _, err := s.Read(t.Context(), shardName(0), sequenceOf(i*2), 1); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.shards[shardName(0)].cursors); n != maxCursors {
			t.Errorf("%d cursors are kept", n)
		}
		if err := pause(t.Context(), 2*iteratorLife); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(t.Context(), shardName(1), "", 1); err != nil {
			t.Fatal(err)
		}
		if s.shards[shardName(0)] != nil || len(s.shards) != 1 {
			t.Errorf("%v is kept", s.shards)
		}
	})
}

// Reading goes on only where it stopped. That it can't is an error, never a gap.
func TestReadTrimmed(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*stub, *stubShard){
		"records behind it are gone":  func(_ *stub, sh *stubShard) { sh.trimmed = 7 },
		"it alone is gone":            func(_ *stub, sh *stubShard) { sh.trimmed = 5 },
		"all are gone":                func(_ *stub, sh *stubShard) { sh.trimmed = 10 },
		"all are gone, and it closed": func(_ *stub, sh *stubShard) { sh.trimmed, sh.closed = 10, true },
		// harlow/kinesis-consumer 125: nothing comes, and the distance to the tip stays.
		"nothing comes, 7 days behind": func(_ *stub, sh *stubShard) { sh.empties, sh.behind = -1, 168*time.Hour },
		"nothing comes, a day behind":  func(st *stub, sh *stubShard) { st.hours, sh.empties, sh.behind = 24, -1, 24*time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newStub(1)
				st.fill(0, 10, 10)
				spoil(st, st.shards[0])
				p, err := NewSource(st.client(), stubStream).Read(t.Context(), shardName(0), sequenceOf(4), 100)
				if !errors.Is(err, consumer.ErrTrimmed) || len(p.Records) > 0 {
					t.Errorf("%+v, %v", p, err)
				}
			})
		})
	}
}

// A place that does not come, for another reason than its age, is an error in the end.
func TestReadPlaceNeverComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		st.fill(0, 10, 10)
		st.shards[0].empties, st.shards[0].behind = -1, 36*time.Hour
		s := NewSource(st.client(), stubStream)
		began := time.Now()
		for {
			p, err := s.Read(t.Context(), shardName(0), sequenceOf(4), 100)
			if err == nil && len(p.Records) == 0 && p.AsOf.IsZero() && time.Since(began) < 2*proofPatience {
				continue
			}
			if err == nil || errors.Is(err, consumer.ErrTrimmed) || time.Since(began) < proofPatience {
				t.Errorf("%+v, %v after %s", p, err, time.Since(began))
			}
			return
		}
	})
}

// Empty answers on the way to the tip are passed within the call, as long as that may take.
func TestReadThroughEmptyAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		st.fill(0, 1, 10)
		st.shards[0].empties, st.shards[0].behind = 1, time.Hour
		s := NewSource(st.client(), stubStream)
		if p, err := s.Read(t.Context(), shardName(0), "", 100); err != nil || len(p.Records) != 1 {
			t.Errorf("behind one: %+v, %v", p, err)
		}
		st.shards[0].empties = 10
		began := time.Now()
		p, err := s.Read(t.Context(), shardName(0), "", 100)
		if err != nil || len(p.Records) != 0 || !p.AsOf.IsZero() || time.Since(began) > maxWait {
			t.Errorf("among ten: %+v, %v after %s", p, err, time.Since(began))
		}
		if pages, _ := drain(t, s, shardName(0), "", 100); countRecords(pages) != 1 {
			t.Errorf("behind ten: %v", pages)
		}
	})
}

// A page's time is the server's, whatever our clock says, and nothing that came too late for the page is older.
func TestAsOf(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
		for _, late := range []time.Duration{0, 3 * time.Second} {
			t.Run(fmt.Sprintf("clock %s, answer %s late", ahead, late), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					st := newStub(1)
					st.clock, st.late = ahead, late
					st.fill(0, 3, 1000)
					s := NewSource(st.client(), stubStream)
					looked := time.Now()
					if late > 0 {
						go func() {
							if pause(t.Context(), late/3) == nil {
								st.put(0, []byte("while the answer is on its way"))
							}
						}()
					}
					p, err := s.Read(t.Context(), shardName(0), "", 1<<20)
					if err != nil || len(p.Records) != 3 {
						t.Fatalf("%d records, %v", len(p.Records), err)
					}
					if late == 0 {
						st.put(0, []byte("as soon as it is here"))
					}
					synctest.Wait()
					if missed := st.shards[0].records[3].arrived; p.AsOf.IsZero() || missed.Before(p.AsOf) {
						t.Errorf("as of %s, and one arrived at %s", p.AsOf, missed)
					}
					if behind := looked.Add(ahead).Sub(p.AsOf); behind < asOfMargin || behind > asOfMargin+time.Second {
						t.Errorf("as of %s, %s before it was read", p.AsOf, behind)
					}
				})
			})
		}
	}
}

// Since when everything is kept is told by the server's clock, with every page, as of when its records were fetched, and for the
// shortest retention that a stream can have had.
func TestKept(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, 1000 * time.Hour, -1000 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			st := newStub(1)
			st.clock, st.hours = ahead, 8760
			st.fill(0, 2, 1000)
			s := NewSource(st.client(), stubStream)
			want := time.Now().Add(ahead - 24*time.Hour + keptMargin)
			after := ""
			for page := range 2 {
				p, err := s.Read(t.Context(), shardName(0), after, 1)
				if err != nil || len(p.Records) != 1 || p.Kept.Sub(want).Abs() > time.Second {
					t.Errorf("clock %s: page %d: all of %d records since %s, %v, want %s", ahead, page, len(p.Records), p.Kept, err, want)
					return
				}
				after = p.Records[0].Sequence
				if err := pause(t.Context(), time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			want = time.Now().Add(ahead - 24*time.Hour + keptMargin)
			if p, err := s.Read(t.Context(), shardName(0), after, 1); err != nil || p.Kept.Sub(want).Abs() > 2*time.Second {
				t.Errorf("clock %s: at the tip: all since %s, %v, want %s", ahead, p.Kept, err, want)
			}
		})
	}
}

// Only what reaches the tip has a time: neither a piece of an answer, nor an answer of as many records as were asked for, nor
// one that lies behind.
func TestAsOfOnlyAtTheTip(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		st.fill(0, 3, 1000)
		s := NewSource(st.client(), stubStream)
		for i := range 3 {
			p, err := s.Read(t.Context(), shardName(0), map[bool]string{true: sequenceOf(i - 1)}[i > 0], 1)
			if err != nil || len(p.Records) != 1 || p.AsOf.IsZero() != (i < 2) {
				t.Errorf("piece %d: %+v, %v", i, p, err)
			}
		}
		// In one moment: less than a millisecond behind is nothing behind.
		st = newStub(1)
		st.fill(0, 100, 1000)
		pages, _ := drain(t, NewSource(st.client(), stubStream), shardName(0), "", 1<<20)
		if countRecords(pages) != 100 || len(pages) < 2 {
			t.Errorf("%d records in %d pages", countRecords(pages), len(pages))
		}
		for i, p := range pages[:max(len(pages)-1, 0)] {
			if !p.AsOf.IsZero() {
				t.Errorf("page %d of %d has %d records and a time", i, len(pages), len(p.Records))
			}
		}
	})
}

// At the tip a Read takes a second, by two calls, and tells the time. A record ends it.
func TestReadWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		s := NewSource(st.client(), stubStream)
		for range 3 {
			began := time.Now()
			p, err := s.Read(t.Context(), shardName(0), "", 100)
			if took := time.Since(began); err != nil || len(p.Records) > 0 || p.AsOf.IsZero() || took != maxWait {
				t.Errorf("%+v, %v after %s", p, err, took)
			}
		}
		if n := st.count("GetRecords"); n != 6 {
			t.Errorf("%d calls in 3 s", n)
		}
		began := time.Now()
		time.AfterFunc(300*time.Millisecond, func() { st.put(0, []byte("wake up")) })
		if p, err := s.Read(t.Context(), shardName(0), "", 100); err != nil || len(p.Records) != 1 || time.Since(began) > callEvery {
			t.Errorf("%+v, %v after %s", p, err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := s.Read(ctx, shardName(0), sequenceOf(0), 100); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// Two fleets and the archive read one shard at its tip without ever being refused, and two that catch up are refused only so
// often that both have come through in the time that the shard's 2 MB/s need, and a half more.
func TestReadersShareAShard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		s, other, archive := NewSource(st.client(), stubStream), NewSource(st.client(), stubStream), NewSource(st.client(), stubStream)
		go func() {
			for pause(t.Context(), time.Second) == nil { // as Firehose does
				c := &cursor{shard: shardName(0)}
				if c.open(t.Context(), archive.reading, stubStream) == nil {
					_, _, _ = c.fetch(t.Context(), archive.reading, 1) // it counts, whatever it gives
				}
			}
		}()
		for began := time.Now(); time.Since(began) < time.Minute; {
			for _, reader := range []*Source{s, other} {
				go reader.Read(t.Context(), shardName(0), "", 1<<20) //nolint:errcheck // of an empty shard
			}
			if err := pause(t.Context(), maxWait); err != nil {
				t.Fatal(err)
			}
		}
		st.shard(0, func(sh *stubShard) {
			if sh.refused > 0 {
				t.Errorf("%d calls were refused at the tip", sh.refused)
			}
		})
		const megabytes = 60
		st.fill(0, megabytes*10, 100_000)
		began := time.Now()
		var read [2]atomic.Int64
		done := make(chan int, 2)
		for i, reader := range []*Source{s, other} {
			go func() {
				defer func() { done <- i }()
				for after := ""; read[i].Load() < megabytes*10; {
					p, err := reader.Read(t.Context(), shardName(0), after, 1<<20)
					if err != nil {
						t.Error(err)
						return
					}
					if n := len(p.Records); n > 0 {
						after = p.Records[n-1].Sequence
						read[i].Add(int64(n))
					}
				}
			}()
		}
		first := <-done
		if n := read[1-first].Load(); n == 0 {
			t.Error("when one reader had all, the other had nothing")
		}
		<-done
		if took := time.Since(began); took > megabytes*1500*time.Millisecond {
			t.Errorf("two readers of %d MB took %s", megabytes, took)
		}
	})
}

// What Kinesis refuses or does not answer is asked again, with growing pauses; meanwhile pages are empty and timeless. That it
// goes on for too long is an error. Any other answer is one at once.
func TestReadTroubles(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		op        string
		status    int
		body      any
		transient bool
	}{
		"throttled":               {"GetRecords", 400, failure("ProvisionedThroughputExceededException", ""), true},
		"throttled when opened":   {"GetShardIterator", 400, failure("ProvisionedThroughputExceededException", ""), true},
		"KMS throttled":           {"GetRecords", 400, failure("KMSThrottlingException", ""), true},
		"internal":                {"GetRecords", 500, failure("InternalFailure", ""), true},
		"no answer":               {"GetRecords", 0, nil, true},
		"unavailable when opened": {"GetShardIterator", 503, "<html>", true},
		"denied":                  {"GetRecords", 400, failure("AccessDeniedException", ""), false},
		"expired":                 {"GetRecords", 400, failure("ExpiredTokenException", ""), false},
		"KMS disabled":            {"GetRecords", 400, failure("KMSDisabledException", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := newStub(1)
				st.answer = answering(test.op, test.status, test.body)
				st.fill(0, 1, 10)
				s := NewSource(st.client(), stubStream)
				began := time.Now()
				var p consumer.Page
				var err error
				for err == nil && time.Since(began) < 2*patience {
					p, err = s.Read(t.Context(), shardName(0), "", 100)
					if len(p.Records) > 0 || !p.AsOf.IsZero() || p.End {
						t.Fatalf("%+v", p)
					}
				}
				took := time.Since(began)
				if err == nil || test.transient != (took >= patience) || took > patience+longestRefusal {
					t.Errorf("%v after %s", err, took)
				}
				if n := st.count(test.op); n > 120 {
					t.Errorf("%d calls in %s", n, took)
				}
				st.answer = nil
				if pages, _ := drain(t, s, shardName(0), "", 100); countRecords(pages) != 1 {
					t.Errorf("it does not recover: %v", pages)
				}
			})
		})
	}
}

// A closed shard is read to its end, from wherever and in whatever pieces; the end comes with its last record, or alone.
func TestReadToTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(2)
		st.fill(0, 10, 1000)
		st.shards[0].closed, st.shards[1].closed = true, true
		for _, maxBytes := range []int{1, 3000, 1 << 20} {
			pages, last := drain(t, NewSource(st.client(), stubStream), shardName(0), "", maxBytes)
			if countRecords(pages) != 10 || !last.End || len(last.Records) == 0 {
				t.Errorf("by %d bytes: %d records, last page %+v", maxBytes, countRecords(pages), last)
			}
			for _, p := range pages[:max(len(pages)-1, 0)] {
				if p.End {
					t.Errorf("by %d bytes: the end comes too soon", maxBytes)
				}
			}
		}
		s := NewSource(st.client(), stubStream)
		for range 2 {
			if p, err := s.Read(t.Context(), shardName(0), sequenceOf(9), 1); err != nil || !p.End || len(p.Records) > 0 {
				t.Errorf("at the end: %+v, %v", p, err)
			}
		}
		if p, err := s.Read(t.Context(), shardName(1), "", 1); err != nil || !p.End || len(p.Records) > 0 {
			t.Errorf("one that never had any: %+v, %v", p, err)
		}
	})
}

// A place of another stream, and a shard that is not there, are told apart from what was trimmed.
func TestReadWrongPlace(t *testing.T) {
	t.Parallel()
	st := newStub(1)
	s := NewSource(st.client(), stubStream)
	_, err := s.Read(t.Context(), shardName(0), "123", 1)
	if errors.Is(err, consumer.ErrTrimmed) {
		t.Error(err)
	}
	mustContain(t, err, "123", shardName(0), "made anew")
	if _, err := s.Read(t.Context(), shardName(7), "", 1); !errors.Is(err, consumer.ErrNotFound) {
		t.Error(err)
	}
}

// A page is the reader's own, and the rest of its answer not touched by it.
func TestPagesShareNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := newStub(1)
		for i := range 4 {
			st.put(0, bytes.Repeat([]byte{byte('a' + i)}, 10))
		}
		s := NewSource(st.client(), stubStream)
		after := ""
		for i := range 4 {
			p, err := s.Read(t.Context(), shardName(0), after, 1)
			if err != nil || len(p.Records) != 1 || p.Records[0].Data[0] != byte('a'+i) {
				t.Fatalf("page %d: %+v, %v", i, p, err)
			}
			after = p.Records[0].Sequence
			clear(p.Records[0].Data[:cap(p.Records[0].Data)])
			_ = append(p.Records, consumer.Record{})
		}
	})
}
