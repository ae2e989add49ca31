package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/consumer/query"
	"penstock/ingest"
	"penstock/schemas"
)

// stream is an ingest.Stream, and the index of what is on it. Hooks change what it does.
type stream struct {
	mu     sync.Mutex
	events map[string]schemas.Event
	fail   error         // of every record, when set
	gate   chan struct{} // when set a Put waits until it is closed, or its context ends
	hide   bool          // the index sees nothing
	asOf   time.Time     // the watermark
	behind bool          // the index does not catch up
	proofs int           // calls of Stored
	broken error         // of the watermark
}

func newStream() *stream { return &stream{events: make(map[string]schemas.Event)} }

func (f *stream) set(change func(*stream)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *stream) Shards(context.Context) ([]ingest.Shard, error) {
	middle := schemas.MaxHashKey
	middle[0] = 127
	return []ingest.Shard{{ID: "a", Last: middle}, {ID: "b", First: schemas.HashKey{128}, Last: schemas.MaxHashKey}}, nil
}

func (f *stream) Put(ctx context.Context, records []ingest.Record) []error {
	f.mu.Lock()
	gate, fail := f.gate, f.fail
	f.mu.Unlock()
	outcomes := make([]error, len(records))
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			fail = ingest.ErrAmbiguous
		}
	}
	for i, r := range records {
		if outcomes[i] = fail; fail != nil {
			continue
		}
		datas, err := schemas.Deaggregate(r.Data)
		if err != nil {
			outcomes[i] = err
			continue
		}
		for _, data := range datas {
			e, err := schemas.DecodeEvent(bytes.Clone(data))
			if err != nil {
				outcomes[i] = err
				break
			}
			f.set(func(f *stream) { f.events[e.ID] = e })
		}
	}
	return outcomes
}

func (f *stream) Get(_ context.Context, id string) (schemas.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.events[id]
	if !ok || f.hide {
		return e, consumer.ErrNotFound
	}
	return e, nil
}

func (f *stream) Index(context.Context) (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asOf, f.broken
}

func (f *stream) Stored(ctx context.Context, ids []string) ([]bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.proofs++; f.behind {
		<-ctx.Done()
		return nil, ingest.ErrUnsettled
	}
	found := make([]bool, len(ids))
	for i, id := range ids {
		_, found[i] = f.events[id]
	}
	return found, nil
}

func (f *stream) Retry(ctx context.Context, _ string, ids []string) ([]bool, error) {
	return f.Stored(ctx, ids)
}

func (f *stream) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.events)
}

// objects is object storage.
type objects struct {
	mu     sync.Mutex
	bodies map[string][]byte
	closed int
	forget bool // what is put
	fail   error
}

func newObjects() *objects { return &objects{bodies: make(map[string][]byte)} }

func (o *objects) Put(_ context.Context, id string, _ time.Time, body []byte) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ref := "s3://bodies/" + id
	if !o.forget {
		o.bodies[ref] = bytes.Clone(body)
	}
	return ref, o.fail
}

func (o *objects) Open(_ context.Context, ref string) (io.ReadCloser, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	body, ok := o.bodies[ref]
	if !ok {
		return nil, consumer.ErrNotFound
	}
	return &object{Reader: bytes.NewReader(body), owner: o}, nil
}

type object struct {
	*bytes.Reader
	owner *objects
}

func (o *object) Close() error {
	o.owner.mu.Lock()
	defer o.owner.mu.Unlock()
	o.owner.closed++
	return nil
}

// claims are the idempotency keys.
type claims struct {
	mu     sync.Mutex
	claims map[string]ingest.Claim
}

func (c *claims) Claim(_ context.Context, key string, claim ingest.Claim) (ingest.Claim, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if there, ok := c.claims[key]; ok {
		return there, false, nil
	}
	c.claims[key] = claim
	return claim, true, nil
}

func (c *claims) Finish(_ context.Context, key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	claim := c.claims[key]
	claim.Done = true
	c.claims[key] = claim
	return nil
}

// queries is the query service over an engine that tests tell what to do.
type queries struct {
	*query.Service
	engine *engine
}

