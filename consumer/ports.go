package consumer

import (
	"context"
	"errors"
	"io"
	"time"

	"penstock/schemas"
)

// ErrTrimmed: the position is older than anything the stream still holds.
var ErrTrimmed = errors.New("position is older than the stream's trim horizon")

// ErrNotFound: no such event, body, lease or dead letter.
var ErrNotFound = errors.New("not found")

// Source is the stream as a consumer reads it.
type Source interface {
	// Shards lists every shard that the stream still knows, closed ones too.
	Shards(ctx context.Context) ([]Shard, error)
	// Read returns the records after the record of the given sequence number (after == "": from the oldest kept;
	// ErrTrimmed when records after it are gone, or may be, which Page.Kept may tell apart), at most about maxBytes of data
	// but at least one record if there is one. At the tip it waits for a record, woken and not polling where the backend
	// allows, until one comes, a moment (at most 1 s) has passed, or ctx ends. The page's byte slices are the caller's.
	Read(ctx context.Context, shard, after string, maxBytes int) (Page, error)
}

// Shard is a shard as the stream lists it.
type Shard struct {
	ID string
	// Parents are the shards that were split or merged into this one, among those still listed or already gone.
	Parents []string
	// Closed says that nothing will be written to it any more.
	Closed bool
}

// Page is a piece of a shard, in order.
type Page struct {
	Records []Record
	// AsOf is a time by the stream's clock: every record that arrived before it is in Records or before them. Zero when
	// the page does not reach the tip.
	AsOf time.Time
	// Kept is a time by the stream's clock: when the page was read the stream still held every record that arrived then or
	// later. Zero where that is not known.
	Kept time.Time
	// End says that the shard is closed and Records are its last.
	End bool
}

// Record is a stream record: an aggregate of events, or one event.
type Record struct {
	Sequence string
	Arrived  time.Time
	Data     []byte
	// Checked: the store has verified Data by a checksum of its own, so an aggregate's needs no second look.
	Checked bool
}

// Entry is one event with its place in the stream.
type Entry struct {
	Event    schemas.Event
	Encoded  []byte // the event as schemas.AppendEvent wrote it; Event.Data aliases it
	Shard    string
	Position schemas.Position
	Arrived  time.Time
}

// Checkpoint is how far a sink has come in a shard.
type Checkpoint struct {
	Position schemas.Position
	// AsOf: every event that arrived at the shard before it is at or before Position. Stream's clock; may be zero.
	AsOf time.Time
	// End marks a closed shard that is read to its end.
	End bool
}

// SamePlace reports whether two checkpoints are the same progress; AsOf is knowledge about it, not part of it.
func (c Checkpoint) SamePlace(other Checkpoint) bool {
	return c.Position == other.Position && c.End == other.End
}

// Advance is the checkpoint to keep of one that is stored, c, and one that a sink wants to move to: the one further on, with
// the newer AsOf.
func (c Checkpoint) Advance(to Checkpoint) Checkpoint {
	switch order := to.Position.Compare(c.Position); {
	case order < 0:
		return c
	case order == 0:
		to.End = to.End || c.End
	}
	to.AsOf = to.AsOf.Round(0).UTC() // without the monotonic reading, which is not stored
	if c.AsOf.After(to.AsOf) {
		to.AsOf = c.AsOf
	}
	return to
}

// Index is the lookup table.
type Index interface {
	// Apply stores the entries, one item per event id, the last of several of one id, and moves the shard's checkpoint to the
	// given one, as by Checkpoint.Advance. Whatever happens, a checkpoint that is found later has all entries before it
	// (invariant 6); a crash may take both back together, as long as the stream still holds the records. The same entries
	// again change nothing. A checkpoint that lies behind the stored one leaves the stored one; entries that move none, since
	// the stream does not give them again, are durable when it returns.
	Apply(ctx context.Context, shard string, entries []Entry, to Checkpoint) error
	// Checkpoint of the shard; the zero Checkpoint when there is none.
	Checkpoint(ctx context.Context, shard string) (Checkpoint, error)
	// Get returns the event by id, ErrNotFound when it is not there (yet).
	Get(ctx context.Context, id string) (schemas.Event, error)
}

// Bodies reads what ingest put in object storage.
type Bodies interface {
	// Open streams the body at ref ("s3://bucket/key"); ErrNotFound when there is none.
	Open(ctx context.Context, ref string) (io.ReadCloser, error)
}

