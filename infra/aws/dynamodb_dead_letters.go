package aws

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"penstock/consumer"
	"penstock/schemas"
)

// maxRaw is the most bytes of a dead letter: a whole stream record (10 MiB where a stream was made to take such).
const maxRaw = 10 << 20

// shardID is what Kinesis calls a shard (https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Shard.html). All of its
// characters sort after '#', which ends it in a sort key.
var shardID = regexp.MustCompile(`^[0-9A-Za-z_.-]{1,128}$`)

// DeadLetters keeps each letter as an item of the state table, those of a sink under one partition key, and its raw bytes,
// which no item can hold, in an object of its own. The item comes after the object and goes before it: one that is found has
// its object. What is cut in between leaves an object that nothing points to.
type DeadLetters struct {
	state   table
	objects objects
}

var _ consumer.DeadLetters = (*DeadLetters)(nil)

// NewDeadLetters keeps them in the state table and the bucket.
func NewDeadLetters(c Clients, t Tables, bucket string) *DeadLetters {
	return &DeadLetters{table{c.DynamoDB, t.State}, objects{c.S3, bucket}}
}

func lettersOf(sink string) string { return "dead#" + sink }

// letterPlace is a letter's sort key.
func letterPlace(shard string, p schemas.Position) (string, error) {
	if !shardID.MatchString(shard) {
		return "", fmt.Errorf("shard %.150q: want 1 to 128 letters, digits, '_', '.' and '-'", shard)
	}
	at, err := encodePlace(p)
	return shard + "#" + at, err
}

func letterKey(sink, shard string, p schemas.Position) (item, error) {
	sk, err := letterPlace(shard, p)
	return stateKey(lettersOf(sink), sk), err
}

// Put implements consumer.DeadLetters. The first letter of a place stays.
func (d *DeadLetters) Put(ctx context.Context, letter consumer.DeadLetter) error {
	if err := d.put(ctx, letter); err != nil {
		return fmt.Errorf("dead letter of %s at %s %s: %w", letter.Sink, letter.Shard, letter.Position, err)
	}
	return nil
}

func (d *DeadLetters) put(ctx context.Context, letter consumer.DeadLetter) error {
	it, err := letterKey(letter.Sink, letter.Shard, letter.Position)
	if err != nil {
		return err
	}
	if found, err := d.state.get(ctx, it); err != nil || found != nil {
		return err
	}
	at, err := encodePlace(letter.Position)
	if err != nil {
		return err
	}
	// The object is this call's own, so that no deletion of an earlier letter of this place can be meant for it.
	key := fmt.Sprintf("dead/%s/%s/%s-%s", letter.Sink, letter.Shard, at, hex.EncodeToString(newToken()))
	if err := d.objects.put(ctx, key, letter.Raw); err != nil {
		return err
	}
	it["a"], it["r"], it["s"], it["o"] = timeValue(letter.Arrived), stringValue(letter.Reason), numberValue(int64(len(letter.Raw))), stringValue(key)
	err = d.state.put(ctx, it, "attribute_not_exists(pk)", nil)
	if errors.Is(err, errConflict) { // with another, or with ourselves: either way a letter is there, durably
		return nil
	}
	return err
}

