package consumertest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// LakeEnv is a fresh table.
type LakeEnv struct {
	// Lake and Peer are the views that two processes have of the table.
	Lake, Peer consumer.Lake
	// Bodies are the bodies in the table by event id, read past Lake and Peer.
	Bodies func(t *testing.T) map[string][]string
}

// LakeSuite tests a consumer.Lake.
func LakeSuite(t *testing.T, backend string, open func(t *testing.T) LakeEnv) {
	t.Helper()
	t.Logf("lake on %s", backend)
	for name, test := range map[string]func(*testing.T, LakeEnv){
		"rows and offsets come together":        testLakeAppend,
		"a peer that was first fences":          testLakeFence,
		"all of the moves or nothing":           testLakeAtomic,
		"the same moves again change nothing":   testLakeRetry,
		"no rows":                               testLakeNoRows,
		"AsOf is no place":                      testLakeAsOf,
		"other shards' moves don't disturb":     testLakeOtherShards,
		"what the table contains":               testLakeContains,
		"each event once, whoever is at it too": testLakeRace,
		"one of many moves the offset":          testLakeMoveRace,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// events are the events of a shard that a test knows, the n-th at sequence number n.
type events struct {
	shard string
	rows  []consumer.Row
}

func newEvents(t *testing.T, shard string, n int) *events {
	t.Helper()
	s := &events{shard: shard}
	for i := range n {
		p := schemas.Position{Sequence: strconv.Itoa(i + 1)}
		e := entry(t, shard, p, fmt.Appendf(nil, ` {"shard": %q, "n": %d}`, shard, i+1))
		s.rows = append(s.rows, consumer.Row{Event: e.Event, Body: e.Event.Data, Landed: e.Arrived, Shard: shard, Position: p})
	}
	return s
}

// place is the checkpoint after event n; place(0) is the zero one.
func place(n int) consumer.Checkpoint {
	if n == 0 {
		return consumer.Checkpoint{}
	}
	return at(strconv.Itoa(n), 0)
}

func (s *events) move(from, to int) consumer.Move {
	return consumer.Move{Shard: s.shard, From: place(from), To: place(to)}
}

// append appends the events from+1 … to and moves the offset.
func (s *events) append(t *testing.T, l consumer.Lake, from, to int) error {
	t.Helper()
	return l.Append(t.Context(), s.rows[from:to], []consumer.Move{s.move(from, to)})
}

func (s *events) mustAppend(t *testing.T, l consumer.Lake, from, to int) {
	t.Helper()
	if err := s.append(t, l, from, to); err != nil {
		t.Fatalf("Append of %s %d to %d: %v", s.shard, from, to, err)
	}
}

// wantTable fails unless the table holds exactly these rows, each once and with its body.
func wantTable(t *testing.T, env LakeEnv, rows ...[]consumer.Row) {
	t.Helper()
	got := env.Bodies(t)
	for _, r := range slices.Concat(rows...) {
		if bodies := got[r.Event.ID]; len(bodies) != 1 || bodies[0] != string(r.Body) {
			t.Errorf("%s at %s %v is in the table as %q, want %q once", r.Event.ID, r.Shard, r.Position, bodies, r.Body)
		}
		delete(got, r.Event.ID)
	}
	if len(got) > 0 {
		t.Errorf("%d events that should not be in the table: %v", len(got), slices.Collect(maps.Keys(got)))
	}
}

// wantOffsets fails unless both views give these offsets, and no others.
func wantOffsets(t *testing.T, env LakeEnv, want map[string]consumer.Checkpoint) {
	t.Helper()
	for _, l := range []consumer.Lake{env.Lake, env.Peer} {
		got, err := l.Offsets(t.Context())
		if err != nil {
			t.Fatalf("Offsets: %v", err)
		}
		if !maps.EqualFunc(got, want, func(a, b consumer.Checkpoint) bool {
			return a.Position == b.Position && a.End == b.End && a.AsOf.Equal(b.AsOf)
		}) {
			t.Errorf("offsets %+v, want %+v", got, want)
		}
	}
}

func testLakeAppend(t *testing.T, env LakeEnv) {
	wantOffsets(t, env, nil)
	a, b := newEvents(t, "a", 7), newEvents(t, "b", 3)
	to := consumer.Checkpoint{
		Position: schemas.Position{Sequence: "49590338271490256608559692538361571095921575989136588898", Sub: 17},
		AsOf:     time.Now().UTC().Truncate(time.Millisecond),
	}
	rows := slices.Concat(a.rows[:5], b.rows)
	if err := env.Lake.Append(t.Context(), rows, []consumer.Move{a.move(0, 5), {Shard: "b", To: to}}); err != nil {
		t.Fatal(err)
	}
	wantTable(t, env, rows)
	wantOffsets(t, env, map[string]consumer.Checkpoint{"a": place(5), "b": to})
	a.mustAppend(t, env.Peer, 5, 7)
	wantTable(t, env, a.rows, b.rows)
	end := to
	end.End = true
	if err := env.Lake.Append(t.Context(), nil, []consumer.Move{{Shard: "b", From: to, To: end}}); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, env, map[string]consumer.Checkpoint{"a": place(7), "b": end})
}

func testLakeFence(t *testing.T, env LakeEnv) {
	a := newEvents(t, "a", 40)
	a.mustAppend(t, env.Lake, 0, 10)
	held := 10 // events in the table
	for _, c := range []struct {
		what string
		peer func() error
		to   int // the peer's rows end here
		at   consumer.Checkpoint
	}{
		{"a part of it", func() error { return a.append(t, env.Peer, 10, 13) }, 13, place(13)},
		{"more than it", func() error { return a.append(t, env.Peer, 13, 30) }, 30, place(30)},
		{"the offset alone", func() error { return env.Peer.Append(t.Context(), nil, []consumer.Move{a.move(30, 32)}) }, 30, place(32)},
		{"the offset back", func() error { return env.Peer.Append(t.Context(), nil, []consumer.Move{a.move(32, 30)}) }, 30, place(30)},
		{"the shard's end", func() error {
			end := place(30)
			end.End = true
			return env.Peer.Append(t.Context(), nil, []consumer.Move{{Shard: "a", From: place(30), To: end}})
		}, 30, consumer.Checkpoint{Position: place(30).Position, End: true}},
		{"the shard out", func() error {
			from := place(30)
			from.End = true
			return env.Peer.Append(t.Context(), nil, []consumer.Move{{Shard: "a", From: from}})
		}, 30, consumer.Checkpoint{}},
	} {
		offsets, err := env.Lake.Offsets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mine := consumer.Move{Shard: "a", From: offsets["a"], To: place(40)}
		if err := c.peer(); err != nil {
			t.Fatalf("the peer commits %s: %v", c.what, err)
		}
		if err := env.Lake.Append(t.Context(), a.rows[held:], []consumer.Move{mine}); !errors.Is(err, consumer.ErrFenced) {
			t.Errorf("Append after the peer committed %s: %v, want ErrFenced", c.what, err)
		}
		held = c.to
		wantTable(t, env, a.rows[:held])
		want := map[string]consumer.Checkpoint{"a": c.at}
		if c.at == (consumer.Checkpoint{}) {
			want = nil
		}
		wantOffsets(t, env, want)
	}
	// From the table's offset it goes on.
	if err := env.Lake.Append(t.Context(), a.rows[held:], []consumer.Move{a.move(0, 40)}); err != nil {
		t.Fatal(err)
	}
	wantTable(t, env, a.rows)
}

func testLakeAtomic(t *testing.T, env LakeEnv) {
	a, b := newEvents(t, "a", 5), newEvents(t, "b", 5)
	b.mustAppend(t, env.Peer, 0, 2)
	for range 2 {
		rows := slices.Concat(a.rows, b.rows)
		if err := env.Lake.Append(t.Context(), rows, []consumer.Move{a.move(0, 5), b.move(0, 5)}); !errors.Is(err, consumer.ErrFenced) {
			t.Fatalf("Append with one stale move of two: %v, want ErrFenced", err)
		}
		wantTable(t, env, b.rows[:2])
		wantOffsets(t, env, map[string]consumer.Checkpoint{"b": place(2)})
	}
	// One of two moves was made by a peer: that is not these moves.
	b.mustAppend(t, env.Peer, 2, 5)
	if err := env.Lake.Append(t.Context(), a.rows, []consumer.Move{a.move(0, 5), b.move(2, 5)}); !errors.Is(err, consumer.ErrFenced) {
		t.Fatalf("Append with one move of two made: %v, want ErrFenced", err)
	}
	wantTable(t, env, b.rows)
}

func testLakeRetry(t *testing.T, env LakeEnv) {
	a, b := newEvents(t, "a", 9), newEvents(t, "b", 3)
	both := func(l consumer.Lake) error {
		return l.Append(t.Context(), slices.Concat(a.rows[:5], b.rows), []consumer.Move{a.move(0, 5), b.move(0, 3)})
	}
	for _, l := range []consumer.Lake{env.Peer, env.Peer, env.Lake} {
		if err := both(l); err != nil {
			t.Fatalf("the same moves again: %v", err)
		}
		wantTable(t, env, a.rows[:5], b.rows)
		wantOffsets(t, env, map[string]consumer.Checkpoint{"a": place(5), "b": place(3)})
	}
	a.mustAppend(t, env.Peer, 5, 9)
	if err := both(env.Lake); !errors.Is(err, consumer.ErrFenced) {
		t.Errorf("the same moves after the peer went on: %v, want ErrFenced", err)
	}
	wantTable(t, env, a.rows, b.rows)
}

func testLakeNoRows(t *testing.T, env LakeEnv) {
	a := newEvents(t, "a", 4)
	if err := env.Lake.Append(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := env.Lake.Append(t.Context(), nil, []consumer.Move{a.move(0, 2)}); err != nil {
		t.Fatal(err)
	}
	wantTable(t, env)
	wantOffsets(t, env, map[string]consumer.Checkpoint{"a": place(2)})
	a.mustAppend(t, env.Peer, 2, 4)
	if err := env.Lake.Append(t.Context(), nil, []consumer.Move{a.move(2, 3)}); !errors.Is(err, consumer.ErrFenced) {
		t.Errorf("a move alone from a stale offset: %v, want ErrFenced", err)
	}
	wantTable(t, env, a.rows[2:])
	wantOffsets(t, env, map[string]consumer.Checkpoint{"a": place(4)})
}

func testLakeAsOf(t *testing.T, env LakeEnv) {
	a := newEvents(t, "a", 4)
	a.mustAppend(t, env.Lake, 0, 2)
	known := place(2)
	known.AsOf = time.Now().UTC().Truncate(time.Millisecond)
	if err := env.Peer.Append(t.Context(), nil, []consumer.Move{{Shard: "a", From: place(2), To: known}}); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, env, map[string]consumer.Checkpoint{"a": known})
	a.mustAppend(t, env.Lake, 2, 4) // whose From has no time
	wantTable(t, env, a.rows)
}

func testLakeOtherShards(t *testing.T, env LakeEnv) {
	a, b, c := newEvents(t, "a", 6), newEvents(t, "b", 3), newEvents(t, "c", 1)
	a.mustAppend(t, env.Lake, 0, 3)
	b.mustAppend(t, env.Peer, 0, 3)
	if err := env.Peer.Append(t.Context(), nil, []consumer.Move{c.move(0, 1)}); err != nil {
		t.Fatal(err)
	}
	a.mustAppend(t, env.Lake, 3, 6)
	wantTable(t, env, a.rows, b.rows)
	wantOffsets(t, env, map[string]consumer.Checkpoint{"a": place(6), "b": place(3), "c": place(1)})
}

func testLakeContains(t *testing.T, env LakeEnv) {
	a := newEvents(t, "a", 30)
	for n := 0; n < 20; n += 10 {
		a.mustAppend(t, env.Lake, n, n+10)
	}
	for i, r := range a.rows {
		for _, l := range []consumer.Lake{env.Lake, env.Peer} {
			got, err := l.Contains(t.Context(), r.Event.ID, r.Event.ReceivedTime)
			if err != nil || got != (i < 20) {
				t.Errorf("Contains(event %d) = %t, %v", i, got, err)
			}
		}
	}
}

// testLakeRace has workers of both processes append what they believe to be next, all shards at once.
func testLakeRace(t *testing.T, env LakeEnv) {
	const n = 12
	shards := []*events{newEvents(t, "a", n), newEvents(t, "b", n), newEvents(t, "c", n)}
	var workers sync.WaitGroup
	for w := range 6 {
		l := []consumer.Lake{env.Lake, env.Peer}[w%2]
		rng := rand.New(rand.NewPCG(1, uint64(w)))
		workers.Go(func() {
			for {
				offsets, err := l.Offsets(t.Context())
				if err != nil {
					t.Errorf("Offsets: %v", err)
					return
				}
				var rows []consumer.Row
				var moves []consumer.Move
				for _, s := range shards {
					from, _ := strconv.Atoi(offsets[s.shard].Position.Sequence) // 0 for none
					if to := min(n, from+rng.IntN(4)); to > from {
						rows, moves = append(rows, s.rows[from:to]...), append(moves, s.move(from, to))
					}
				}
				if err := l.Append(t.Context(), rows, moves); err != nil && !errors.Is(err, consumer.ErrFenced) {
					t.Errorf("Append: %v", err)
					return
				}
				if !slices.ContainsFunc(shards, func(s *events) bool { return offsets[s.shard].Position != place(n).Position }) {
					return
				}
			}
		})
	}
	workers.Wait()
	wantTable(t, env, shards[0].rows, shards[1].rows, shards[2].rows)
}

// testLakeMoveRace has workers of both processes move one offset, each to a place of its own, without rows.
func testLakeMoveRace(t *testing.T, env LakeEnv) {
	const workers, steps = 6, 12
	var mu sync.Mutex
	next := map[schemas.Position]schemas.Position{} // from each place, the one that somebody was told he had moved to
	var running sync.WaitGroup
	for w := range workers {
		l := []consumer.Lake{env.Lake, env.Peer}[w%2]
		running.Go(func() {
			for {
				offsets, err := l.Offsets(t.Context())
				if err != nil {
					t.Errorf("Offsets: %v", err)
					return
				}
				from := offsets["a"]
				n, _ := strconv.Atoi(from.Position.Sequence) // "" before the first move: 0
				if n >= steps {
					return
				}
				to := at(strconv.Itoa(n+1), w)
				err = l.Append(t.Context(), nil, []consumer.Move{{Shard: "a", From: from, To: to}})
				if err != nil && !errors.Is(err, consumer.ErrFenced) {
					t.Errorf("Append: %v", err)
					return
				}
				mu.Lock()
				if other, ok := next[from.Position]; ok && err == nil {
					t.Errorf("from %v two were told that they had moved, to %v and %v", from.Position, other, to.Position)
				}
				if err == nil {
					next[from.Position] = to.Position
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if len(next) != steps {
		t.Errorf("%d moves were acked, want %d: %v", len(next), steps, next)
	}
}
