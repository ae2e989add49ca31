package aws

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"penstock/consumer/query"
)

// executionsAtOnce are read in one request, as many as may
// (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html).
const executionsAtOnce = 100

// Executions are items of the state table. Even with the longest SQL one stays below DynamoDB's 400 KB. They expire by DynamoDB's clock,
// at once for whoever looks, though TTL deletes them in a few days: a token must not lead to what nobody remembers.
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

func executionKey(id string) item  { return stateKey("query#"+id, "query") }
func startedKey(token string) item { return stateKey("started#"+token, "query") }

// listed is the partition of all executions. An account starts some tens in a second, and a partition takes 1,000 writes.
const listed = "queries"

func listedKey(submitted time.Time, id string) item {
	return stateKey(listed, fmt.Sprintf("%019d#%s", math.MaxInt64-submitted.UnixNano(), id))
}

// Add implements query.Executions. The token comes last, so that it never leads to what is not there: after a crash in between the
// execution can be read, but is not listed, or not found by its token, which starts it again, as the same.
//
// Nobody needs to know whose write it was that is there, so a conflict with itself after a lost answer is as good as a success.
func (x *Executions) Add(ctx context.Context, e query.Execution, until time.Time) error {
	now, err := x.now(ctx)
	if err != nil {
		return fmt.Errorf("remembering query %s: %w", e.ID, err)
	}
	started := startedKey(e.Token)
	started["i"] = stringValue(e.ID)
	for _, it := range []item{encodeExecution(e), listedKey(e.Submitted, e.ID), started} {
		it[expiry] = expiresAt(until)
		err := x.state.put(ctx, it, "attribute_not_exists(pk) OR x <= :now", item{":now": numberValue(now.Unix())})
		if err != nil && !errors.Is(err, errConflict) {
			return fmt.Errorf("remembering query %s: %w", e.ID, err)
		}
	}
	return nil
}

// expiresAt is the time in seconds, rounded up.
func expiresAt(until time.Time) types.AttributeValue {
	return numberValue(until.Add(time.Second - 1).Unix())
}

// Save implements query.Executions.
func (x *Executions) Save(ctx context.Context, e query.Execution, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	it := encodeExecution(e)
	it[expiry] = expiresAt(until)
	_, err := x.state.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: sdk.String(x.state.name), Item: it})
	if err := x.state.written(err); err != nil {
		return fmt.Errorf("saving query %s: %w", e.ID, err)
	}
	return nil
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
	it, err := x.read(ctx, executionKey(id))
	if err != nil {
		return query.Execution{}, fmt.Errorf("query %s: %w", id, err)
	}
	return decodeExecution(it)
}

// Started implements query.Executions.
func (x *Executions) Started(ctx context.Context, token string) (query.Execution, error) {
	it, err := x.read(ctx, startedKey(token))
	if err != nil {
		return query.Execution{}, fmt.Errorf("query of a token: %w", err)
	}
	id, err := it.text("i")
	if err != nil {
		return query.Execution{}, fmt.Errorf("query of a token: %w", err)
	}
	return x.Get(ctx, id)
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
		for i := range found { // 256 of them may have as many KiB each
			found[i].CutSQL()
		}
		list = append(list, found...)
		return err
	}
	err = x.state.query(ctx, listed, "", func(it item) (bool, error) {
		switch err := unexpired(it, now); {
		case errors.Is(err, query.ErrNotFound):
			return true, nil
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

func encodeExecution(e query.Execution) item {
	it := executionKey(e.ID)
	it["q"], it["s"], it["k"], it["f"] = stringValue(e.SQL), stringValue(string(e.State)), stringValue(e.Token), bytesValue(e.Fingerprint[:])
	it["a"], it["b"], it["e"], it["c"] = timeValue(e.Submitted), timeValue(e.Started), timeValue(e.Ended), timeValue(e.CompleteThrough)
	it["n"], it["d"], it["l"] = numberValue(e.Statistics.Rows), numberValue(e.Statistics.ScannedBytes), numberValue(int64(e.Statistics.Elapsed))
	it["o"], it["m"] = numberValue(e.ResultBytes), stringValue(e.Error)
	return it
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
	text(&e.Token, "k")
	text(&e.Error, "m")
	fingerprint, err := it.blob("f")
	errs = append(errs, err)
	e.ID, e.State = strings.TrimPrefix(e.ID, "query#"), query.State(state)
	e.Submitted, e.Started, e.Ended, e.CompleteThrough = timeOf(number("a")), timeOf(number("b")), timeOf(number("e")), timeOf(number("c"))
	e.Statistics = query.Statistics{Rows: number("n"), ScannedBytes: number("d"), Elapsed: time.Duration(number("l"))}
	e.ResultBytes = number("o")
	if copy(e.Fingerprint[:], fingerprint) != len(e.Fingerprint) {
		errs = append(errs, fmt.Errorf("attribute f: %w", errCorrupt))
	}
	if err := errors.Join(errs...); err != nil {
		return query.Execution{}, fmt.Errorf("query %.100s: %w", e.ID, err)
	}
	return e, nil
}
