package consumer

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

// TestBytesAreBounded: one aggregated record stands for far more bytes than may be held, and the lake is slow.
func TestBytesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		for _, shard := range []string{"a", "b"} {
			var events [][]byte
			for range 60 {
				events = append(events, w.stored(20_000))
			}
			w.send(shard, events...)
		}
		cfg := testLake()
		w.lake.delay = func() time.Duration { return 3 * time.Second }
		p := w.startWith("one", cfg)
		defer p.shutdown()
		most := int64(0)
		eventually(t, 20*time.Minute, "everything in the lake", func() bool {
			most = max(most, p.lakeSink.Stats().BufferedBytes)
			return w.complete()
		})
		w.verify()
		if most > cfg.MaxBytes || most < cfg.MaxBytes/2 {
			t.Errorf("up to %d bytes were held, the bound is %d", most, cfg.MaxBytes)
		}
		if s := p.lakeSink.Stats(); s.BufferedBytes != 0 || s.BufferedRows != 0 {
			t.Errorf("when idle %+v", s)
		}
		if most := w.bodies.mostOpen(); most > cfg.Fetches {
			t.Errorf("%d bodies were open at once, the bound is %d", most, cfg.Fetches)
		}
		offsets, err := w.lake.Offsets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for key, c := range offsets {
			if key != "a" && key != "b" {
				t.Errorf("left behind: %s %v", key, c)
			}
		}
	})
}

// TestRestartInsideRecord: the offset stands inside an aggregated record when the process goes; the rest of it is not
// skipped, and nothing of it comes twice.
func TestRestartInsideRecord(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "a")
			before := fromOldest
			if !first {
				before = w.send("a", w.inline())
			}
			var events [][]byte
			for range 60 {
				events = append(events, w.stored(20_000))
			}
			sequence := w.send("a", events...)
			w.send("a", w.inline())
			w.lake.delay = func() time.Duration { return time.Second }
			restarts := 0
			for ; !w.complete() && restarts < 100; restarts++ {
				p := w.start("one")
				elapse(1500 * time.Millisecond)
				p.shutdown()
				if inside := w.lake.offset(beforePrefix + "a"); !inside.Position.IsZero() {
					if got := inside.Position.Sequence; got != before {
						t.Fatalf("to be read again after %s, want %s", got, before)
					}
					safe, err := NewWatermarks(w.stream, w.index, w.lake).SafeToTrim(t.Context())
					if err != nil || compareSequences(safe["a"], sequence) >= 0 {
						t.Fatalf("safe to trim: %v, %v; the lake does not have all of record %s", safe, err, sequence)
					}
				}
			}
			if restarts < 4 {
				t.Fatalf("%d restarts, want several inside the record", restarts)
			}
			w.verify()
		})
	}
}

// TestStartFarBeforeRecord: the record before is not the last one before; what lies between is passed over.
func TestStartFarBeforeRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		page := bytes.Repeat([]byte{' '}, 5_000) // of garbage
		w.stream.put("a", page)
		w.stream.put("a", page)
		w.inline()
		done := w.inline()
		w.ids = nil // what the lake has already
		events := [][]byte{done}
		for range 20 {
			events = append(events, w.stored(20_000))
		}
		sequence := w.send("a", events...)
		w.lake.offsets["a"] = Checkpoint{Position: schemas.Position{Sequence: sequence}}
		w.lake.offsets[beforePrefix+"a"] = Checkpoint{Position: schemas.Position{Sequence: fromOldest}}
		w.lake.delay = func() time.Duration { return time.Second }
		restarts := 0
		for ; !w.complete() && restarts < 100; restarts++ {
			p := w.start("one")
			elapse(1500 * time.Millisecond)
			p.shutdown()
		}
		w.verify()
		if restarts < 2 {
			t.Errorf("%d restarts, want some inside the record", restarts)
		}
		if len(w.letters.of(LakeSinkName)) != 0 {
			t.Error("what lies before the record was taken once more")
		}
	})
}

// TestRecordTrimmedInside: if the rest of a record is gone, the shard stops.
func TestRecordTrimmedInside(t *testing.T) {
	t.Parallel()
	for _, more := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "a")
			gone := w.send("a", w.inline(), w.inline())
			if more {
				w.send("a", w.inline())
			} else {
				w.stream.split("a")
			}
			w.lake.offsets["a"] = Checkpoint{Position: schemas.Position{Sequence: gone}}
			w.lake.offsets[beforePrefix+"a"] = Checkpoint{Position: schemas.Position{Sequence: fromOldest}}
			w.stream.trim("a", gone)
			p := w.start("one")
			defer p.shutdown()
			elapse(time.Minute)
			if s := p.lakeFleet.Stats().Shards[0]; !errors.Is(s.Err, ErrTrimmed) {
				t.Errorf("shard %+v, want ErrTrimmed", s)
			}
			if len(w.lake.snapshot()) > 0 {
				t.Errorf("%d rows after a gap", len(w.lake.snapshot()))
			}
		})
	}
}

