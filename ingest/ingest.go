package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"penstock/schemas"
)

// Config bounds an Ingest. All fields but Linger are required; defaults are the caller's.
type Config struct {
	// Slots is the number of concurrent Put calls with records of one lane. 1 keeps a shard's events in the order of their
	// lane.
	Slots int
	// Calls is the number of concurrent Put calls. One that takes long does not count any more, so there are at most Slots
	// times the lanes.
	Calls int
	// Linger is how long after the start of the last Put call the next one waits for more events, while one of the last eight
	// carried four or more. 0: not at all.
	Linger time.Duration
	// LaneBytes is the most that one Put call has for one shard; a single larger event goes alone.
	LaneBytes int
	// Large is how many requests over schemas.MaxInlineBody bytes are worked on at once, from their validation to their
	// bodies' being durable. The others wait in their order: so in a rush the first are answered in time, where all at
	// once would all come too late.
	Large int
	// Now is the clock.
	Now func() time.Time
}

// Ingest accepts submissions. Its methods are safe for concurrent use.
type Ingest struct {
	cfg      Config
	bodies   Bodies
	claims   Claims
	ledger   Ledger
	budget   *Budget
	stream   Stream
	router   atomic.Pointer[router]
	keys     *keys
	aside    chan struct{} // slots for calls of claims and ledger
	large    chan struct{} // slots for large requests
	gate     *gate
	calls    *calls
	counters *counters
	ctx      context.Context // of everything that may outlive a request
	abort    context.CancelFunc
}

// New makes the lanes, one for each shard that is open now. ctx is for that listing. claims and ledger serve
// Idempotency-Key.
func New(
	ctx context.Context, cfg Config, stream Stream, bodies Bodies, claims Claims, ledger Ledger, budget *Budget,
) (*Ingest, error) {
	if cfg.Slots < 1 {
		return nil, fmt.Errorf("ingest: Slots is %d, at least 1 is needed", cfg.Slots)
	}
	if cfg.Calls < 1 {
		return nil, fmt.Errorf("ingest: Calls is %d, at least 1 is needed", cfg.Calls)
	}
	if cfg.Linger < 0 {
		return nil, fmt.Errorf("ingest: Linger is %v, it must not be negative", cfg.Linger)
	}
	if cfg.LaneBytes < 1 || cfg.LaneBytes > maxFlightBytes {
		return nil, fmt.Errorf("ingest: LaneBytes is %d, it must be 1 to %d", cfg.LaneBytes, maxFlightBytes)
	}
	if cfg.Large < 1 {
		return nil, fmt.Errorf("ingest: Large is %d, at least 1 is needed", cfg.Large)
	}
	if cfg.Now == nil {
		return nil, errors.New("ingest: Now is missing")
	}
	in := &Ingest{
		cfg: cfg, stream: stream, bodies: bodies, claims: claims, ledger: ledger, budget: budget,
		keys: newKeys(), aside: make(chan struct{}, maxAside), large: make(chan struct{}, cfg.Large), gate: newGate(cfg.Now), counters: newCounters(),
		calls: &calls{free: cfg.Calls, linger: cfg.Linger},
	}
	in.ctx, in.abort = context.WithCancel(context.WithoutCancel(ctx))
	in.router.Store(&router{})
	if err := in.Refresh(ctx); err != nil {
		in.abort()
		return nil, err
	}
	return in, nil
}

// Refresh lists the stream's shards again and goes by what it finds; after an error all stays as it was. Call it every few
// seconds if shards may be split or merged, from one goroutine. Nothing is lost before that: a hash key always lies in some
// shard, though after a split all go to one of two.
//
// A lane belongs to its hash key, not to a shard, and so it keeps its order over a reshard: of two shards that one was split
// into, the lower goes on in its lane, as does what two were merged into. A lane that is not among the new ones gets no more
// events, and is forgotten when those that it has are settled.
func (in *Ingest) Refresh(ctx context.Context) error {
	shards, err := in.stream.Shards(ctx)
	if err != nil {
		return fmt.Errorf("ingest: list the stream's shards: %w", err)
	}
	old := in.router.Load()
	next, err := newRouter(shards, func(k schemas.HashKey) *lane {
		if l := old.with(k); l != nil {
			return l
		}
		return in.newLane(k)
	})
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	next.retire(old)
	in.router.Store(next)
	return nil
}

func (in *Ingest) newLane(k schemas.HashKey) *lane {
	l := &lane{
		hashKey: k, stream: in.stream, budget: in.budget, counters: in.counters, gate: in.gate, calls: in.calls, ctx: in.ctx,
		overhead: schemas.AggregatedSize(recordKey, k, nil), most: in.cfg.LaneBytes, free: in.cfg.Slots,
	}
	l.ready.Store(true)
	return l
}

// Busy reports whether anybody waits for an ack.
func (in *Ingest) Busy() bool { return in.gate.count() > 0 }

// CompleteThrough is a time before which nothing was received that is still on its way to the stream. What was given up
// may come later all the same: by a Put whose outcome is unknown, or tried again with its Idempotency-Key.
func (in *Ingest) CompleteThrough() time.Time { return in.gate.oldest() }

// Drain refuses new submissions and returns when the last flight has landed, or ctx ends. In that case it gives up on
// what is still under way: nothing is sent any more, and calls to the ports are cancelled.
func (in *Ingest) Drain(ctx context.Context) error {
	defer in.abort()
	empty := in.gate.shut()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-empty:
		return nil
	default:
		return fmt.Errorf("draining, with %d requests and flights under way: %w", in.gate.count(), context.Cause(ctx))
	}
}
