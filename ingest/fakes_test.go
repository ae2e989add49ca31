package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"penstock/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fate is what the fake stream does with one record.
type fate int

const (
	fateStored fate = iota
	fateThrottled
	fateAmbiguousLost   // not stored, answered as ambiguous
	fateAmbiguousStored // stored, answered as ambiguous
	fateAmbiguousLate   // stored lateAfter after it was answered as ambiguous
	fateOpenLate        // the same, answered as open
	fateFull
	fateRefused
)

const lateAfter = 3 * time.Second

var errRefused = errors.New("access denied")

func (f fate) err() error {
	switch f {
	case fateStored:
		return nil
	case fateThrottled:
		return fmt.Errorf("shard is busy: %w", ErrThrottled)
	case fateFull:
		return fmt.Errorf("disk: %w", ErrStorageFull)
	case fateRefused:
		return errRefused
	case fateOpenLate:
		return fmt.Errorf("deadline: %w", ErrOpen)
	default:
		return fmt.Errorf("connection reset: %w", ErrAmbiguous)
	}
}

// call is what the fake stream does with one call of Put. The zero call stores everything at once.
type call struct {
	delay time.Duration
	hang  bool // answer only when ctx ends: every record is then ambiguous at least
	fates []fate
	short bool // answer for all records but the last
}

func (c call) fate(k int) fate {
	f := fateStored
	if len(c.fates) > 0 {
		f = c.fates[k%len(c.fates)]
	}
	if c.hang && f != fateAmbiguousStored && f != fateAmbiguousLate && f != fateOpenLate {
		return fateAmbiguousLost
	}
	return f
}

// attempt is one event in one call of Put.
type attempt struct {
	hashKey schemas.HashKey
	fate    fate
}

// fakeStream does what its script says, one call after the other and then from the beginning, and checks every call.
type fakeStream struct {
	shards            []Shard
	slots             int
	atOnce, laneBytes int // Calls and LaneBytes; 0: as many as can be
	linger            time.Duration

	mu       sync.Mutex
	script   []call
	calls    int
	flying   map[schemas.HashKey]int
	attempts map[string][]attempt         // by event id
	log      map[string][]schemas.Event   // by shard
	stored   []schemas.Event              // in order
	at       map[string][]schemas.HashKey // stored copies by event id
	broken   []string                     // what a call did wrong
	open     map[string]int               // writes by event id that are begun and may yet land
	late     sync.WaitGroup
	sizes    []int // records of each call
	begun    int   // calls under way
	most     int   // calls that were under way at a time
}

func newFakeStream(shards, slots int, script ...call) *fakeStream {
	return &fakeStream{
		shards: evenShards(shards), slots: slots, script: script,
		flying: map[schemas.HashKey]int{}, attempts: map[string][]attempt{},
		log: map[string][]schemas.Event{}, at: map[string][]schemas.HashKey{}, open: map[string]int{},
	}
}

// evenShards cuts the hash key space by its first byte.
func evenShards(n int) []Shard {
	var shards []Shard
	for i := range n {
		s := Shard{ID: fmt.Sprintf("shard-%d", i), Last: schemas.MaxHashKey}
		s.First[0] = byte(i * 256 / n)
		if i == 0 {
			s.First = schemas.HashKey{}
		}
		if i < n-1 {
			s.Last[0] = byte((i+1)*256/n - 1)
		}
		shards = append(shards, s)
	}
	return shards
}

func (s *fakeStream) Shards(context.Context) ([]Shard, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.shards), nil
}

// reshard replaces the open shards.
func (s *fakeStream) reshard(shards []Shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards = shards
}

