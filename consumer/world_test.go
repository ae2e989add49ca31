package consumer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock/schemas"
)

// tester is what a test and a rapid check have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is everything that outlives a process: the stores. Processes are started on it, and stopped.
type world struct {
	t       tester
	stream  *memStream
	index   *memIndex
	lake    *memLake
	leases  *memLeases
	letters *memLetters
	bodies  *memBodies
	faults  *faults

	mu  sync.Mutex
	ids []string // acked
	n   int
}

func newWorld(t tester, shards ...string) *world {
	w := &world{
		t: t, stream: newMemStream(shards...), index: newMemIndex(), lake: newMemLake(), leases: newMemLeases(),
		letters: &memLetters{}, bodies: newMemBodies(), faults: &faults{},
	}
	w.stream.faults, w.index.faults, w.lake.faults = w.faults, w.faults, w.faults
	w.leases.faults, w.letters.faults, w.bodies.faults = w.faults, w.faults, w.faults
	return w
}

// event makes an encoded event. The bubble's clock starts in 2000, before the first KSUID.
func (w *world) event(body string, change func(*schemas.Event)) (id string, encoded []byte) {
	w.t.Helper()
	now := time.Now().AddDate(26, 0, 0)
	e, err := schemas.NewEvent(schemas.NewID(now), now, &schemas.Attributes{}, []byte(body))
	if err != nil {
		w.t.Fatalf("make event: %v", err)
	}
	if change != nil {
		change(&e)
	}
	return e.ID, schemas.AppendEvent(nil, &e)
}

// inline makes an event with a small body.
func (w *world) inline() []byte {
	w.mu.Lock()
	w.n++
	body := fmt.Sprintf(`{"n":%d}`, w.n)
	w.mu.Unlock()
	id, encoded := w.event(body, nil)
	w.acked(id)
	return encoded
}

// stored makes an event whose body of the given size lies in object storage.
func (w *world) stored(size int) []byte {
	body := `"` + strings.Repeat("x", size-2) + `"`
	id, encoded := w.event(body, func(e *schemas.Event) {
		e.DataRef, e.Data = "s3://bodies/"+e.ID, nil
	})
	w.bodies.mu.Lock()
	w.bodies.objects["s3://bodies/"+id] = []byte(body)
	w.bodies.mu.Unlock()
	w.acked(id)
	return encoded
}

func (w *world) acked(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids = append(w.ids, id)
}

// send puts the events on the shard as one aggregated record.
func (w *world) send(shard string, events ...[]byte) (sequence string) {
	return w.stream.put(shard, schemas.AppendAggregate(nil, "k", schemas.HashKey{}, events))
}

// process is a process with both fleets.
type process struct {
	indexSink  *IndexSink
	lakeSink   *LakeSink
	indexFleet *Fleet
	lakeFleet  *Fleet
	stop       context.CancelFunc
	running    sync.WaitGroup
}

func testLake() LakeConfig {
	return LakeConfig{
		FlushBytes: 32 << 10, MaxBytes: 128 << 10, FlushAge: 5 * time.Second, QueryInterval: 250 * time.Millisecond,
		FinalFlush: 5 * time.Second, Fetches: 4, Log: slog.New(slog.DiscardHandler),
	}
}

const testLife = 9 * time.Second

func (w *world) start(owner string) *process { return w.startWith(owner, testLake()) }

func (w *world) startWith(owner string, lake LakeConfig) *process {
	ctx, stop := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	cfg := FleetConfig{Owner: owner, LeaseLife: testLife, PageBytes: 4 << 10, Busy: never, Log: log}
	p := &process{
		indexSink: NewIndexSink(w.index, w.letters, log),
		lakeSink:  NewLakeSink(lake, w.lake, w.bodies, w.letters),
		stop:      stop,
	}
	p.indexFleet = NewFleet(cfg, w.stream, w.leases, p.indexSink, w.letters)
	cfg.History = w.stream
	p.lakeFleet = NewFleet(cfg, w.stream, w.leases, p.lakeSink, w.letters)
	for _, f := range []*Fleet{p.indexFleet, p.lakeFleet} {
		p.running.Go(func() {
			if err := f.Run(ctx); err != nil {
				w.t.Fatalf("fleet: %v", err)
			}
		})
	}
	return p
}

func (p *process) shutdown() {
	p.stop()
	p.running.Wait()
}

// complete reports whether both sinks hold every acked event that they can hold.
func (w *world) complete() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := w.lake.ids()
	for _, id := range w.ids {
		if ids[id] == 0 || !w.index.has(id) {
			return false
		}
	}
	return true
}

// verify fails unless each acked event is in the index and in the lake exactly once, with its body.
func (w *world) verify() {
	w.t.Helper()
	ids := w.lake.ids()
	for _, id := range w.ids {
		if !w.index.has(id) {
			w.t.Fatalf("event %s is not in the index", id)
		}
		if ids[id] != 1 {
			w.t.Fatalf("event %s is in the lake %d times", id, ids[id])
		}
	}
	if len(ids) != len(w.ids) {
		w.t.Fatalf("lake has %d events, %d were acked", len(ids), len(w.ids))
	}
	w.lake.mu.Lock()
	defer w.lake.mu.Unlock()
	for _, r := range w.lake.rows {
		if sha256.Sum256(r.Body) != r.Event.SHA256 || r.Landed.IsZero() {
			w.t.Fatalf("row of %s has body %.40q, landed %s", r.Event.ID, r.Body, r.Landed)
		}
	}
}

// elapse lets virtual time pass.
func elapse(d time.Duration) { <-time.After(d) }

// eventually waits, on virtual time, until ok.
func eventually(t tester, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); elapse(10 * time.Millisecond) {
		if time.Since(start) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// noDeadline hides the method of testing.T that may not be called in a bubble, and that rapid calls if it is there.
type noDeadline struct{ rapid.TB }

var _ tester = (*testing.T)(nil)
