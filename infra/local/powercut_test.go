package local

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"penstock/consumer"
	"penstock/ingest"
	"penstock/schemas"
)

// promises are what has been acked so far: a power cut at any later moment must leave all of it.
type promises struct {
	records map[string]string // sequence in shard → data, for each that was put
	items   map[string][]byte // event id → encoded
	applied map[string]string // sequence in shard → id of its event, from before it was given to the index
	at      map[string]consumer.Checkpoint
	claims  map[string]ingest.Claim
	letters []consumer.DeadLetter
	pointer string
	safe    uint64 // no record from here on may be missing in the first shard
}

func (p *promises) clone() promises {
	c := *p
	c.records, c.items, c.at = maps.Clone(p.records), maps.Clone(p.items), maps.Clone(p.at)
	c.claims, c.letters, c.applied = maps.Clone(p.claims), slices.Clone(p.letters), maps.Clone(p.applied)
	return c
}

// cut is a disk as a power cut left it, with what had been promised by then.
type cut struct {
	step     string
	disk     *vfs.MemFS
	promises promises
}

// cutter cuts the power before every operation on the file system, each time on a copy.
type cutter struct {
	disk *vfs.MemFS
	rng  *rand.Rand
	// percent of unsynced blocks and directory entries that survive, any of them without those before it. Only while
	// the store is open: its opening counts on what journaling file systems do, that of two new names in a directory the
	// older one does not vanish alone (Pebble names a manifest before it syncs the manifest's own entry).
	percent int

	mu       sync.Mutex
	open     bool
	promises promises
	cuts     []cut
	every    int // takes every n-th operation
	count    int
}

func newCutter(seed uint64, percent, every int) *cutter {
	return &cutter{
		disk: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 1)), percent: percent, every: every,
		promises: promises{
			records: map[string]string{}, items: map[string][]byte{}, at: map[string]consumer.Checkpoint{},
			claims: map[string]ingest.Claim{}, applied: map[string]string{},
		},
	}
}

func (c *cutter) fs() vfs.FS {
	return errorfs.Wrap(c.disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			c.cut(fmt.Sprintf("before %d of %s", op.Kind, op.Path))
		}
		return nil
	}))
}

func (c *cutter) cut(step string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count++; c.count%c.every != 0 {
		return
	}
	// The promises first: what is promised while the copy is made need not be in it.
	promised := c.promises.clone()
	cfg := vfs.CrashCloneCfg{}
	if c.percent > 0 && c.open {
		cfg = vfs.CrashCloneCfg{UnsyncedDataPercent: c.percent, RNG: c.rng}
	}
	c.cuts = append(c.cuts, cut{step: step, disk: c.disk.CrashClone(cfg), promises: promised})
}

func (c *cutter) promise(f func(*promises)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.promises)
}

func (c *cutter) setOpen(open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = open
}

func TestPowerCutAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{0, 30, 80} {
		t.Run(fmt.Sprintf("%d percent survive", percent), func(t *testing.T) {
			t.Parallel()
			c := newCutter(uint64(percent), percent, 1)
			runScenario(t, c)
			c.cut("at the end")
			t.Logf("%d power cuts", len(c.cuts))
			if len(c.cuts) < 100 {
				t.Errorf("only %d power cuts: the file system is not watched", len(c.cuts))
			}
			for _, cut := range c.cuts {
				checkCut(t, cut)
			}
		})
	}
}

func event(t testing.TB, n int) (schemas.Event, []byte) {
	t.Helper()
	now := time.Date(2026, 4, 1, 0, 0, n, 0, time.UTC)
	e, err := schemas.NewEvent(schemas.NewID(now), now, &schemas.Attributes{}, fmt.Appendf(nil, "%0*d", 1+n*300, 0))
	if err != nil {
		t.Fatal(err)
	}
	return e, schemas.AppendEvent(nil, &e)
}