func (s *fakeStream) Put(ctx context.Context, records []Record) []error {
	events := s.check(records)
	s.mu.Lock()
	var c call
	if len(s.script) > 0 {
		c = s.script[s.calls%len(s.script)]
	}
	s.calls++
	s.sizes = append(s.sizes, len(records))
	s.mu.Unlock()

	if c.delay > 0 {
		timer := time.NewTimer(c.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			c.hang = true
		}
	}
	if c.hang {
		<-ctx.Done()
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun--
	for k := range lanesOf(records) {
		s.flying[k]--
	}
	errs := make([]error, len(records))
	for k := range records {
		f := c.fate(k)
		if c.short && k == len(records)-1 {
			f = fateAmbiguousStored
		}
		errs[k] = f.err()
		for _, e := range events[k] {
			s.attempts[e.ID] = append(s.attempts[e.ID], attempt{records[k].HashKey, f})
			if f != fateAmbiguousLate && f != fateOpenLate {
				s.open[e.ID]--
			}
		}
		switch f {
		case fateStored, fateAmbiguousStored:
			s.store(records[k].HashKey, events[k])
		case fateAmbiguousLate, fateOpenLate:
			s.late.Add(1)
			hashKey := records[k].HashKey
			time.AfterFunc(lateAfter, func() {
				defer s.late.Done()
				s.mu.Lock()
				defer s.mu.Unlock()
				s.store(hashKey, events[k])
				for _, e := range events[k] {
					s.open[e.ID]--
				}
			})
		}
	}
	if c.short {
		return errs[:len(errs)-1]
	}
	return errs
}

// check finds what Kinesis or a consumer would choke on, and takes copies.
func (s *fakeStream) check(records []Record) [][]schemas.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(records) == 0 || len(records) > 500 {
		s.broken = append(s.broken, fmt.Sprintf("a call of %d records", len(records)))
		return nil
	}
	total := 0
	events := make([][]schemas.Event, len(records))
	for k, r := range records {
		size := len(r.Data) + len(r.PartitionKey)
		total += size
		encoded, err := schemas.Deaggregate(bytes.Clone(r.Data))
		if err != nil {
			s.broken = append(s.broken, err.Error())
		}
		switch {
		case r.PartitionKey == "":
			s.broken = append(s.broken, "a record without a partition key")
		case size > 1<<20:
			s.broken = append(s.broken, fmt.Sprintf("a record of %d bytes", size))
		case len(encoded) > schemas.MaxAggregateEvents:
			s.broken = append(s.broken, fmt.Sprintf("a record of %d events", len(encoded)))
		case len(encoded) > 1 && size > schemas.MaxAggregateBytes:
			s.broken = append(s.broken, fmt.Sprintf("a record of %d events and %d bytes", len(encoded), size))
		}
		for _, b := range encoded {
			e, err := schemas.DecodeEvent(b)
			if err != nil {
				s.broken = append(s.broken, err.Error())
			}
			events[k] = append(events[k], e)
			s.open[e.ID]++
		}
	}
	if total > 10<<20 {
		s.broken = append(s.broken, fmt.Sprintf("a call of %d bytes", total))
	}
	if s.begun++; s.begun > s.most {
		s.most = s.begun
	}
	for k, lane := range lanesOf(records) {
		if s.flying[k]++; s.flying[k] > s.slots {
			s.broken = append(s.broken, fmt.Sprintf("%d calls at a time for one hash key", s.flying[k]))
		}
		if lane.records > 1 && lane.bytes > s.limits().LaneBytes {
			s.broken = append(s.broken, fmt.Sprintf("%d records with %d bytes for one hash key in a call", lane.records, lane.bytes))
		}
	}
	return events
}

type load struct{ records, bytes int }

// lanesOf tells what a call has for each hash key.
func lanesOf(records []Record) map[schemas.HashKey]load {
	lanes := map[schemas.HashKey]load{}
	for _, r := range records {
		l := lanes[r.HashKey]
		lanes[r.HashKey] = load{l.records + 1, l.bytes + len(r.Data) + len(r.PartitionKey)}
	}
	return lanes
}

