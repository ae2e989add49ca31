package consumer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"penstock/schemas"
)

var errInjected = errors.New("injected fault")

// faults decides about every call of a port: before it has an effect, and again after. A nil *faults lets all pass.
type faults struct {
	mu    sync.Mutex
	check func(call string, done bool) error
}

func (f *faults) at(call string, done bool) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.check == nil {
		return nil
	}
	return f.check(call, done)
}

func (f *faults) set(check func(call string, done bool) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.check = check
}

// memIndex is an Index that counts how many positions each id was applied from.
type memIndex struct {
	faults *faults

	mu          sync.Mutex
	items       map[string]schemas.Event
	checkpoints map[string]Checkpoint
	refuse      map[string]bool // ids
	applies     int
}

func newMemIndex() *memIndex {
	return &memIndex{items: map[string]schemas.Event{}, checkpoints: map[string]Checkpoint{}, refuse: map[string]bool{}}
}

func (x *memIndex) Apply(_ context.Context, shard string, entries []Entry, to Checkpoint) error {
	if err := x.faults.at("Apply", false); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range entries {
		if x.refuse[e.Event.ID] {
			return fmt.Errorf("item %s: %w", e.Event.ID, ErrRefused)
		}
		x.items[e.Event.ID] = e.Event
	}
	x.applies++
	if stored := x.checkpoints[shard]; stored.Advance(to) != stored {
		x.checkpoints[shard] = stored.Advance(to)
	}
	return x.faults.at("Apply", true)
}

func (x *memIndex) Checkpoint(_ context.Context, shard string) (Checkpoint, error) {
	if err := x.faults.at("Checkpoint", false); err != nil {
		return Checkpoint{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.checkpoints[shard], nil
}

func (x *memIndex) Get(_ context.Context, id string) (schemas.Event, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.items[id]
	if !ok {
		return schemas.Event{}, ErrNotFound
	}
	return e, nil
}

// applyCount is how many calls of Apply had an effect.
func (x *memIndex) applyCount() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.applies
}

func (x *memIndex) size() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.items)
}

func (x *memIndex) has(id string) bool {
	_, err := x.Get(context.Background(), id)
	return err == nil
}

// memLake is a Lake that holds Append to its contract.
type memLake struct {
	faults *faults
	delay  func() time.Duration // of a commit

	mu      sync.Mutex
	offsets map[string]Checkpoint
	rows    []Row
	commits int
}

func newMemLake() *memLake { return &memLake{offsets: map[string]Checkpoint{}} }

func (l *memLake) Offsets(context.Context) (map[string]Checkpoint, error) {
	if err := l.faults.at("Offsets", false); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.offsets), nil
}

func (l *memLake) Append(ctx context.Context, rows []Row, moves []Move) error {
	if err := l.faults.at("Append", false); err != nil {
		return err
	}
	if l.delay != nil && !pause(ctx, l.delay()) {
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	there, going := true, false
	for _, m := range moves {
		there = there && l.offsets[m.Shard].SamePlace(m.To)
		going = going || !m.From.SamePlace(m.To)
	}
	if there && going {
		return nil
	}
	for _, m := range moves {
		if !l.offsets[m.Shard].SamePlace(m.From) {
			return fmt.Errorf("shard %s is at %v, not %v: %w", m.Shard, l.offsets[m.Shard], m.From, ErrFenced)
		}
	}
	l.rows = append(l.rows, rows...)
	for _, m := range moves {
		if m.To.Position.IsZero() && !m.To.End {
			delete(l.offsets, m.Shard)
		} else {
			l.offsets[m.Shard] = m.To
		}
	}
	l.commits++
	return l.faults.at("Append", true)
}

func (l *memLake) Contains(_ context.Context, id string, _ time.Time) (bool, error) {
	if err := l.faults.at("Contains", false); err != nil {
		return false, err
	}
	return l.ids()[id] > 0, nil
}

// Overtaken implements Lake; nobody comes before.
func (l *memLake) Overtaken() uint64 { return 0 }

// offset is what the table holds for a shard.
func (l *memLake) offset(shard string) Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offsets[shard]
}

// commitCount is how many commits there were.
func (l *memLake) commitCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commits
}

// snapshot is a copy of all rows.
func (l *memLake) snapshot() []Row {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.rows)
}

// ids counts the rows of each event.
func (l *memLake) ids() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := map[string]int{}
	for _, r := range l.rows {
		ids[r.Event.ID]++
	}
	return ids
}

// memLeases is the lease table. When it is blind, everybody sees an empty table and may take everything.
type memLeases struct {
	faults *faults
	blind  bool
	freed  func(Lease) // told of leases given back

	mu     sync.Mutex
	leases map[[2]string]Lease
	put    map[[2]string]time.Time
}