func newQueries(t testing.TB) *queries {
	q := &queries{engine: &engine{changed: make(chan string, 100)}}
	var err error
	q.Service, err = query.New(query.Config{
		Kept: time.Hour, Poll: time.Second, MaxPoll: time.Second, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}, q.engine, &executions{byID: map[string]query.Execution{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// Wait ends the execution, but for one that is stuck.
func (q *queries) Wait(ctx context.Context, id string) (query.Execution, error) {
	if e, err := q.Get(ctx, id); err == nil && !strings.HasPrefix(e.SQL, "SELECT stuck") {
		q.engine.end(id, query.Succeeded, fakeCSV)
	}
	return q.Service.Wait(ctx, id)
}

// end returns when the service knows it too.
func (q *queries) end(t *testing.T, id string, state query.State, result string) {
	t.Helper()
	q.engine.end(id, state, result)
	if _, err := q.Service.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

const fakeCSV = "\"n\"\n\"1\"\n"

// engine runs nothing: its executions end when a test says so.
type engine struct {
	changed    chan string
	open       atomic.Int64 // results that were not closed
	mu         sync.Mutex
	executions []query.Execution
	results    map[string]string
	busy       bool
}

func (g *engine) Start(_ context.Context, s query.Statement) (query.Execution, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !strings.HasPrefix(s.SQL, "SELECT") {
		return query.Execution{}, fmt.Errorf("%w: only SELECT", query.ErrStatement)
	}
	if g.busy {
		return query.Execution{}, query.ErrBusy
	}
	now := time.Now()
	e := query.Execution{
		ID: fmt.Sprintf("q%d", len(g.executions)), SQL: s.SQL + strings.Join(s.Parameters, ","), State: query.Running, Submitted: now,
		Started: now,
	}
	g.executions = append(g.executions, e)
	return e, nil
}

func (g *engine) set(change func(*engine)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g)
}

func (g *engine) end(id string, state query.State, result string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.executions {
		e := &g.executions[i]
		if e.ID != id || e.State.Finished() {
			continue
		}
		e.State, e.Ended, e.CompleteThrough = state, time.Now(), e.Started
		switch state {
		case query.Failed:
			e.Error = "it did not work"
		case query.Succeeded:
			if g.results == nil {
				g.results = map[string]string{}
			}
			g.results[id] = result
			e.ResultBytes, e.Statistics.Rows = int64(len(result)), int64(strings.Count(result, "\n")-1)
		}
		g.changed <- id
	}
}

func (g *engine) Status(_ context.Context, ids []string) (known []query.Execution, unknown []string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		if i := slices.IndexFunc(g.executions, func(e query.Execution) bool { return e.ID == id }); i >= 0 {
			known = append(known, g.executions[i])
		} else {
			unknown = append(unknown, id)
		}
	}
	return known, unknown, nil
}

func (g *engine) Stop(_ context.Context, id string) error {
	g.end(id, query.Cancelled, "")
	return nil
}

func (g *engine) Open(_ context.Context, id string) (io.ReadCloser, int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	result, ok := g.results[id]
	if !ok {
		return nil, 0, query.ErrNoResult
	}
	g.open.Add(1)
	return &openResult{strings.NewReader(result), sync.OnceFunc(func() { g.open.Add(-1) })}, int64(len(result)), nil
}

type openResult struct {
	io.Reader
	closed func()
}

func (r *openResult) Close() error {
	r.closed()
	return nil
}

func (g *engine) Changed() <-chan string { return g.changed }

// executions are remembered for ever.
type executions struct {
	mu     sync.Mutex
	byID   map[string]query.Execution
	claims map[string]query.Claim
}

func (x *executions) Claim(_ context.Context, key string, c query.Claim, _ time.Duration) (query.Claim, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if held, ok := x.claims[key]; ok {
		return held, nil
	}
	if x.claims == nil {
		x.claims = map[string]query.Claim{}
	}
	x.claims[key] = c
	return c, nil
}

func (x *executions) Release(_ context.Context, key string, c query.Claim) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.claims[key] == c {
		delete(x.claims, key)
	}
	return nil
}

func (x *executions) Add(_ context.Context, e query.Execution, key, token string, _ time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byID[e.ID] = e
	if c := x.claims[key]; key != "" && c.Token == token {
		c.ID = e.ID
		x.claims[key] = c
	}
	return nil
}

func (x *executions) Finish(_ context.Context, e query.Execution) (query.Execution, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byID[e.ID] = e
	return e, nil
}

func (x *executions) Get(_ context.Context, id string) (query.Execution, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.byID[id]
	if !ok {
		return query.Execution{}, query.ErrNotFound
	}
	return e, nil
}

func (x *executions) List(_ context.Context, most int) ([]query.Execution, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := slices.SortedFunc(maps.Values(x.byID), func(a, b query.Execution) int { return b.Submitted.Compare(a.Submitted) })
	return list[:min(most, len(list))], nil
}

type lake struct{}

func (lake) Status(context.Context) (LakeStatus, error) {
	return LakeStatus{
		Table: "penstock.events", SnapshotID: 1 << 62, Snapshots: 2, Committed: time.Now(), Rows: 3, DataFiles: 1, DataBytes: 99,
		Shards: []LakeShard{{Shard: "a", Checkpoint: consumer.Checkpoint{Position: schemas.Position{Sequence: "12", Sub: 3}, AsOf: time.Now()}}},
		Stream: StreamStatus{Bytes: 500, HeldBytes: 10, Slowest: "lake", Sinks: []SinkBacklog{{"index", 0, time.Time{}}, {"lake", 200, time.Now()}}},
		Disk:   DiskStatus{State: 1000, Index: 2000, Free: 3000, Size: 4000},
	}, nil
}

// Stats implements Stats.
func (lake) Stats(context.Context) ServerStats {
	now := time.Now()
	return ServerStats{
		At: now, Since: now.Add(-time.Hour), Ingest: ingest.Stats{Accepted: 7, AcceptedBytes: 700, AckSeconds: []uint64{3, 4}},
		Sinks: []SinkBacklog{{"index", 0, time.Time{}}, {"lake", 200, now.Add(-3 * time.Second)}}, Stream: &StreamSize{500},
		Lake: &LakeSize{3, 1, 99},
	}
}

// eraser takes events off the stream.
type eraser struct {
	stream *stream
	erased sync.Map
}

func (e *eraser) Erased(id string) bool { _, ok := e.erased.Load(id); return ok }

func (e *eraser) Erase(ctx context.Context, id string) (Erasure, error) {
	if _, err := e.stream.Get(ctx, id); err != nil && !e.Erased(id) {
		return Erasure{}, fmt.Errorf("erase: %w", err)
	}
	e.stream.set(func(s *stream) { delete(s.events, id) })
	e.erased.Store(id, true)
	return Erasure{Erased: time.Now(), HeldBy: []Holder{{"stream", time.Now(), "until it is trimmed"}, {"letters", time.Time{}, "x"}}}, nil
}

// upkeep runs a task for as long as nobody waits for it, and fails every sweep.
type upkeep struct {
	mu    sync.Mutex
	tasks map[string]UpkeepTask
}

func (u *upkeep) Start(_ context.Context, task string) (UpkeepTask, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !slices.Contains([]string{"compact", "expire", "orphans"}, task) {
		return UpkeepTask{}, fmt.Errorf("task: %w", consumer.ErrNotFound)
	}
	if u.tasks == nil {
		u.tasks = make(map[string]UpkeepTask)
	}
	u.tasks[task] = UpkeepTask{Task: task}
	return u.tasks[task], nil
}

func (u *upkeep) Wait(ctx context.Context, task string) (UpkeepTask, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	t, ok := u.tasks[task]
	if !ok {
		return t, fmt.Errorf("task: %w", consumer.ErrNotFound)
	}
	if at, _ := ctx.Deadline(); time.Until(at) < 500*time.Millisecond {
		t.Started = time.Now()
		return t, nil
	}
	t.Started, t.Ended, t.Failed = time.Now(), time.Now(), task == "orphans"
	switch task {
	case "compact":
		t.Compacted = &UpkeepCompacted{FilesBefore: 9, FilesAfter: 1, BytesBefore: 90, BytesAfter: 50}
	case "expire":
		t.Expired = &UpkeepExpired{SnapshotsForgotten: 3}
	case "orphans":
		t.Swept = &UpkeepSwept{FilesRemoved: 4, BytesRemoved: 40, FilesKept: 1, BytesKept: 5}
	}
	return t, nil
}

// letters are the dead letters of the sink "lake": three of them, in shard "a".
type letters struct{}

func letterAt(p schemas.Position) consumer.DeadLetter {
	return consumer.DeadLetter{Sink: "lake", Shard: "a", Position: p, Arrived: time.Now(), Reason: "odd", Raw: []byte{0, 255}, Size: 2}
}

func (letters) List(_ context.Context, sink, _ string, after schemas.Position, limit int) (page []consumer.DeadLetter, err error) {
	for i := range 3 {
		if p := (schemas.Position{Sequence: "7", Sub: i}); sink == "lake" && len(page) < limit && p.Compare(after) > 0 {
			page = append(page, letterAt(p))
		}
	}
	return page, nil
}

func (letters) Get(_ context.Context, sink, shard string, p schemas.Position) (consumer.DeadLetter, error) {
	if sink != "lake" || shard != "a" || p.Sequence != "7" {
		return consumer.DeadLetter{}, consumer.ErrNotFound
	}
	return letterAt(p), nil
}

func (l letters) Requeue(ctx context.Context, sink, shard string, p schemas.Position) error {
	switch p.Sub {
	case 0:
		return fmt.Errorf("append: %w", consumer.ErrNotFound) // its body is gone
	case 1:
		return fmt.Errorf("still odd: %w", schemas.ErrCorrupt)
	}
	_, err := l.Get(ctx, sink, shard, p)
	return err
}

// logs sends the server's log to the test's.
type logs struct{ t *testing.T }

func (l logs) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func digest(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