// runScenario writes everything that the store can hold, step by step, and opens it once more in between.
func runScenario(t *testing.T, c *cutter) {
	cfg := testConfig(c.fs())
	cfg.Shards, cfg.Retention = 2, time.Nanosecond
	for round := range 2 {
		s := mustOpen(t, cfg)
		c.setOpen(true)
		for i := range 6 {
			step(t, c, s, round*6+i)
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		c.setOpen(false)
		mustClose(t, s)
	}
}

func step(t *testing.T, c *cutter, s *Store, n int) {
	t.Helper()
	ctx := t.Context()
	first := s.stream.shards[0]
	e, encoded := event(t, n)
	mustPut(t, s, recordIn(s, 0, string(encoded)), recordIn(s, 1, "beside"))
	sequence := formatSequence(first.view(&s.clock).tip)
	c.promise(func(p *promises) { p.records[sequence] = string(encoded) })

	to := consumer.Checkpoint{Position: schemas.Position{Sequence: sequence}, AsOf: e.ReceivedTime}
	entry := consumer.Entry{Event: e, Encoded: encoded}
	c.promise(func(p *promises) { p.applied[sequence] = e.ID })
	if err := s.index.Apply(ctx, first.id, []consumer.Entry{entry}, to); err != nil {
		t.Fatal(err)
	}

	claim, _, err := s.claims.Claim(ctx, sequence, ingest.Claim{ID: e.ID, ReceivedTime: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	c.promise(func(p *promises) { p.claims[sequence] = claim })

	letter := consumer.DeadLetter{Sink: "lake", Shard: first.id, Position: to.Position, Raw: encoded, Arrived: time.Now()}
	if err := s.deadLetters.Put(ctx, letter); err != nil {
		t.Fatal(err)
	}
	c.promise(func(p *promises) { p.letters = append(p.letters, letter) })

	old, err := s.pointer.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := s.pointer.Swap(ctx, old, "metadata "+sequence); !ok || err != nil {
		t.Fatalf("Swap: %v, %v", ok, err)
	}
	c.promise(func(p *promises) { p.pointer = "metadata " + sequence })

	// What is trimmed is promised away before, so that a cut in between may have it or not.
	if n%3 == 2 {
		c.promise(func(p *promises) { p.safe = first.view(&s.clock).tip })
		if _, err := s.stream.Trim(ctx, map[string]string{first.id: sequence}); err != nil {
			t.Fatal(err)
		}
		// The index has no log; what the stream has no more it must have.
		c.promise(func(p *promises) { p.items[e.ID], p.at[first.id] = encoded, to })
	}
}

// checkCut starts the store on what the power cut left.
func checkCut(t *testing.T, c cut) {
	t.Helper()
	ctx := context.Background()
	cfg := testConfig(c.disk)
	cfg.Shards = 2
	s, err := Open(ctx, cfg)
	if err != nil {
		t.Errorf("%s: Open: %v", c.step, err)
		return
	}
	defer mustClose(t, s)
	first := s.stream.shards[0]
	checkRecords(t, c, s)
	for id, want := range c.promises.items {
		if e, err := s.index.Get(ctx, id); err != nil || string(schemas.AppendEvent(nil, &e)) != string(want) {
			t.Errorf("%s: event %s: %v", c.step, id, err)
		}
	}
	at, err := s.index.Checkpoint(ctx, first.id)
	if err != nil || at.Position.Compare(c.promises.at[first.id].Position) < 0 {
		t.Errorf("%s: checkpoint %+v, %v; want at least %+v", c.step, at, err, c.promises.at[first.id])
	}
	for sequence, id := range c.promises.applied {
		if (schemas.Position{Sequence: sequence}).Compare(at.Position) > 0 {
			continue
		}
		if _, err := s.index.Get(ctx, id); err != nil {
			t.Errorf("%s: the checkpoint is at %s, past %s, but event %s: %v", c.step, at.Position, sequence, id, err)
		}
	}
	v := first.view(&s.clock)
	tip := schemas.Position{Sequence: formatSequence(v.tip)}
	if at.Position.Compare(tip) > 0 {
		t.Errorf("%s: the index is at %s, ahead of the stream at %s", c.step, at.Position, tip)
	}
	if v.horizon > 0 && (schemas.Position{Sequence: formatSequence(v.horizon)}).Compare(at.Position) > 0 {
		t.Errorf("%s: trimmed up to %d, but the index is at %s", c.step, v.horizon, at.Position)
	}
	for key, want := range c.promises.claims {
		if got, fresh, err := s.claims.Claim(ctx, key, ingest.Claim{ReceivedTime: time.Now()}); fresh || got.ID != want.ID {
			t.Errorf("%s: claim %s: %+v, %v, %v", c.step, key, got, fresh, err)
		}
	}
	for _, want := range c.promises.letters {
		if _, err := s.deadLetters.Get(ctx, want.Sink, want.Shard, want.Position); err != nil {
			t.Errorf("%s: %v", c.step, err)
		}
	}
	// The pointer may also be the one that was being swapped in.
	if p, err := s.pointer.Load(ctx); err != nil || p < c.promises.pointer && len(p) <= len(c.promises.pointer) {
		t.Errorf("%s: pointer %q, %v; want %q or the next", c.step, p, err, c.promises.pointer)
	}
	for _, err := range s.stream.Put(ctx, []ingest.Record{recordIn(s, 0, "goes on"), recordIn(s, 1, "goes on")}) {
		if err != nil {
			t.Errorf("%s: Put after the restart: %v", c.step, err)
		}
	}
}

func checkRecords(t *testing.T, c cut, s *Store) {
	t.Helper()
	got := make(map[string]string)
	for _, r := range readAll(t, s, 0) {
		got[r.Sequence] = string(r.Data)
	}
	for sequence, want := range c.promises.records {
		n, err := parseSequence(sequence)
		if err != nil {
			t.Fatal(err)
		}
		data, ok := got[sequence]
		if !ok && n >= c.promises.safe {
			t.Errorf("%s: record %s is lost", c.step, sequence)
		}
		if ok && data != want {
			t.Errorf("%s: record %s holds other data", c.step, sequence)
		}
		if tip := s.stream.shards[0].view(&s.clock).tip; tip < n {
			t.Errorf("%s: the next number would be %d, but %s is taken", c.step, tip+1, sequence)
		}
	}
}

// A new data directory opens again wherever its making was cut off, whatever of it survives.
func TestPowerCutOfNewDirectory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		c := newCutter(seed, 50, 1)
		c.setOpen(true)
		lock, err := openDataDir(c.fs(), testDir)
		if err != nil {
			t.Fatal(err)
		}
		c.cut("at the end")
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
		for _, cut := range c.cuts {
			lock, err := openDataDir(cut.disk, testDir)
			if err != nil {
				t.Errorf("seed %d, %s: %v", seed, cut.step, err)
				continue
			}
			if err := lock.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The same with many writers and a reader at the tip that indexes what it sees: whenever the power goes, the index is
// not ahead of the stream, and all that was acked is there.
func TestPowerCutUnderLoad(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{0, 50} {
		t.Run(fmt.Sprintf("%d percent survive", percent), func(t *testing.T) {
			t.Parallel()
			c := newCutter(uint64(percent), percent, 5)
			cfg := testConfig(c.fs())
			cfg.Shards = 2
			s := mustOpen(t, cfg)
			c.setOpen(true)
			const writers, each = 8, 20
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						data := fmt.Sprintf("%d/%d", w, i)
						mustPut(t, s, recordIn(s, 0, data))
						c.promise(func(p *promises) { p.items[data] = nil })
					}
				})
			}
			wg.Go(func() { indexTail(t, s, writers*each) })
			wg.Wait()
			c.setOpen(false)
			mustClose(t, s)
			t.Logf("%d power cuts", len(c.cuts))
			for _, cut := range c.cuts {
				checkLoadCut(t, cut)
			}
		})
	}
}