// Leases share the shards of a sink among workers, and show operators how the work goes. They are for efficiency only
// (invariant 10).
type Leases interface {
	// List returns the leases of a sink, also given-back ones (Owner == "").
	List(ctx context.Context, sink string) ([]Lease, error)
	// Put stores next if the stored lease of its sink and shard is still prev, as by Lease.Same (prev == nil: if there is
	// none); ErrLeaseLost when it is not.
	Put(ctx context.Context, prev *Lease, next Lease) error
}

// ErrLeaseLost: somebody else changed the lease.
var ErrLeaseLost = errors.New("lease was changed by another worker")

// Lease says who works on a shard. A holder counts Renewal up; who sees it stand still for a lease's life by its own
// monotonic clock may take the lease, so that no two clocks are ever compared.
type Lease struct {
	Sink, Shard, Owner string
	Renewal            uint64
	// Report is what was told with it. Nobody decides by it what to read.
	Report Report
	// Age is how long ago the lease was put, by the store's clock, to about a second. List tells it; Put does not take it.
	Age time.Duration
}

// Same reports whether two leases are one, whatever was told with them and whenever they were looked at.
func (l Lease) Same(other Lease) bool {
	return l.Sink == other.Sink && l.Shard == other.Shard && l.Owner == other.Owner && l.Renewal == other.Renewal
}

// Report is what the holder of a lease tells operators of its work on the shard, when it puts the lease. The zero Report tells
// nothing.
type Report struct {
	// At is the sink's checkpoint in the shard: all before it is durable.
	At Checkpoint
	// Lag is the iterator age: the oldest record that the sink does not hold durably arrived at most about so long ago; 0 at the
	// end of a closed shard. Where LagKnown is false nothing was read yet.
	Lag      time.Duration
	LagKnown bool
	// Error is the worker's last error, fit to be shown to whoever may read the leases; empty for none. ErrorAge is how long ago
	// it came, and Failing says that the shard has not gone on since.
	Error    string
	ErrorAge time.Duration
	Failing  bool
}

// Lake is the table that SQL reads.
type Lake interface {
	// Offsets are the checkpoints of all shards, as the table holds them.
	Offsets(ctx context.Context) (map[string]Checkpoint, error)
	// Append adds the rows and moves the shards' offsets in one atomic, durable commit, if every move's From is what the
	// table holds for its shard at that moment (compared by Position and End); else ErrFenced and nothing is visible.
	// A nil error means that the table holds the rows of these moves exactly once, also when a peer committed the same
	// moves first. After an error of unknown outcome it reads the table back before it answers. Other shards' moves by
	// peers don't disturb it. rows may be empty.
	Append(ctx context.Context, rows []Row, moves []Move) error
	// Contains reports whether the table holds the event, which was received at the given time. It may read data files,
	// so it is for the rare question, not for every event.
	Contains(ctx context.Context, id string, received time.Time) (bool, error)
	// Overtaken counts the commits of this process that had to be made again, since a peer's of other shards came before.
	Overtaken() uint64
}

// ErrFenced: the table's offsets are not those that the flush started from; read on from the table's.
var ErrFenced = errors.New("another worker moved the lake's offsets")

// Row is an event with its body, as the lake stores it.
type Row struct {
	Event schemas.Event
	// Body is Event.Data, or the body that was in object storage.
	Body     []byte
	Landed   time.Time
	Shard    string
	Position schemas.Position
}

// Move takes a shard's offset From → To.
type Move struct {
	Shard    string
	From, To Checkpoint
}

// DeadLetter is a record that a sink could not take.
type DeadLetter struct {
	Sink, Shard string
	Position    schemas.Position
	Arrived     time.Time
	Reason      string
	// Raw is the encoded event, or the whole stream record when it could not be taken apart.
	Raw []byte
	// Size is the length of Raw, as Get and List tell it; Put goes by Raw itself.
	Size int
}

// DeadLetters keeps them by sink, shard and position.
type DeadLetters interface {
	// Put is durable when it returns; the same place again changes nothing.
	Put(ctx context.Context, d DeadLetter) error
	// List returns up to limit letters of a sink after the given (shard, position), in that order, without Raw.
	List(ctx context.Context, sink, afterShard string, after schemas.Position, limit int) ([]DeadLetter, error)
	// Get returns one, or ErrNotFound.
	Get(ctx context.Context, sink, shard string, p schemas.Position) (DeadLetter, error)
	// Delete removes one, after it has been fed to its sink again.
	Delete(ctx context.Context, sink, shard string, p schemas.Position) error
}
