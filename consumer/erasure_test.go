package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

// graveyard is a world with one event in it; steps that are named in fail go wrong once.
type graveyard struct {
	erasures   *Erasures
	mu         sync.Mutex // of tombstones, which writers ask for
	tombstones map[string]Tombstone
	index      map[string]schemas.Event
	lake       map[string]bool
	bodies     map[string]bool
	fail       map[string]bool
	steps      []string
	burying    func() // in the midst of putting a tombstone
}

var errStep = errors.New("step failed")

func (g *graveyard) step(name string) error {
	g.steps = append(g.steps, name)
	if g.fail[name] {
		delete(g.fail, name)
		return fmt.Errorf("%s: %w", name, errStep)
	}
	return nil
}

func (g *graveyard) Put(_ context.Context, t Tombstone) error {
	name := "bury"
	if t.Done {
		name = "done"
	}
	if err := g.step(name); err != nil {
		return err
	}
	if g.burying != nil && !t.Done {
		g.burying()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tombstones[t.ID] = t
	return nil
}

func (g *graveyard) Get(_ context.Context, id string) (Tombstone, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t, ok := g.tombstones[id]
	if !ok {
		return t, ErrNotFound
	}
	return t, nil
}

func (g *graveyard) Has(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.tombstones[id]
	return ok
}

func (g *graveyard) Unfinished(context.Context) (open []Tombstone, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.tombstones {
		if !t.Done {
			open = append(open, t)
		}
	}
	return open, nil
}

func (g *graveyard) Tips(context.Context) (map[string]string, error) { return nil, g.step("tips") }

func (g *graveyard) FlushThrough(context.Context, map[string]string) error { return g.step("flush") }

type graveIndex struct{ *graveyard }

func (x graveIndex) Get(_ context.Context, id string) (schemas.Event, error) {
	e, ok := x.index[id]
	if !ok {
		return e, ErrNotFound
	}
	return e, nil
}

func (x graveIndex) Remove(_ context.Context, id string) error {
	delete(x.index, id)
	return x.step("index")
}

func (x graveIndex) Apply(_ context.Context, _ string, entries []Entry, _ Checkpoint) error {
	for _, e := range entries {
		x.index[e.Event.ID] = e.Event
	}
	return nil
}

func (x graveIndex) Checkpoint(context.Context, string) (Checkpoint, error) { return Checkpoint{}, nil }

type graveBodies struct{ *graveyard }

func (graveBodies) Ref(id string, received time.Time) string {
	return received.UTC().Format(time.DateOnly) + "/" + id
}

func (b graveBodies) Remove(_ context.Context, ref string) error {
	delete(b.bodies, ref)
	return b.step("body")
}

type graveLake struct {
	*graveyard
	gate chan struct{} // when set, an Append waits for it
}

func (l graveLake) Contains(_ context.Context, id string, _ time.Time) (bool, error) {
	return l.lake[id], nil
}

func (l graveLake) Erase(_ context.Context, id string, _ time.Time) error {
	delete(l.lake, id)
	return l.step("lake")
}

func (l graveLake) Offsets(context.Context) (map[string]Checkpoint, error) { return nil, nil }

func (l graveLake) Overtaken() uint64 { return 0 }

func (l graveLake) Append(_ context.Context, rows []Row, _ []Move) error {
	if l.gate != nil {
		<-l.gate
	}
	for _, r := range rows {
		l.lake[r.Event.ID] = true
	}
	return nil
}

// large is an event with a body in object storage.
func large(id string) schemas.Event {
	made, _ := schemas.IDTime(id)                                                    // every id here is one
	received := made.Add(time.Second - time.Nanosecond).In(time.FixedZone("", 3600)) // the latest of an id, on its day still
	return schemas.Event{ID: id, ReceivedTime: received, DataRef: graveBodies{}.Ref(id, received)}
}

func newGraveyard(ids ...string) (*graveyard, *Eraser) {
	g := &graveyard{
		tombstones: map[string]Tombstone{}, index: map[string]schemas.Event{}, lake: map[string]bool{}, bodies: map[string]bool{},
		fail: map[string]bool{},
	}
	for _, id := range ids {
		e := large(id)
		g.index[id], g.lake[id], g.bodies[e.DataRef] = e, true, true
	}
	g.erasures = NewErasures(g)
	return g, NewEraser(g.erasures, ErasedFrom{Index: graveIndex{g}, Bodies: graveBodies{g}, Lake: graveLake{graveyard: g}}, g, g, time.Now)
}

func (g *graveyard) holds(id string) bool {
	_, indexed := g.index[id]
	return indexed || g.lake[id] || g.bodies[large(id).DataRef]
}

// TestErase: the tombstone comes first, and the body goes only when the lake is past the event.
func TestErase(t *testing.T) {
	t.Parallel()
	id, other := schemas.NewID(time.Now()), schemas.NewID(time.Now())
	g, e := newGraveyard(id, other)
	if _, err := e.Erase(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if want := []string{"bury", "tips", "flush", "lake", "body", "index", "done"}; !slices.Equal(g.steps, want) {
		t.Errorf("steps %q, want %q", g.steps, want)
	}
	if g.holds(id) || !g.holds(other) || !e.Erased(id) || e.Erased(other) {
		t.Errorf("%+v", g)
	}
	steps := len(g.steps)
	first := g.tombstones[id]
	if again, err := e.Erase(t.Context(), id); err != nil || again != first || len(g.steps) != steps {
		t.Errorf("again: %+v, %v, %q", again, err, g.steps[steps:])
	}
	for _, unknown := range []string{schemas.NewID(time.Now()), "no id"} {
		if _, err := e.Erase(t.Context(), unknown); !errors.Is(err, ErrNotFound) || len(g.steps) != steps || e.Erased(unknown) {
			t.Errorf("%q: %v, %q", unknown, err, g.steps[steps:])
		}
	}
	// What the index could not take.
	delete(g.index, other)
	if _, err := e.Erase(t.Context(), other); err != nil || g.holds(other) {
		t.Errorf("only in the lake: %v, %+v", err, g)
	}
}

// TestEraseGoesOn: an erasure that is cut at any step is completed by the next, whoever asks for it.
func TestEraseGoesOn(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"bury", "tips", "flush", "lake", "body", "index", "done"} {
		id := schemas.NewID(time.Now())
		g, e := newGraveyard(id)
		g.fail[step] = true
		if _, err := e.Erase(t.Context(), id); !errors.Is(err, errStep) {
			t.Errorf("%s: %v", step, err)
		}
		if e.Erased(id) != (step != "bury") {
			t.Errorf("%s: erased: %t", step, e.Erased(id))
		}
		if step == "bury" {
			if !g.holds(id) {
				t.Error("removed without a tombstone")
			}
			continue
		}
		if err := e.Finish(t.Context()); err != nil || g.holds(id) || !g.tombstones[id].Done {
			t.Errorf("%s: %v, %+v", step, err, g)
		}
	}
}

// TestEraseBehindIndex: the body goes also while only the lake has the event, since the index has not come so far or lost it in
// a crash, wherever the erasure is cut and whoever goes on; and the index that then comes to the event leaves it out.
func TestEraseBehindIndex(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"", "tips", "flush", "lake", "body", "index", "done"} {
		for _, asked := range []bool{false, true} {
			id := schemas.NewID(time.Now())
			g, e := newGraveyard(id)
			delete(g.index, id)
			g.fail[step] = true
			if _, err := e.Erase(t.Context(), id); errors.Is(err, errStep) != (step != "") {
				t.Errorf("%q: %v", step, err)
			}
			// The index comes to it before the erasure goes on, and the tombstone keeps it from telling of the body.
			err := g.erasures.Index(graveIndex{g}).Apply(t.Context(), "a", []Entry{{Event: large(id)}}, Checkpoint{})
			if err != nil {
				t.Fatal(err)
			}
			if asked {
				_, err = e.Erase(t.Context(), id)
			} else {
				err = e.Finish(t.Context())
			}
			if err != nil || g.holds(id) || !g.tombstones[id].Done {
				t.Errorf("cut at %q, asked again: %t: %v, %+v", step, asked, err, g)
			}
		}
	}
}

