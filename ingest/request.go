package ingest

import (
	"context"
	"fmt"
	"time"

	"penstock/schemas"
)

// viaStream says in an Ack that the stream holds the event.
const viaStream = "stream"

// request is one call of Accept or AcceptBatch. Nothing of it may be used once that call has returned, except its group.
type request struct {
	in      *Ingest
	items   []Submission
	results []Result
	batch   bool

	visit    visit
	id       string // of the event; of a batch the one that its events' ids derive from
	started  time.Time
	received time.Time

	group  *group
	places []place // places[k] is where group.items[k] came from
}

// place is an item of a request and its event's id.
type place struct {
	index int
	id    string
}

func (in *Ingest) newRequest(items []Submission, refused []error, batch bool) *request {
	r := &request{in: in, items: items, results: make([]Result, len(items)), batch: batch, started: in.cfg.Now()}
	for i := range refused {
		r.results[i].Err = refused[i]
	}
	return r
}

// receive gives the request its time and id.
func (r *request) receive(at time.Time) { r.received, r.id = at, schemas.NewID(at) }

// run takes the request to its results, or to one error for the whole.
func (r *request) run(ctx context.Context, key string) (replayed bool, err error) {
	if !r.in.gate.enter(&r.visit) {
		return false, ErrDraining
	}
	defer r.in.gate.leave(&r.visit)
	r.receive(r.visit.since)
	if r.isLarge() {
		select {
		case r.in.large <- struct{}{}:
			defer func() { <-r.in.large }()
		case <-ctx.Done():
			return false, tooLate(ctx)
		}
	}
	for i := range r.items {
		if i > 0 && ctx.Err() != nil {
			return false, tooLate(ctx) // of a batch that takes too long to check, nothing is claimed or stored
		}
		if r.results[i].Err == nil {
			r.results[i].Err = check(&r.items[i])
		}
	}
	switch {
	case r.open() == 0:
		return false, nil
	case key != "":
		return r.runOnce(ctx, key)
	default:
		r.store(ctx)
		return false, nil
	}
}

// isLarge reports whether the request takes a slot of Config.Large.
func (r *request) isLarge() bool {
	var bytes int
	for i := range r.items {
		bytes += len(r.items[i].Body)
	}
	return bytes > schemas.MaxInlineBody
}

// check finds what is wrong with a submission. It depends on the submission alone, so that a replay is judged alike.
func check(s *Submission) error {
	if len(s.Body) == 0 {
		return ErrEmpty
	}
	if len(s.Body) > schemas.MaxBody {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(s.Body), schemas.MaxBody)
	}
	if err := s.Attributes.Validate(); err != nil {
		return err
	}
	return schemas.ValidateJSON(s.Body)
}

// isOpen reports whether item i has neither an ack nor an error yet.
func (r *request) isOpen(i int) bool { return r.results[i].Err == nil && r.results[i].Ack.ID == "" }

// open counts the items that are open.
func (r *request) open() (n int) {
	for i := range r.results {
		if r.isOpen(i) {
			n++
		}
	}
	return n
}

// eventID is the id of item i's event.
func (r *request) eventID(i int) string {
	if r.batch {
		return schemas.DeriveID(r.id, i)
	}
	return r.id
}

func (r *request) ack(p place) {
	r.results[p.index] = Result{Ack: Ack{ID: p.id, ReceivedTime: r.received, Via: viaStream}}
}

// store makes every open item durable or gives it an error, until ctx ends.
func (r *request) store(ctx context.Context) {
	r.group = newGroup(r.received)
	var uploads []upload
	for i := range r.items {
		if !r.isOpen(i) {
			continue
		}
		if ctx.Err() != nil {
			r.results[i].Err = tooLate(ctx)
			continue
		}
		event, err := schemas.NewEvent(r.eventID(i), r.received, &r.items[i].Attributes, r.items[i].Body)
		switch {
		case err != nil:
			r.results[i].Err = err
		case event.Data == nil:
			uploads = append(uploads, r.in.startUpload(i, event, &r.items[i]))
		default:
			r.results[i].Err = r.encode(i, &event)
		}
	}
	r.handOver(0)
	for _, u := range uploads {
		from := len(r.group.items)
		r.results[u.index].Err = r.finishUpload(ctx, u)
		r.handOver(from)
	}
	r.await(ctx)
}

// tooLate is the error of an item whose request ended before it came to a lane: it is certainly not stored.
func tooLate(ctx context.Context) error {
	return fmt.Errorf("%w: %w before the stream was asked", ErrNotDurable, context.Cause(ctx))
}

// encode encodes an event into memory of its own and chooses its lane. Its bytes count from here on.
func (r *request) encode(i int, event *schemas.Event) error {
	budget, size := r.in.budget, encodedSize(event)
	if !budget.take(int64(size)) {
		return ErrOverloaded
	}
	encoded := schemas.AppendEvent(make([]byte, 0, size), event)
	if more := cap(encoded) - size; more > 0 {
		if !budget.take(int64(more)) {
			budget.give(int64(size))
			return ErrOverloaded
		}
		size += more
	}
	it := &item{group: r.group, encoded: encoded, size: int64(size), lane: r.in.router.Load().lane(event.PartitionKey)}
	it.lane.place(it.size)
	r.in.counters.queuedBytes.Add(it.size)
	r.in.counters.queuedEvents.Add(1)
	r.group.items = append(r.group.items, it)
	r.places = append(r.places, place{i, event.ID})
	return nil
}

// encodedSize guesses the encoded size of an event: exact enough that encoding seldom has to grow its buffer.
func encodedSize(e *schemas.Event) int {
	const fixed = 512 // names, ids, times, hash
	size := fixed + len(e.Data) + len(e.Type) + len(e.Source) + len(e.Subject) + len(e.DataSchema) +
		len(e.PartitionKey) + len(e.Tenant) + len(e.OriginID) + len(e.ContentType) + len(e.DataRef)
	for name, value := range e.Extensions {
		size += len(name) + len(value) + len(`,"":""`)
	}
	return size
}

// handOver gives the group's items, beginning with the given one, to their lanes: those of one lane at once, so that
// they share records.
func (r *request) handOver(from int) {
	fresh := r.group.items[from:]
	r.group.pending.Add(int64(len(fresh)))
	if len(fresh) == 1 {
		fresh[0].lane.add(fresh[0])
		return
	}
	byLane := make(map[*lane][]*item)
	for _, it := range fresh {
		byLane[it.lane] = append(byLane[it.lane], it)
	}
	for l, items := range byLane {
		l.add(items...)
	}
}

// await waits for the group's outcomes until ctx ends, and then takes what is known.
func (r *request) await(ctx context.Context) {
	r.group.seal()
	select {
	case <-r.group.done:
	case <-ctx.Done():
	}
	acked, bytes := 0, 0
	for k, it := range r.group.items {
		p := r.places[k]
		if err := it.lane.giveUp(it, context.Cause(ctx)); err != nil {
			r.results[p.index].Err = err
			continue
		}
		r.ack(p)
		acked, bytes = acked+1, bytes+len(r.items[p.index].Body)
	}
	r.in.counters.acked(acked, bytes, r.in.cfg.Now().Sub(r.started))
}