// List implements consumer.DeadLetters.
func (d *DeadLetters) List(
	ctx context.Context, sink, afterShard string, after schemas.Position, limit int,
) ([]consumer.DeadLetter, error) {
	if limit <= 0 {
		return nil, nil
	}
	var from string
	var err error
	if afterShard != "" {
		if from, err = letterPlace(afterShard, after); err != nil {
			return nil, fmt.Errorf("listing dead letters of %s: %w", sink, err)
		}
	}
	var letters []consumer.DeadLetter
	err = d.state.query(ctx, lettersOf(sink), from, func(it item) (bool, error) {
		letter, _, err := decodeLetter(sink, it)
		letters = append(letters, letter)
		return len(letters) < limit, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing dead letters of %s: %w", sink, err)
	}
	return letters, nil
}

// Get implements consumer.DeadLetters.
func (d *DeadLetters) Get(ctx context.Context, sink, shard string, p schemas.Position) (consumer.DeadLetter, error) {
	letter, err := d.get(ctx, sink, shard, p)
	if err != nil {
		return consumer.DeadLetter{}, fmt.Errorf("dead letter of %s at %s %s: %w", sink, shard, p, err)
	}
	return letter, nil
}

func (d *DeadLetters) get(ctx context.Context, sink, shard string, p schemas.Position) (consumer.DeadLetter, error) {
	key, err := letterKey(sink, shard, p)
	if err != nil {
		return consumer.DeadLetter{}, err
	}
	it, err := d.state.get(ctx, key)
	if err != nil {
		return consumer.DeadLetter{}, err
	}
	if it == nil {
		return consumer.DeadLetter{}, consumer.ErrNotFound
	}
	letter, object, err := decodeLetter(sink, it)
	if err != nil {
		return consumer.DeadLetter{}, err
	}
	letter.Raw, err = d.objects.read(ctx, object, maxRaw)
	if errors.Is(err, consumer.ErrNotFound) {
		return consumer.DeadLetter{}, d.missing(ctx, key, it)
	}
	if err != nil {
		return consumer.DeadLetter{}, err
	}
	if len(letter.Raw) != letter.Size {
		return consumer.DeadLetter{}, fmt.Errorf("%d raw bytes, want %d: %w", len(letter.Raw), letter.Size, errCorrupt)
	}
	return letter, nil
}

// missing is the error for an item whose object is not there: consumer.ErrNotFound if the letter was deleted meanwhile.
func (d *DeadLetters) missing(ctx context.Context, key, it item) error {
	object, _ := it.text("o") // it was read before
	again, err := d.state.get(ctx, key)
	if err != nil {
		return err
	}
	if now, _ := again.text("o"); now != object { // "" for none
		return consumer.ErrNotFound
	}
	return fmt.Errorf("its object %s is not there: %w", d.objects.ref(object), errCorrupt)
}

// Delete implements consumer.DeadLetters. Deleting what is not there is no error. After an error the letter may be gone,
// and its object stay.
func (d *DeadLetters) Delete(ctx context.Context, sink, shard string, p schemas.Position) error {
	if err := d.delete(ctx, sink, shard, p); err != nil {
		return fmt.Errorf("deleting the dead letter of %s at %s %s: %w", sink, shard, p, err)
	}
	return nil
}

func (d *DeadLetters) delete(ctx context.Context, sink, shard string, p schemas.Position) error {
	key, err := letterKey(sink, shard, p)
	if err != nil {
		return err
	}
	it, err := d.state.get(ctx, key)
	if err != nil || it == nil {
		return err
	}
	object, err := it.text("o")
	if err != nil {
		return err
	}
	// Not a letter that was put in its place meanwhile. A conflict may also be with ourselves, when an answer was lost;
	// either way the object has no item any more.
	err = d.state.delete(ctx, key, "o = :o", item{":o": stringValue(object)})
	if err != nil && !errors.Is(err, errConflict) {
		return err
	}
	return d.objects.remove(ctx, object)
}

// decodeLetter gives a letter without its raw bytes, and the key of their object.
func decodeLetter(sink string, it item) (consumer.DeadLetter, string, error) {
	sk, err := it.text("sk")
	if err != nil {
		return consumer.DeadLetter{}, "", err
	}
	shard, at, _ := strings.Cut(sk, "#") // without one, at is empty and no place
	p, errPlace := decodePlace(at)
	arrived, errArrived := it.number("a")
	reason, errReason := it.text("r")
	size, errSize := it.number("s")
	object, errObject := it.text("o")
	if err := errors.Join(errPlace, errArrived, errReason, errSize, errObject); err != nil {
		return consumer.DeadLetter{}, "", fmt.Errorf("dead letter at %s: %w", sk, err)
	}
	return consumer.DeadLetter{
		Sink: sink, Shard: shard, Position: p, Arrived: timeOf(arrived), Reason: reason, Size: int(size),
	}, object, nil
}
