package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"penstock/consumer/query"
)

// executionsAtOnce are read in one request, as many as may
// (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html).
const executionsAtOnce = 100

// Executions are items of the state table. They expire by DynamoDB's clock, at once for whoever looks, though TTL deletes them in a few
// days: a key must not lead to what nobody remembers. SQL that is long lies beside its execution, so that a list does not cost it; even the
// longest stays below DynamoDB's 400 KB.
type Executions struct {
	state table
	now   func(context.Context) (time.Time, error)
}

var _ query.Executions = (*Executions)(nil)

// NewExecutions keeps them in the state table.
func NewExecutions(c Clients, t Tables) *Executions {
	state := table{c.DynamoDB, t.State}
	return &Executions{state: state, now: (&clock{table: state}).now}
}

func executionKey(id string) item { return stateKey("query#"+id, "query") }

func statementKey(id string) item { return stateKey("query#"+id, "sql") }

// startedKey has the SHA-256 of an idempotency key, like claimKey.
func startedKey(key string) item {
	sum := sha256.Sum256([]byte(key))
	return stateKey("querykey#"+hex.EncodeToString(sum[:]), "query")
}

// listed is the partition of all executions. An account starts some tens in a second, and a partition takes 1,000 writes.
const listed = "queries"

func listedKey(submitted time.Time, id string) item {
	return stateKey(listed, fmt.Sprintf("%019d#%s", math.MaxInt64-submitted.UnixNano(), id))
}

// absent is the condition that an item is not there or has expired.
const absent = "attribute_not_exists(pk) OR x <= :now"

// Claim implements query.Executions.
func (x *Executions) Claim(ctx context.Context, key string, c query.Claim, kept time.Duration) (query.Claim, error) {
	held, err := x.claim(ctx, key, c, kept)
	if err != nil {
		return query.Claim{}, fmt.Errorf("claiming a key for a query: %w", err)
	}
	return held, nil
}

func (x *Executions) claim(ctx context.Context, key string, c query.Claim, kept time.Duration) (query.Claim, error) {
	for {
		now, err := x.now(ctx)
		if err != nil {
			return query.Claim{}, err
		}
		it := startedKey(key)
		it["k"], it["f"], it[expiry] = stringValue(c.Token), bytesValue(c.Fingerprint[:]), expiresAt(now.Add(kept))
		found, won, err := x.state.putOwn(ctx, it, absent, item{":now": numberValue(now.Unix())})
		switch {
		case err != nil:
			return query.Claim{}, err
		case won:
			return c, nil
		case found != nil:
			return decodeStarted(found)
		}
		// It expired or was released, and was gone before it could be read.
	}
}

// Release implements query.Executions.
func (x *Executions) Release(ctx context.Context, key string, c query.Claim) error {
	err := x.state.delete(ctx, startedKey(key), "k = :k AND attribute_not_exists(i)", item{":k": stringValue(c.Token)})
	if err != nil && !errors.Is(err, errConflict) {
		return fmt.Errorf("releasing the key of a query: %w", err)
	}
	return nil
}

// Add implements query.Executions. What leads to an execution is written when it is there: after a crash in between it can be read, but is not
// listed, or not found by its key, with which it is started again, as the same.
//
// Nobody needs to know whose write it was that is there, so a conflict with itself after a lost answer is as good as a success.
func (x *Executions) Add(ctx context.Context, e query.Execution, key, token string, until time.Time) error {
	if err := x.add(ctx, e, key, token, until); err != nil {
		return fmt.Errorf("remembering query %s: %w", e.ID, err)
	}
	return nil
}

func (x *Executions) add(ctx context.Context, e query.Execution, key, token string, until time.Time) error {
	now, err := x.now(ctx)
	if err != nil {
		return err
	}
	values := item{":now": numberValue(now.Unix())}
	if len(e.SQL) > listedBytes {
		it := statementKey(e.ID)
		it["q"], it[expiry] = stringValue(e.SQL), expiresAt(until)
		if err := x.state.put(ctx, it, absent, values); err != nil && !errors.Is(err, errConflict) {
			return err
		}
	}
	it := encodeExecution(e)
	it[expiry] = expiresAt(until)
	found, _, err := x.state.putOwn(ctx, it, absent, values)
	if err != nil {
		return err
	}
	if found != nil { // its place is where it says: Athena's time of submission may be another than the one that was known here
		if e, err = decodeExecution(found); err != nil {
			return err
		}
	}
	place := listedKey(e.Submitted, e.ID)
	place[expiry] = expiresAt(until)
	if err := x.state.put(ctx, place, absent, values); err != nil && !errors.Is(err, errConflict) {
		return err
	}
	if key == "" {
		return nil
	}
	_, err = x.state.update(ctx, startedKey(key), "SET i = :i, x = :x", "k = :k", item{":i": stringValue(e.ID), ":x": expiresAt(until), ":k": stringValue(token)})
	if errors.Is(err, errConflict) { // it was over before its statement was started
		return nil
	}
	return err
}