// TestErasedStayAway: neither sink stores an erased event, and the others of the batch are stored.
func TestErasedStayAway(t *testing.T) {
	t.Parallel()
	var ids []string
	for range 4 {
		ids = append(ids, schemas.NewID(time.Now()))
	}
	g, e := newGraveyard(ids[1], ids[3])
	for _, id := range []string{ids[1], ids[3]} {
		if _, err := e.Erase(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	var entries []Entry
	var rows []Row
	for _, id := range ids {
		entries, rows = append(entries, Entry{Event: schemas.Event{ID: id}}), append(rows, Row{Event: schemas.Event{ID: id}})
	}
	index := g.erasures.Index(graveIndex{g})
	if err := index.Apply(t.Context(), "a", entries, Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	if err := g.erasures.Lake(graveLake{graveyard: g}).Append(t.Context(), rows, nil); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		_, err := index.Get(t.Context(), id)
		if erased := i%2 == 1; errors.Is(err, ErrNotFound) != erased || g.lake[id] == erased {
			t.Errorf("event %d: %v, in the lake: %t", i, err, g.lake[id])
		}
		if entries[i].Event.ID != id || rows[i].Event.ID != id {
			t.Error("the caller's slice was changed")
		}
	}
}

// TestEraseWaitsForWrites: rows that are on their way into the lake when the erasure begins are erased too.
func TestEraseWaitsForWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		id := schemas.NewID(time.Now())
		g, e := newGraveyard(id)
		delete(g.lake, id)
		gate := make(chan struct{})
		lake := g.erasures.Lake(graveLake{g, gate})
		go func() { _ = lake.Append(t.Context(), []Row{{Event: schemas.Event{ID: id}}}, nil) }()
		synctest.Wait()
		erased := make(chan error, 1)
		go func() {
			_, err := e.Erase(t.Context(), id)
			erased <- err
		}()
		synctest.Wait()
		if len(g.steps) > 0 {
			t.Errorf("it did not wait: %q", g.steps)
		}
		close(gate)
		if err := <-erased; err != nil || g.lake[id] {
			t.Errorf("%v, in the lake: %t", err, g.lake[id])
		}
	})
}

// TestWritesWaitForTombstone: what would be written while a tombstone is being put waits for it, and is left out.
func TestWritesWaitForTombstone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		id := schemas.NewID(time.Now())
		g, e := newGraveyard(id)
		written := make(chan error, 2)
		g.burying = func() {
			event := schemas.Event{ID: id}
			go func() {
				written <- g.erasures.Lake(graveLake{graveyard: g}).Append(t.Context(), []Row{{Event: event}}, nil)
			}()
			go func() {
				written <- g.erasures.Index(graveIndex{g}).Apply(t.Context(), "a", []Entry{{Event: event}}, Checkpoint{})
			}()
			synctest.Wait()
			if len(written) > 0 {
				t.Error("a write did not wait")
			}
		}
		if _, err := e.Erase(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(<-written, <-written); err != nil || g.holds(id) {
			t.Errorf("%v, %+v", err, g)
		}
	})
}