// TestRoomIsMadeBelowFlushSize: the next row finds no room although the buffer is not large enough for a flush by size.
func TestRoomIsMadeBelowFlushSize(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.send("a", w.stored(20_000), w.stored(20_000), w.stored(20_000))
		cfg := testLake()
		cfg.MaxBytes, cfg.FlushAge = 40_000, 24*time.Hour
		p := w.startWith("one", cfg)
		eventually(t, time.Minute, "two rows in the lake", func() bool { return len(w.lake.ids()) == 2 })
		p.shutdown()
		w.verify()
	})
}

// TestHiccupDuringFlush: a worker that begins anew while rows of its shard are on their way waits for what becomes of
// them, instead of reading the same once more and being fenced by itself.
func TestHiccupDuringFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.lake.delay = func() time.Duration { return 3 * time.Second }
		p := w.start("one")
		w.send("a", w.inline())
		elapse(6 * time.Second) // the flush by age is on its way
		n := 0
		w.faults.set(func(call string, done bool) error {
			if call == "Open" {
				if n++; n == 1 {
					return errInjected
				}
			}
			return nil
		})
		w.send("a", w.stored(100))
		eventually(t, time.Minute, "both rows in the lake", w.complete)
		p.shutdown()
		w.verify()
		if s := p.lakeSink.Stats(); n < 2 || s.Conflicts != 0 {
			t.Errorf("%d fetches, %d conflicts", n, s.Conflicts)
		}
	})
}

func TestUnusableBodiesAreDeadLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		good := w.stored(2_000)
		missing, short, long, other := w.stored(2_000), w.stored(2_000), w.stored(2_000), w.stored(2_000)
		ref := func(encoded []byte) string {
			e, err := schemas.DecodeEvent(encoded)
			if err != nil {
				t.Fatal(err)
			}
			return e.DataRef
		}
		delete(w.bodies.objects, ref(missing))
		w.bodies.objects[ref(short)] = w.bodies.objects[ref(short)][1:]
		w.bodies.objects[ref(long)] = append(w.bodies.objects[ref(long)], ' ')
		w.bodies.objects[ref(other)] = bytes.Repeat([]byte{'y'}, 2_000)
		_, large := w.event(`{}`, func(e *schemas.Event) {
			e.DataRef, e.Data, e.Size = "s3://uploads/large", nil, schemas.MaxBody+1
		})
		sequence := w.send("a", missing, good, short, long, other, large)
		p := w.start("one")
		defer p.shutdown()
		eventually(t, time.Minute, "the good rows", func() bool { return len(w.lake.ids()) == 2 })
		letters := w.letters.of(LakeSinkName)
		if len(letters) != 4 {
			t.Fatalf("%d letters, want 4", len(letters))
		}
		for i, want := range []struct {
			sub int
			raw []byte
		}{{0, missing}, {2, short}, {3, long}, {4, other}} {
			l := letters[i]
			if l.Position != (schemas.Position{Sequence: sequence, Sub: want.sub}) || !bytes.Equal(l.Raw, want.raw) {
				t.Errorf("letter %d: %s %s", i, l.Position, l.Raw)
			}
		}
		if row := w.lake.snapshot()[1]; row.Body != nil || row.Event.DataRef != "s3://uploads/large" {
			t.Errorf("large upload: body %.20q, ref %s", row.Body, row.Event.DataRef)
		}
		if len(w.letters.of(IndexSinkName)) != 0 {
			t.Error("the index has dead letters")
		}
	})
}

// TestFencedFlush: a peer moves the offset between two flushes of ours.
func TestFencedFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		p := w.start("one")
		elapse(time.Second)
		mine := w.inline()
		event, err := schemas.DecodeEvent(mine)
		if err != nil {
			t.Fatal(err)
		}
		sequence := w.send("a", mine)
		w.send("b", w.inline())
		elapse(time.Second) // in the buffer
		to := Checkpoint{Position: schemas.Position{Sequence: sequence}}
		row := Row{Event: event, Body: event.Data, Landed: time.Now(), Shard: "a", Position: to.Position}
		if err := w.lake.Append(t.Context(), []Row{row}, []Move{{Shard: "a", To: to}}); err != nil {
			t.Fatal(err)
		}
		w.send("a", w.inline())
		eventually(t, time.Minute, "everything in the lake", w.complete)
		p.shutdown()
		w.verify()
		if s := p.lakeSink.Stats(); s.Conflicts == 0 {
			t.Errorf("no conflict was counted: %+v", s)
		}
	})
}

// TestAnswerLost: the commit lands, but its answer is an error.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		n := 0
		w.faults.set(func(call string, done bool) error {
			if call == "Append" && done {
				if n++; n <= 3 {
					return errInjected
				}
			}
			return nil
		})
		p := w.start("one")
		for range 10 {
			w.send("a", w.inline(), w.inline())
			elapse(2 * time.Second)
		}
		eventually(t, time.Minute, "everything in the lake", w.complete)
		p.shutdown()
		w.verify()
	})
}

func TestFlushBySizeAndAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		p := w.start("one")
		defer p.shutdown()
		elapse(time.Second)
		w.send("a", w.inline())
		elapse(4900 * time.Millisecond)
		if w.complete() {
			t.Error("flushed before its age")
		}
		elapse(200 * time.Millisecond)
		if !w.complete() {
			t.Error("not flushed at its age")
		}
		commits := w.lake.commitCount()
		elapse(time.Hour)
		if w.lake.commitCount() != commits {
			t.Errorf("%d commits while idle", w.lake.commitCount()-commits)
		}
		for range 30 {
			w.send("a", w.inline())
		}
		eventually(t, time.Second, "flush by size", func() bool { return w.lake.commitCount() > commits })
	})
}

// TestHungCommitAtShutdown: the last flush has a deadline of its own.
func TestHungCommitAtShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.lake.delay = func() time.Duration { return 24 * time.Hour }
		w.send("a", w.inline())
		p := w.start("one")
		elapse(10 * time.Second) // the flush hangs
		began := time.Now()
		p.shutdown()
		if took := time.Since(began); took > testLake().FinalFlush+time.Second {
			t.Errorf("shutdown took %s", took)
		}
		w.lake.delay = nil
		p = w.start("one")
		eventually(t, time.Minute, "everything in the lake", w.complete)
		p.shutdown()
		w.verify()
	})
}

func TestDeliverOutOfPlaceIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		s := NewLakeSink(testLake(), w.lake, w.bodies, w.letters)
		ctx := t.Context()
		at := func(sequence string) Checkpoint { return Checkpoint{Position: schemas.Position{Sequence: sequence}} }
		if err := s.Deliver(ctx, Batch{Shard: "a", To: at("1")}); !errors.Is(err, ErrRewound) {
			t.Errorf("before Resume: %v", err)
		}
		if _, err := s.Resume(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if err := s.Deliver(ctx, Batch{Shard: "a", To: at("1")}); err != nil {
			t.Errorf("first: %v", err)
		}
		if err := s.Deliver(ctx, Batch{Shard: "a", To: at("2")}); !errors.Is(err, ErrRewound) {
			t.Errorf("from the beginning again: %v", err)
		}
		if err := s.Deliver(ctx, Batch{Shard: "a", From: at("1"), To: at("2")}); err != nil {
			t.Errorf("second: %v", err)
		}
	})
}

// TestResumedTwiceAtOnce: what a worker delivered while another resumed the same shard is forgotten, and its room given
// back.
func TestResumedTwiceAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		lake := &resumedLake{memLake: w.lake}
		s := NewLakeSink(testLake(), lake, w.bodies, w.letters)
		lake.meanwhile = func() {
			if _, err := s.Resume(t.Context(), "a"); err != nil {
				t.Error(err)
			}
			if err := s.Deliver(t.Context(), oneEvent(t, w, "a")); err != nil {
				t.Error(err)
			}
			if s.Stats().BufferedBytes == 0 {
				t.Error("nothing is buffered")
			}
		}
		if _, err := s.Resume(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if n := s.Stats().BufferedBytes; n != 0 || !s.room.TryAcquire(s.cfg.MaxBytes) {
			t.Errorf("%d bytes are never given back", n)
		}
	})
}

// oneEvent is the first batch of a shard.
func oneEvent(t *testing.T, w *world, shard string) Batch {
	t.Helper()
	event, err := schemas.DecodeEvent(w.inline())
	if err != nil {
		t.Fatal(err)
	}
	to := Checkpoint{Position: schemas.Position{Sequence: "1"}}
	return Batch{Shard: shard, To: to, Entries: []Entry{{Shard: shard, Position: to.Position, Event: event}}}
}

// resumedLake does something while its offsets are asked for the first time.
type resumedLake struct {
	*memLake
	meanwhile func()
}

func (l *resumedLake) Offsets(ctx context.Context) (map[string]Checkpoint, error) {
	if do := l.meanwhile; do != nil {
		l.meanwhile = nil
		do()
	}
	return l.memLake.Offsets(ctx)
}

// TestLeaveForgets: rows of a shard that others go on with are not committed any more, but one flush that is on its way is
// waited for.
func TestLeaveForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		w.lake.delay = func() time.Duration { return time.Minute }
		s := NewLakeSink(testLake(), w.lake, w.bodies, w.letters)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		if _, err := s.Resume(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		b := oneEvent(t, w, "a")
		if err := s.Deliver(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		elapse(testLake().FlushAge + time.Second) // the flush is on its way
		beyond := b.To
		beyond.Position.Sequence += "0"
		if err := s.Deliver(t.Context(), Batch{Shard: "a", From: b.To, To: beyond}); err != nil {
			t.Fatal(err)
		}
		s.Leave(t.Context(), "a")
		if c, err := s.Checkpoint(t.Context(), "a"); err != nil || c.Position != b.To.Position {
			t.Errorf("the table is at %+v, %v; want %s: Leave did not wait", c, err, b.To.Position)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if c, err := s.Checkpoint(t.Context(), "a"); err != nil || c.Position != b.To.Position {
			t.Errorf("the table is at %+v, %v; want %s: what came after it was not forgotten", c, err, b.To.Position)
		}
		if n := s.Stats().BufferedBytes; n != 0 {
			t.Errorf("%d bytes are still counted", n)
		}
	})
}
