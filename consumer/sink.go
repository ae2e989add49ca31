package consumer

import (
	"context"
	"errors"
	"time"
)

// Sink takes the events of shards, each shard in order. A fleet calls Resume and Deliver of one shard from one goroutine
// at a time, of different shards concurrently.
type Sink interface {
	// Name is the sink's name in leases and dead letters.
	Name() string
	// Resume says from where a worker must read the shard on: what the sink holds for good. Whatever the sink still
	// buffers of the shard beyond that is forgotten, since it will be delivered again.
	Resume(ctx context.Context, shard string) (Start, error)
	// Checkpoint is how far the sink durably is in the shard. It only looks, and may be called at any time.
	Checkpoint(ctx context.Context, shard string) (Checkpoint, error)
	// Durable is what this process knows of that without asking anybody, false when the sink does not have the shard in hand:
	// before Resume, and after Leave.
	Durable(shard string) (Durable, bool)
	// Deliver hands over the next piece of a shard. It returns when the sink has taken it, durably or into a bounded
	// buffer, and waits while there is no room; a batch whose To has End is durable when it returns, so that the
	// shard's children may start. ErrRewound: the sink does not hold what came before From; the worker resumes. After
	// any other error it is unknown how much was taken, and the worker resumes as well.
	Deliver(ctx context.Context, b Batch) error
	// Leave says that the shard's worker has ended, so that another process may go on with it: what the sink still buffers of
	// it is forgotten, and what is on its way when Leave is called has ended when it returns, or ctx has. Not called when
	// the sink itself is to end: then Run makes all of it durable.
	Leave(ctx context.Context, shard string)
	// Run does the sink's background work until ctx ends, then makes durable what it still buffers, within a deadline
	// of its own, and returns.
	Run(ctx context.Context) error
}

// ErrRewound: the sink dropped what it had buffered of the shard; read on from where Resume says.
var ErrRewound = errors.New("sink dropped its buffer of the shard")

// Durable is how far a sink is known to be in a shard.
type Durable struct {
	// At: everything before it is durable.
	At Checkpoint
	// Pending is when the oldest event arrived that was delivered and is not durable yet; zero when there is none.
	Pending time.Time
}

// Start is where a worker begins to read a shard.
type Start struct {
	// From is the sink's durable checkpoint. Events at or before it are skipped.
	From Checkpoint
	// After is the sequence number to read after. It is From's own when the record there is done as a whole, and an
	// earlier one when From lies inside an aggregated record: a source can only be read from record to record, and
	// the rest of that record must not be lost.
	After string
}

// Batch is a piece of a shard: the decoded events after From, up to and including To.
type Batch struct {
	Shard    string
	From, To Checkpoint
	// Entries have strictly rising positions. They may be fewer than lie between From and To: bad records are in the
	// dead letters already. To always stands at the end of a record.
	Entries []Entry
}