// limits are what an Ingest on this stream is configured with.
func (s *fakeStream) limits() Config {
	c := Config{Slots: s.slots, Calls: s.atOnce, Linger: s.linger, LaneBytes: s.laneBytes, Large: 2, Now: now}
	if c.Calls == 0 {
		c.Calls = 1000
	}
	if c.LaneBytes == 0 {
		c.LaneBytes = maxFlightBytes
	}
	return c
}

// store appends events to the shard of the hash key. s.mu is held.
func (s *fakeStream) store(k schemas.HashKey, events []schemas.Event) {
	shard := ""
	for _, candidate := range s.shards {
		if candidate.First.Compare(k) <= 0 && k.Compare(candidate.Last) <= 0 {
			shard = candidate.ID
		}
	}
	for _, e := range events {
		s.log[shard] = append(s.log[shard], e)
		s.stored = append(s.stored, e)
		s.at[e.ID] = append(s.at[e.ID], k)
	}
}

// copies is the number of stored copies of an event.
func (s *fakeStream) copies(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at[id])
}

// settled reports whether no write of the event is open.
func (s *fakeStream) settled(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[id] == 0
}

// count is the number of calls so far.
func (s *fakeStream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// events is everything that is stored, shard by shard.
func (s *fakeStream) events() []schemas.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []schemas.Event
	for _, shard := range s.shards {
		all = append(all, s.log[shard.ID]...)
	}
	return all
}

// forget stops counting the calls of a process that crashed.
func (s *fakeStream) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying, s.begun = map[schemas.HashKey]int{}, 0
}

// then replaces the script.
func (s *fakeStream) then(script ...call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script, s.calls = script, 0
}

// fakeBodies keeps bodies by id.
type fakeBodies struct {
	delay time.Duration
	err   error

	mu   sync.Mutex
	kept map[string][]byte
}

func (b *fakeBodies) Put(ctx context.Context, id string, received time.Time, body []byte) (string, error) {
	b.mu.Lock()
	timer := time.NewTimer(b.delay)
	b.mu.Unlock()
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if b.err != nil {
		return "", b.err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept == nil {
		b.kept = map[string][]byte{}
	}
	b.kept[id] = bytes.Clone(body)
	return "s3://bucket/bodies/dt=" + received.UTC().Format(time.DateOnly) + "/" + id, nil
}

func (b *fakeBodies) setDelay(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delay = d
}

func (b *fakeBodies) get(ref string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept[path.Base(ref)]
}

// fakeClaims keeps claims for a day of its clock, and without a clock for ever.
type fakeClaims struct {
	now       func() time.Time
	mu        sync.Mutex
	kept      map[string]Claim
	err       error         // of Claim
	finishErr error         // of Finish
	hang      chan struct{} // Claim ignores its context until this is closed
}

func (c *fakeClaims) Claim(_ context.Context, key string, claim Claim) (Claim, bool, error) {
	if c.hang != nil {
		<-c.hang
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return Claim{}, false, c.err
	}
	if kept, ok := c.kept[key]; ok && (c.now == nil || c.now().Sub(kept.ReceivedTime) < 24*time.Hour) {
		return kept, false, nil
	}
	if c.kept == nil {
		c.kept = map[string]Claim{}
	}
	c.kept[key] = claim
	return claim, true, nil
}

func (c *fakeClaims) Finish(_ context.Context, key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finishErr != nil {
		return c.finishErr
	}
	if claim, ok := c.kept[key]; ok {
		claim.Done = true
		c.kept[key] = claim
	}
	return nil
}

func (c *fakeClaims) get(key string) (Claim, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	claim, ok := c.kept[key]
	return claim, ok
}

// fakeLedger answers from the fake stream, once the writes that it is asked about are settled.
type fakeLedger struct {
	stream *fakeStream

	mu    sync.Mutex
	err   error
	asked int
	tries []string // the claims that were told, to be put again
	slow  bool     // it has no answer before its context ends
}

func (l *fakeLedger) Stored(ctx context.Context, ids []string) ([]bool, error) {
	if l.slow {
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", ErrUnsettled, ctx.Err())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.err != nil {
		return nil, l.err
	}
	answer := make([]bool, len(ids))
	for i, id := range ids {
		if !l.stream.settled(id) {
			return nil, fmt.Errorf("event %s: %w", id, ErrUnsettled)
		}
		answer[i] = l.stream.copies(id) > 0
	}
	return answer, nil
}

func (l *fakeLedger) Retry(ctx context.Context, claim string, ids []string) ([]bool, error) {
	answer, err := l.Stored(ctx, ids)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.tries = append(l.tries, claim)
	}
	return answer, err
}

