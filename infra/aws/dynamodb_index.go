package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"penstock/consumer"
	"penstock/schemas"
)

const (
	// maxFrame is the largest encoded event, compressed, that is kept in its item: an object costs as much to put as 8
	// write units of 1 KB.
	maxFrame = 8 << 10
	// writers is the most requests at a time of one Apply.
	writers = 8
	// maxEncoded is the most bytes that a frame may hold: what fits a stream record, or MaxBody where a stream was made to
	// take larger ones.
	maxEncoded = schemas.MaxBody + 1<<20
	// maxEventID is the longest partition key (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html).
	maxEventID = 2048
)

// Index is the lookup table, with the checkpoints of the sink that fills it in the state table. A small event lies in its
// item; of a larger one the data lies in the object items/dt=YYYY-MM-DD/<id>-<beginning of its SHA-256>, the day that of its
// receipt in UTC. Other bytes have another key, so an item never leads to an object that is not its own.
type Index struct {
	events, state table
	objects       objects
	zip           *zstd.Encoder
	unzip         *zstd.Decoder
}

var _ consumer.Index = (*Index)(nil)

// NewIndex keeps it in both tables and the bucket.
func NewIndex(c Clients, t Tables, bucket string) (*Index, error) {
	const window = 1 << 20 // an event is hardly larger
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(writers), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxEncoded))
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return &Index{
		events: table{c.DynamoDB, t.Events}, state: table{c.DynamoDB, t.State}, objects: objects{c.S3, bucket},
		zip: zip, unzip: unzip,
	}, nil
}

// Apply implements consumer.Index: objects first, then the items that name them, then the checkpoint. It repeats throttled
// items until ctx ends. An event whose id or attributes no item can hold is consumer.ErrRefused.
func (ix *Index) Apply(ctx context.Context, shard string, entries []consumer.Entry, to consumer.Checkpoint) error {
	err := ix.store(ctx, newest(entries))
	if err == nil {
		err = ix.move(ctx, shard, to)
	}
	if err != nil {
		return fmt.Errorf("index of %s: %w", shard, err)
	}
	return nil
}

// newest are the entries without those that a later one of the same id takes the place of: BatchWriteItem refuses two items
// of one key, and batches overtake each other.
func newest(entries []consumer.Entry) []*consumer.Entry {
	last := make(map[string]int, len(entries))
	for i := range entries {
		last[entries[i].Event.ID] = i
	}
	left := make([]*consumer.Entry, 0, len(last))
	for i := range entries {
		if last[entries[i].Event.ID] == i {
			left = append(left, &entries[i])
		}
	}
	return left
}

func (ix *Index) store(ctx context.Context, entries []*consumer.Entry) error {
	items := make([]item, len(entries))
	puts, putting := errgroup.WithContext(ctx)
	puts.SetLimit(writers)
	for i, e := range entries {
		puts.Go(func() (err error) {
			items[i], err = ix.item(putting, e)
			return err
		})
	}
	if err := puts.Wait(); err != nil {
		return err
	}
	batches, writing := errgroup.WithContext(ctx)
	batches.SetLimit(writers)
	for begin := 0; begin < len(items); begin += maxBatch {
		batch := items[begin:min(begin+maxBatch, len(items))]
		batches.Go(func() error { return ix.events.writeBatch(writing, batch) })
	}
	return batches.Wait()
}

// item is the event's, whose object is stored if it has one.
func (ix *Index) item(ctx context.Context, e *consumer.Entry) (item, error) {
	id := e.Event.ID
	if len(id) > maxEventID || !utf8.ValidString(id) {
		return nil, fmt.Errorf("event %.100q: %w: an id is at most %d bytes of UTF-8", id, consumer.ErrRefused, maxEventID)
	}
	it := item{"id": stringValue(id)}
	frame := ix.zip.EncodeAll(e.Encoded, nil)
	size := len("id") + len(id) + len("e")
	if len(frame) > maxFrame && e.Event.DataRef == "" {
		key := itemObject(&e.Event)
		envelope := e.Event
		envelope.Data, envelope.DataRef = nil, ix.objects.ref(key)
		frame = ix.zip.EncodeAll(schemas.AppendEvent(nil, &envelope), frame[:0])
		it["o"] = stringValue(key)
		size += len("o") + len(key)
	}
	if size += len(frame); size > maxItem {
		return nil, fmt.Errorf("event %.100q: %w: its item would have %d bytes, and may have %d", id, consumer.ErrRefused, size, maxItem)
	}
	it["e"] = bytesValue(frame)
	if it["o"] == nil {
		return it, nil
	}
	if err := ix.objects.put(ctx, itemObject(&e.Event), ix.zip.EncodeAll(e.Event.Data, nil)); err != nil {
		return nil, fmt.Errorf("event %.100q: %w", id, err)
	}
	return it, nil
}

// itemObject is the key of the object with an event's data.
func itemObject(e *schemas.Event) string {
	name := e.ID
	if !bodyID.MatchString(name) { // not of our making: it could be anything, "../.." too
		sum := sha256.Sum256([]byte(name))
		name = "other-" + hex.EncodeToString(sum[:])
	}
	return fmt.Sprintf("items/%s/%s-%x", day(e.ReceivedTime), name, e.SHA256[:8])
}

// Get implements consumer.Index.
func (ix *Index) Get(ctx context.Context, id string) (schemas.Event, error) {
	e, err := ix.get(ctx, id)
	if err != nil {
		return schemas.Event{}, fmt.Errorf("event %.100q: %w", id, err)
	}
	return e, nil
}

func (ix *Index) get(ctx context.Context, id string) (schemas.Event, error) {
	if id == "" || len(id) > maxEventID || !utf8.ValidString(id) { // DynamoDB would call them invalid
		return schemas.Event{}, consumer.ErrNotFound
	}
	it, err := ix.events.get(ctx, item{"id": stringValue(id)})
	if err != nil {
		return schemas.Event{}, err
	}
	if it == nil {
		return schemas.Event{}, consumer.ErrNotFound
	}
	frame, err := it.blob("e")
	if err != nil {
		return schemas.Event{}, err
	}
	encoded, err := ix.unzip.DecodeAll(frame, nil)
	if err != nil {
		return schemas.Event{}, fmt.Errorf("attribute e: %w: %w", errCorrupt, err)
	}
	e, err := schemas.DecodeEvent(encoded)
	if err != nil || it["o"] == nil {
		return e, err
	}
	key, err := it.text("o")
	if err != nil {
		return schemas.Event{}, err
	}
	e.DataRef = ""
	e.Data, err = ix.data(ctx, key, &e)
	return e, err
}

// data is that of e, from its object.
func (ix *Index) data(ctx context.Context, key string, e *schemas.Event) ([]byte, error) {
	frame, err := ix.objects.read(ctx, key, maxEncoded)
	if errors.Is(err, consumer.ErrNotFound) { // the event is known, only its data is lost
		return nil, fmt.Errorf("%s, which holds its data, is not there: %w", ix.objects.ref(key), errCorrupt)
	}
	if err != nil {
		return nil, err
	}
	data, err := ix.unzip.DecodeAll(frame, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", ix.objects.ref(key), errCorrupt, err)
	}
	if int64(len(data)) != e.Size || sha256.Sum256(data) != e.SHA256 {
		return nil, fmt.Errorf("%s holds other data: %w", ix.objects.ref(key), errCorrupt)
	}
	return data, nil
}