func indexTail(t *testing.T, s *Store, want int) {
	id, after := s.stream.shards[0].id, ""
	for seen := 0; seen < want; {
		p, err := s.stream.Source().Read(t.Context(), id, after, 1<<20)
		if err != nil {
			t.Error(err)
			return
		}
		if seen += len(p.Records); len(p.Records) == 0 {
			continue
		}
		after = p.Records[len(p.Records)-1].Sequence
		to := consumer.Checkpoint{Position: schemas.Position{Sequence: after}, AsOf: p.AsOf}
		if err := s.index.Apply(t.Context(), id, nil, to); err != nil {
			t.Error(err)
			return
		}
	}
}

func checkLoadCut(t *testing.T, c cut) {
	t.Helper()
	cfg := testConfig(c.disk)
	cfg.Shards = 2
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Errorf("%s: Open: %v", c.step, err)
		return
	}
	defer mustClose(t, s)
	got := make(map[string]int)
	for _, r := range readAll(t, s, 0) {
		got[string(r.Data)]++
	}
	for data := range c.promises.items {
		if got[data] != 1 {
			t.Errorf("%s: acked record %s is there %d times", c.step, data, got[data])
		}
	}
	sh := s.stream.shards[0]
	at, err := s.index.Checkpoint(context.Background(), sh.id)
	if err != nil {
		t.Errorf("%s: checkpoint: %v", c.step, err)
	}
	if tip := (schemas.Position{Sequence: formatSequence(sh.view(&s.clock).tip)}); at.Position.Compare(tip) > 0 {
		t.Errorf("%s: the index is at %s, ahead of the stream at %s", c.step, at.Position, tip)
	}
}

// What the stream gives again the index may lose with its checkpoint; what it doesn't, such as the event of a dead letter that
// was requeued, is durable at once.
func TestPowerCutOfIndex(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	s := openTest(t, testConfig(mem))
	shard := s.stream.shards[0].id
	at := consumer.Checkpoint{Position: schemas.Position{Sequence: "7"}}
	streamed, encoded := event(t, 1)
	if err := s.index.Apply(t.Context(), shard, []consumer.Entry{{Event: streamed, Encoded: encoded}}, at); err != nil {
		t.Fatal(err)
	}
	early := mem.CrashClone(vfs.CrashCloneCfg{})
	requeued, encoded := event(t, 2)
	if err := s.index.Apply(t.Context(), shard, []consumer.Entry{{Event: requeued, Encoded: encoded}}, consumer.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	late := mem.CrashClone(vfs.CrashCloneCfg{})
	for _, cut := range []struct {
		disk vfs.FS
		at   schemas.Position
		has  []bool
	}{{early, schemas.Position{}, []bool{false, false}}, {late, at.Position, []bool{true, true}}} {
		s := openTest(t, testConfig(cut.disk))
		has, err := s.index.has([]string{streamed.ID, requeued.ID})
		if err != nil || !slices.Equal(has, cut.has) {
			t.Errorf("has %v, %v; want %v", has, err, cut.has)
		}
		if got, err := s.index.Checkpoint(t.Context(), shard); err != nil || got.Position != cut.at {
			t.Errorf("checkpoint %+v, %v; want %v", got, err, cut.at)
		}
	}
}