// world is an Ingest on fakes.
type world struct {
	*Ingest
	stream *fakeStream
	bodies *fakeBodies
	claims *fakeClaims
	ledger *fakeLedger
	budget *Budget
}

func newWorld(t testing.TB, stream *fakeStream, limit int64) *world {
	t.Helper()
	w := &world{stream: stream, bodies: &fakeBodies{}, claims: &fakeClaims{}, ledger: &fakeLedger{stream: stream}}
	w.budget = NewBudget(limit)
	w.restart(t)
	return w
}

// restart makes a new Ingest on the same fakes, as after a crash.
func (w *world) restart(t testing.TB) {
	t.Helper()
	in, err := New(t.Context(), w.stream.limits(), w.stream, w.bodies, w.claims, w.ledger, w.budget)
	if err != nil {
		t.Fatal(err)
	}
	w.Ingest = in
}

// now is the virtual clock of synctest, moved behind the KSUID epoch.
func now() time.Time { return time.Now().Add(26 * 365 * 24 * time.Hour) }

// submission is a document of the given body with its Hold.
func (w *world) submission(body string) Submission {
	return Submission{Body: []byte(body), Hold: w.budget.Hold()}
}

// within is a context with a deadline.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// settle drains and checks that nothing is left behind.
func (w *world) settle(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.Drain(ctx); err != nil {
		t.Error(err)
	}
	w.stream.late.Wait()
	synctest.Wait()
	if leftover := w.leftovers(); leftover != "" {
		t.Error(leftover)
	}
}

// leftovers says what should be nothing once all is settled.
func (w *world) leftovers() string {
	s := w.Stats()
	switch {
	case s.InFlightBytes != 0:
		return fmt.Sprintf("%d bytes of the budget were never given back", s.InFlightBytes)
	case s.QueuedBytes != 0 || s.QueuedEvents != 0:
		return fmt.Sprintf("%d events with %d bytes are still counted as queued", s.QueuedEvents, s.QueuedBytes)
	case len(w.keys.busy) != 0:
		return fmt.Sprintf("busy keys: %v", w.keys.busy)
	case w.gate.first != nil:
		return "somebody is still on his way"
	case len(w.stream.broken) != 0:
		return strings.Join(w.stream.broken, "\n")
	}
	w.calls.mu.Lock()
	free := w.calls.free
	w.calls.mu.Unlock()
	if free != w.cfg.Calls {
		return fmt.Sprintf("%d free calls, want %d", free, w.cfg.Calls)
	}
	if n := w.calls.waiting.Load(); n != 0 {
		return fmt.Sprintf("%d events are still counted as waiting for a call", n)
	}
	for _, l := range w.router.Load().lanes {
		if l.bytes.Load() != 0 || l.waiting.Load() != 0 || l.queue.events != 0 || l.queue.first != nil || l.queue.last != nil {
			return fmt.Sprintf("lane %v is not empty", l.hashKey)
		}
		if !l.ready.Load() && l.ctx.Err() == nil {
			return fmt.Sprintf("lane %v is not ready", l.hashKey)
		}
		if l.free != w.stream.slots {
			return fmt.Sprintf("lane %v has %d free slots", l.hashKey, l.free)
		}
	}
	return ""
}
