package ingest

import (
	"context"
	"errors"
	"time"

	"penstock/schemas"
)

// Errors by which an adapter classifies what became of a write. Everything else is final: the write did not happen and
// would not if tried again as it is.
var (
	// ErrThrottled: not stored, and worth another try shortly.
	ErrThrottled = errors.New("stream throttled the write")
	// ErrAmbiguous: stored or not, nobody knows (timeout, reset, 5xx, InternalFailure). It may even land later.
	ErrAmbiguous = errors.New("outcome of the write is unknown")
	// ErrOpen: stored or not, nobody knows, and it must not be tried again: the write can't be recalled and may land
	// later, on a stream whose readers look for no doubles (invariant 2). Ingest settles its events as ErrUnknownOutcome.
	ErrOpen = errors.New("write has not ended")
	// ErrStorageFull: not stored, since the store refuses new data until there is room (a full disk). Worth a try
	// only after the operator or a trim made room, so ingest does not retry it.
	ErrStorageFull = errors.New("storage is full")
)

// Stream is the durable, ordered, sharded log.
type Stream interface {
	// Shards lists the shards that are open for writing; their ranges cover the hash key space without overlap.
	Shards(ctx context.Context) ([]Shard, error)
	// Put stores the records and returns one error per record, in order: nil only when the record survives the loss
	// of this process (and, on AWS, of this host and zone). Records of one call for one shard are stored in order
	// where the backend is able to (Kinesis is not). Put keeps no reference to the records after it returned. It
	// does not retry. When ctx ends, records whose fate is open are ErrAmbiguous, or ErrOpen.
	Put(ctx context.Context, records []Record) []error
}

// Shard is a shard open for writing, with its inclusive range of hash keys.
type Shard struct {
	ID          string
	First, Last schemas.HashKey
}

// Record is one stream record: an aggregate of events that all go to the shard of HashKey. At most 1 MiB with its key.
type Record struct {
	PartitionKey string
	HashKey      schemas.HashKey
	Data         []byte
}

// Bodies is object storage for bodies over schemas.MaxInlineBody.
type Bodies interface {
	// Put stores the body of event id, received at the given time, and returns its "s3://bucket/key" once the
	// object is durable: bytes, and the entries that name them. Writing the same id twice is harmless. Errors wrap
	// ErrStorageFull where that is the reason. Put may hold on to body until it returns, not longer.
	Put(ctx context.Context, id string, received time.Time, body []byte) (ref string, err error)
}

// Claim is what is remembered of a request that bore an Idempotency-Key.
type Claim struct {
	// ID is the event's id, or for a batch the id from which the items' ids are derived.
	ID string
	// ReceivedTime is that of the first try.
	ReceivedTime time.Time
	// Fingerprint is a hash of everything in the request that makes the events.
	Fingerprint [32]byte
	// Done says that every event of the request is durable.
	Done bool
}

// Claims remember requests by Idempotency-Key for 24 hours.
type Claims interface {
	// Claim stores c under key if nothing unexpired is there, durably, and returns c, true. Otherwise it returns what
	// is there and false. Atomic: of two callers with one key, one gets true.
	Claim(ctx context.Context, key string, c Claim) (Claim, bool, error)
	// Finish marks the claim as done. Losing this write is harmless: the claim is then resolved by Stored.
	Finish(ctx context.Context, key string) error
}

// Ledger tells what became of events whose writer died before it knew.
type Ledger interface {
	// Stored reports for each id whether its event is on the stream. It answers only once every write that was begun
	// before the call is either visible or impossible; if that can't be known in time it returns ErrUnsettled.
	Stored(ctx context.Context, ids []string) ([]bool, error)
	// Retry is Stored for who is about to put the events that are not there, those of a claim by its ID, and does so before ctx
	// ends. To whoever asks next these are writes that were begun, since he has no other way to know of them: of two who ask
	// at once one is told ErrUnsettled. When all are stored it is Stored.
	Retry(ctx context.Context, claim string, ids []string) ([]bool, error)
}

// ErrUnsettled is returned by a Ledger that can't tell yet; the caller may ask again later.
var ErrUnsettled = errors.New("earlier write is not settled yet")