func newMemLeases() *memLeases {
	return &memLeases{leases: map[[2]string]Lease{}, put: map[[2]string]time.Time{}}
}

func (l *memLeases) List(_ context.Context, sink string) ([]Lease, error) {
	if err := l.faults.at("List", false); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Lease
	for key, lease := range l.leases {
		if key[0] == sink && !l.blind {
			lease.Age = time.Since(l.put[key])
			list = append(list, lease)
		}
	}
	return list, nil
}

func (l *memLeases) Put(_ context.Context, prev *Lease, next Lease) error {
	if err := l.faults.at("PutLease", false); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]string{next.Sink, next.Shard}
	stored, ok := l.leases[key]
	if !l.blind && (ok != (prev != nil) || ok && !stored.Same(*prev)) {
		return ErrLeaseLost
	}
	if next.Owner == "" && l.freed != nil {
		l.freed(next)
	}
	l.leases[key], l.put[key] = next, time.Now()
	return l.faults.at("PutLease", true)
}

// of gives a lease as it stands.
func (l *memLeases) of(sink, shard string) Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leases[[2]string{sink, shard}]
}

// owners counts the shards of each owner.
func (l *memLeases) owners(sink string) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	owners := map[string]int{}
	for key, lease := range l.leases {
		if key[0] == sink && !strings.HasPrefix(key[1], workerPrefix) {
			owners[lease.Owner]++
		}
	}
	return owners
}

// memLetters is a DeadLetters.
type memLetters struct {
	faults *faults

	mu      sync.Mutex
	letters []DeadLetter
}

func (m *memLetters) find(sink, shard string, p schemas.Position) int {
	return slices.IndexFunc(m.letters, func(d DeadLetter) bool {
		return d.Sink == sink && d.Shard == shard && d.Position == p
	})
}

func (m *memLetters) Put(_ context.Context, d DeadLetter) error {
	if err := m.faults.at("PutLetter", false); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.find(d.Sink, d.Shard, d.Position) < 0 {
		d.Raw, d.Size = bytes.Clone(d.Raw), len(d.Raw)
		m.letters = append(m.letters, d)
	}
	return m.faults.at("PutLetter", true)
}

func (m *memLetters) List(
	_ context.Context, sink, afterShard string, after schemas.Position, limit int,
) ([]DeadLetter, error) {
	list := slices.DeleteFunc(m.of(sink), func(d DeadLetter) bool {
		return cmp.Or(cmp.Compare(d.Shard, afterShard), d.Position.Compare(after)) <= 0
	})
	list = list[:min(limit, len(list))]
	for i := range list {
		list[i].Raw = nil
	}
	return list, nil
}

func (m *memLetters) Get(_ context.Context, sink, shard string, p schemas.Position) (DeadLetter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(sink, shard, p)
	if i < 0 {
		return DeadLetter{}, ErrNotFound
	}
	return m.letters[i], nil
}

func (m *memLetters) Delete(_ context.Context, sink, shard string, p schemas.Position) error {
	if err := m.faults.at("DeleteLetter", false); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.find(sink, shard, p); i >= 0 {
		m.letters = slices.Delete(m.letters, i, i+1)
	}
	return m.faults.at("DeleteLetter", true)
}

// of lists all letters of a sink, in order and with Raw.
func (m *memLetters) of(sink string) []DeadLetter {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(m.letters), func(d DeadLetter) bool { return d.Sink != sink })
	slices.SortFunc(list, func(a, b DeadLetter) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), a.Position.Compare(b.Position))
	})
	return list
}

// memBodies is object storage.
type memBodies struct {
	faults *faults
	delay  func() time.Duration // of an Open

	mu      sync.Mutex
	objects map[string][]byte
	open    int // readers not closed
	maxOpen int
}

func newMemBodies() *memBodies { return &memBodies{objects: map[string][]byte{}} }

func (b *memBodies) Open(ctx context.Context, ref string) (io.ReadCloser, error) {
	if err := b.faults.at("Open", false); err != nil {
		return nil, err
	}
	if b.delay != nil && !pause(ctx, b.delay()) {
		return nil, ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.objects[ref]
	if !ok {
		return nil, ErrNotFound
	}
	b.open++
	b.maxOpen = max(b.maxOpen, b.open)
	return &memBody{Reader: bytes.NewReader(body), bodies: b}, nil
}

func (b *memBodies) mostOpen() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.maxOpen
}

type memBody struct {
	*bytes.Reader
	bodies *memBodies
}

func (m *memBody) Close() error {
	m.bodies.mu.Lock()
	defer m.bodies.mu.Unlock()
	m.bodies.open--
	return nil
}

var (
	_ Index       = (*memIndex)(nil)
	_ Lake        = (*memLake)(nil)
	_ Leases      = (*memLeases)(nil)
	_ DeadLetters = (*memLetters)(nil)
	_ Bodies      = (*memBodies)(nil)
)