// expiresAt is the time in seconds, rounded up.
func expiresAt(until time.Time) types.AttributeValue {
	return numberValue(until.Add(time.Second - 1).Unix())
}

// Finish implements query.Executions.
func (x *Executions) Finish(ctx context.Context, e query.Execution) (query.Execution, error) {
	held, err := x.finish(ctx, e)
	if err != nil {
		return query.Execution{}, fmt.Errorf("the end of query %s: %w", e.ID, err)
	}
	return held, nil
}

func (x *Executions) finish(ctx context.Context, e query.Execution) (query.Execution, error) {
	values := item{":queued": stringValue(string(query.Queued)), ":running": stringValue(string(query.Running))}
	var sets []string
	end := encodeEnd(e)
	if e.CompleteThrough.IsZero() { // whoever started it knows better
		delete(end, "c")
	}
	for name, value := range end {
		values[":"+name] = value
		sets = append(sets, name+" = :"+name)
	}
	it, err := x.state.update(ctx, executionKey(e.ID), "SET "+strings.Join(sets, ", "), "s IN (:queued, :running)", values)
	if errors.Is(err, errConflict) {
		it, err = x.read(ctx, executionKey(e.ID)) // what another process has learned, or this one, if an answer was lost
	}
	if err != nil {
		return query.Execution{}, err
	}
	return decodeExecution(it)
}

// Prove fails unless executions can be listed. All else that they need every process needs.
func (x *Executions) Prove(ctx context.Context) error {
	if _, err := x.readAll(ctx, []string{probeName()}); err != nil {
		return fmt.Errorf("table %s: %w", x.state.name, advised(err, x.state.client.Options().Region, "dynamodb:BatchGetItem"))
	}
	return nil
}

// Get implements query.Executions.
func (x *Executions) Get(ctx context.Context, id string) (query.Execution, error) {
	e, err := x.get(ctx, id)
	if err != nil {
		return query.Execution{}, fmt.Errorf("query %s: %w", id, err)
	}
	return e, nil
}

func (x *Executions) get(ctx context.Context, id string) (query.Execution, error) {
	it, err := x.read(ctx, executionKey(id))
	if err != nil {
		return query.Execution{}, err
	}
	e, err := decodeExecution(it)
	if err != nil || len(e.SQL) < listedBytes {
		return e, err
	}
	whole, err := x.state.get(ctx, statementKey(id))
	if err == nil && whole != nil {
		e.SQL, err = whole.text("q")
	}
	return e, err
}

// read returns an item that has not expired, or query.ErrNotFound.
func (x *Executions) read(ctx context.Context, key item) (item, error) {
	now, err := x.now(ctx)
	if err != nil {
		return nil, err
	}
	it, err := x.state.get(ctx, key)
	if err != nil {
		return nil, err
	}
	if it == nil {
		return nil, query.ErrNotFound
	}
	return it, unexpired(it, now)
}

func unexpired(it item, now time.Time) error {
	expires, err := it.number(expiry)
	if err == nil && expires <= now.Unix() {
		err = query.ErrNotFound
	}
	return err
}

// List implements query.Executions.
func (x *Executions) List(ctx context.Context, most int) ([]query.Execution, error) {
	list, err := x.list(ctx, most)
	if err != nil {
		return nil, fmt.Errorf("listing queries: %w", err)
	}
	return list, nil
}

func (x *Executions) list(ctx context.Context, most int) (list []query.Execution, err error) {
	now, err := x.now(ctx)
	if err != nil || most <= 0 {
		return nil, err
	}
	var ids []string
	flush := func() error {
		found, err := x.readAll(ctx, ids)
		ids = ids[:0]
		list = append(list, found...)
		return err
	}
	err = x.state.query(ctx, listed, "", func(it item) (bool, error) {
		switch err := unexpired(it, now); {
		case errors.Is(err, query.ErrNotFound): // and so have those behind it, which were submitted earlier
			return false, nil
		case err != nil:
			return false, err
		}
		place, err := it.text("sk")
		if err != nil {
			return false, err
		}
		_, id, _ := strings.Cut(place, "#")
		ids = append(ids, id)
		if len(list)+len(ids) < most && len(ids) < executionsAtOnce {
			return true, nil
		}
		if err := flush(); err != nil {
			return false, err
		}
		return len(list) < most, nil // some may have been deleted
	})
	if err == nil {
		err = flush()
	}
	return list, err
}

// readAll returns those of the executions that are there, in the order of the ids, at most executionsAtOnce.
func (x *Executions) readAll(ctx context.Context, ids []string) ([]query.Execution, error) {
	keys := make([]map[string]types.AttributeValue, len(ids))
	for i, id := range ids {
		keys[i] = executionKey(id)
	}
	byID := make(map[string]query.Execution, len(ids))
	for try := 0; len(keys) > 0; try++ {
		out, err := x.readSome(ctx, keys)
		if err != nil {
			return nil, err
		}
		for _, it := range out.Responses[x.state.name] {
			e, err := decodeExecution(it)
			if err != nil {
				return nil, err
			}
			byID[e.ID] = e
		}
		keys = out.UnprocessedKeys[x.state.name].Keys // more than 16 MB, or throttled
		if len(keys) > 0 && len(out.Responses[x.state.name]) == 0 {
			if err := pause(ctx, 50*time.Millisecond<<min(try, 4)); err != nil {
				return nil, err
			}
		}
	}
	var found []query.Execution
	for _, id := range ids {
		if e, ok := byID[id]; ok {
			found = append(found, e)
		}
	}
	return found, nil
}

func (x *Executions) readSome(ctx context.Context, keys []map[string]types.AttributeValue) (*dynamodb.BatchGetItemOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	out, err := x.state.client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
		RequestItems: map[string]types.KeysAndAttributes{x.state.name: {Keys: keys, ConsistentRead: sdk.Bool(true)}},
	})
	if err != nil {
		return nil, fmt.Errorf("reading table %s: %w", x.state.name, outcome(err))
	}
	return out, nil
}

// listedBytes is how much of an execution's SQL lies with it: query.ListedSQL characters, or more.
const listedBytes = query.ListedSQL * utf8.UTFMax

func encodeExecution(e query.Execution) item {
	it := executionKey(e.ID)
	head := e.SQL
	if len(head) > listedBytes { // no less of it, in whole characters
		end := listedBytes
		for end < len(head) && !utf8.RuneStart(head[end]) {
			end++
		}
		head = head[:end]
	}
	it["q"], it["a"] = stringValue(head), timeValue(e.Submitted)
	maps.Copy(it, encodeEnd(e))
	return it
}

// encodeEnd is what changes about an execution.
func encodeEnd(e query.Execution) item {
	return item{
		"s": stringValue(string(e.State)), "b": timeValue(e.Started), "e": timeValue(e.Ended), "c": timeValue(e.CompleteThrough),
		"n": numberValue(e.Statistics.Rows), "d": numberValue(e.Statistics.ScannedBytes), "l": numberValue(int64(e.Statistics.Elapsed)),
		"o": numberValue(e.ResultBytes), "m": stringValue(e.Error),
	}
}

func decodeExecution(it item) (query.Execution, error) {
	var e query.Execution
	var state string
	var errs []error
	text := func(into *string, name string) {
		var err error
		*into, err = it.text(name)
		errs = append(errs, err)
	}
	number := func(name string) int64 {
		n, err := it.number(name)
		errs = append(errs, err)
		return n
	}
	text(&e.ID, "pk")
	text(&e.SQL, "q")
	text(&state, "s")
	text(&e.Error, "m")
	e.ID, e.State = strings.TrimPrefix(e.ID, "query#"), query.State(state)
	e.Submitted, e.Started, e.Ended, e.CompleteThrough = timeOf(number("a")), timeOf(number("b")), timeOf(number("e")), timeOf(number("c"))
	e.Statistics = query.Statistics{Rows: number("n"), ScannedBytes: number("d"), Elapsed: time.Duration(number("l"))}
	e.ResultBytes = number("o")
	if err := errors.Join(errs...); err != nil {
		return query.Execution{}, fmt.Errorf("query %.100s: %w", e.ID, err)
	}
	return e, nil
}

// decodeStarted is what a key was taken for.
func decodeStarted(it item) (c query.Claim, err error) {
	token, errToken := it.text("k")
	fingerprint, errFingerprint := it.blob("f")
	var errID error
	if it["i"] != nil {
		c.ID, errID = it.text("i")
	}
	c.Token = token
	if err := errors.Join(errToken, errFingerprint, errID); err != nil {
		return query.Claim{}, fmt.Errorf("key of a query: %w", err)
	}
	if copy(c.Fingerprint[:], fingerprint) != len(c.Fingerprint) {
		return query.Claim{}, fmt.Errorf("key of a query: attribute f: %w", errCorrupt)
	}
	return c, nil
}
