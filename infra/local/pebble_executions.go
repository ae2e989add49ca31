package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"

	"penstock/consumer/query"
)

// Executions keep what is known of executions of SQL, each with its place in the order of submission, and what their keys were taken for.
type Executions struct {
	store *Store
	mu    sync.Mutex // held over looking and the synced write: nothing is written over what was written meanwhile
	sweep int64      // when keys are looked through next, by the store's clock; guarded by mu
}

// sweepEvery is how often keys that are over are looked for. Who claims one knows by itself that it is.
const sweepEvery = time.Hour

var _ query.Executions = (*Executions)(nil)

func keyExecution(id string) []byte     { return append([]byte{kindExecution}, id...) }
func keyStatement(id string) []byte     { return append([]byte{kindStatement}, id...) }
func keyStatementKey(key string) []byte { return append([]byte{kindStatementKey}, key...) }

func keySubmitted(at time.Time, id string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{kindSubmitted}, uint64(at.UnixNano())), id...)
}

// Claim implements query.Executions.
func (x *Executions) Claim(ctx context.Context, key string, c query.Claim, kept time.Duration) (held query.Claim, err error) {
	err = x.change(ctx, func() error {
		held, err = x.loadClaim(key)
		if !errors.Is(err, query.ErrNotFound) {
			return err
		}
		held = c
		until := time.Unix(0, x.store.clock.read()).Add(kept)
		batch := x.store.db.NewBatch()
		return x.commit(batch, batch.Set(keyStatementKey(key), appendStatementClaim(nil, &c, until), nil))
	})
	if err != nil {
		return query.Claim{}, fmt.Errorf("claiming a key for a query: %w", err)
	}
	return held, nil
}

// Release implements query.Executions.
func (x *Executions) Release(ctx context.Context, key string, c query.Claim) error {
	err := x.change(ctx, func() error {
		switch held, err := x.loadClaim(key); {
		case errors.Is(err, query.ErrNotFound), err == nil && held != c:
			return nil
		case err != nil:
			return err
		}
		batch := x.store.db.NewBatch()
		return x.commit(batch, batch.Delete(keyStatementKey(key), nil))
	})
	if err != nil {
		return fmt.Errorf("releasing the key of a query: %w", err)
	}
	return nil
}

// Add implements query.Executions.
func (x *Executions) Add(ctx context.Context, e query.Execution, key, token string, until time.Time) error {
	err := x.change(ctx, func() error {
		batch := x.store.db.NewBatch()
		return x.commit(batch, errors.Join(x.addTo(batch, &e, until), x.lead(batch, key, token, e.ID, until)))
	})
	if err != nil {
		return fmt.Errorf("execution %s: %w", e.ID, err)
	}
	return nil
}

// addTo writes what an execution has, unless it is there.
func (x *Executions) addTo(batch *pebble.Batch, e *query.Execution, until time.Time) error {
	if _, _, err := x.load(e.ID); !errors.Is(err, query.ErrNotFound) {
		return err
	}
	var long error
	if len(e.SQL) > listedBytes {
		long = batch.Set(keyStatement(e.ID), []byte(e.SQL), nil)
	}
	return errors.Join(
		long,
		batch.Set(keyExecution(e.ID), appendExecution(nil, e, until), nil),
		batch.Set(keySubmitted(e.Submitted, e.ID), nil, nil),
	)
}

// lead has a key lead to the execution that its token has started.
func (x *Executions) lead(batch *pebble.Batch, key, token, id string, until time.Time) error {
	if key == "" {
		return nil
	}
	c, err := x.loadClaim(key)
	if errors.Is(err, query.ErrNotFound) || err == nil && c.Token != token { // it was over before its statement was started
		return nil
	}
	c.ID = id
	return errors.Join(err, batch.Set(keyStatementKey(key), appendStatementClaim(nil, &c, until), nil))
}

// Finish implements query.Executions.
func (x *Executions) Finish(ctx context.Context, e query.Execution) (query.Execution, error) {
	err := x.change(ctx, func() error {
		held, until, err := x.load(e.ID)
		if err != nil {
			return err
		}
		if held.State.Finished() {
			e = held
			return nil
		}
		e.SQL = held.SQL
		if e.CompleteThrough.IsZero() {
			e.CompleteThrough = held.CompleteThrough
		}
		batch := x.store.db.NewBatch()
		return x.commit(batch, batch.Set(keyExecution(e.ID), appendExecution(nil, &e, until), nil))
	})
	if err != nil {
		return query.Execution{}, fmt.Errorf("end of execution %s: %w", e.ID, err)
	}
	return e, nil
}

// change runs what looks and then writes.
func (x *Executions) change(ctx context.Context, do func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := x.store.enter(); err != nil {
		return err
	}
	defer x.store.leave()
	x.mu.Lock() // always after entering
	defer x.mu.Unlock()
	return do()
}

// commit writes a batch that was filled, durably, or lets it go.
func (x *Executions) commit(batch *pebble.Batch, filled error) error {
	if filled != nil || batch.Empty() {
		return errors.Join(filled, batch.Close())
	}
	return x.store.commit(batch, pebble.Sync, false)
}

// loadClaim is what a key is taken for, or query.ErrNotFound.
func (x *Executions) loadClaim(key string) (query.Claim, error) {
	v, err := x.store.get(keyStatementKey(key))
	switch {
	case err != nil:
		return query.Claim{}, err
	case v == nil:
		return query.Claim{}, query.ErrNotFound
	}
	c, until, err := parseStatementClaim(v)
	if err == nil && until.UnixNano() <= x.store.clock.read() {
		err = query.ErrNotFound
	}
	return c, err
}

// Get implements query.Executions.
func (x *Executions) Get(ctx context.Context, id string) (query.Execution, error) {
	if err := ctx.Err(); err != nil {
		return query.Execution{}, fmt.Errorf("execution %s: %w", id, err)
	}
	if err := x.store.enter(); err != nil {
		return query.Execution{}, err
	}
	defer x.store.leave()
	return x.loadWhole(id)
}

// loadWhole loads an execution with all of its SQL.
func (x *Executions) loadWhole(id string) (query.Execution, error) {
	e, _, err := x.load(id)
	if err != nil || len(e.SQL) < listedBytes {
		return e, err
	}
	whole, err := x.store.get(keyStatement(id))
	if err != nil {
		return e, fmt.Errorf("execution %s: %w", id, err)
	}
	if whole != nil {
		e.SQL = string(whole)
	}
	return e, nil
}

// load leaves out what is beyond the beginning of the SQL.
func (x *Executions) load(id string) (query.Execution, time.Time, error) {
	v, err := x.store.get(keyExecution(id))
	switch {
	case err != nil:
		return query.Execution{}, time.Time{}, fmt.Errorf("execution %s: %w", id, err)
	case v == nil:
		return query.Execution{}, time.Time{}, query.ErrNotFound
	}
	e, until, err := parseExecution(id, v)
	if err != nil {
		err = fmt.Errorf("execution %s: %w", id, err)
	}
	return e, until, err
}

// List implements query.Executions.
func (x *Executions) List(ctx context.Context, most int) (list []query.Execution, err error) {
	if err := x.store.enter(); err != nil {
		return nil, err
	}
	defer x.store.leave()
	prefix := []byte{kindSubmitted}
	it, err := x.store.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return nil, fmt.Errorf("listing executions: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.Last(); ok && len(list) < most; ok = it.Prev() {
		id, err := submittedID(it.Key())
		if err != nil {
			return nil, err
		}
		switch e, _, err := x.load(id); {
		case err == nil:
			list = append(list, e)
		case !errors.Is(err, query.ErrNotFound): // else it is just being removed
			return nil, err
		}
	}
	return list, nil
}

func submittedID(key []byte) (string, error) {
	if len(key) < 1+8 {
		return "", fmt.Errorf("order of executions: %w", errCorrupt)
	}
	return string(key[1+8:]), nil
}

// ExpireExecutions removes the executions and the claims of keys that need not be kept any more, and returns the number of executions.
func (s *Store) ExpireExecutions(ctx context.Context) (n int, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	n, err = s.expireExecutions(ctx)
	if err := errors.Join(err, s.expireStatementKeys(ctx)); err != nil {
		return n, fmt.Errorf("expiring executions: %w", err)
	}
	return n, nil
}

// expireExecutions ends at the first that must be kept: they are kept equally long.
func (s *Store) expireExecutions(ctx context.Context) (n int, err error) {
	x := s.executions
	err = s.scan(ctx, []byte{kindSubmitted}, nil, func(key, _ []byte) (bool, error) {
		id, err := submittedID(key)
		if err != nil {
			return false, err
		}
		x.mu.Lock() // or what has just ended would be written again
		defer x.mu.Unlock()
		_, until, err := x.load(id)
		if err != nil && !errors.Is(err, query.ErrNotFound) {
			return false, err
		}
		if err == nil && until.UnixNano() > s.clock.read() {
			return false, nil
		}
		batch := s.db.NewBatch()
		err = errors.Join(batch.Delete(key, nil), batch.Delete(keyExecution(id), nil), batch.Delete(keyStatement(id), nil))
		if err != nil {
			return false, errors.Join(err, batch.Close())
		}
		n++
		return true, s.commit(batch, pebble.NoSync, true) // lost, it is done again
	})
	return n, err
}

// expireStatementKeys looks at all of them, and so not at every call.
func (s *Store) expireStatementKeys(ctx context.Context) error {
	x := s.executions
	x.mu.Lock()
	now := s.clock.read()
	due := now >= x.sweep
	if due {
		x.sweep = now + int64(sweepEvery)
	}
	x.mu.Unlock()
	if !due {
		return nil
	}
	return s.scan(ctx, []byte{kindStatementKey}, nil, func(key, value []byte) (bool, error) {
		_, until, err := parseStatementClaim(value)
		if err != nil || until.UnixNano() > s.clock.read() {
			return err == nil, err
		}
		x.mu.Lock() // or what is claimed anew would be removed
		defer x.mu.Unlock()
		if _, err := x.loadClaim(string(key[1:])); !errors.Is(err, query.ErrNotFound) {
			return err == nil, err
		}
		batch := s.db.NewBatch()
		if err := batch.Delete(key, nil); err != nil {
			return false, errors.Join(err, batch.Close())
		}
		return true, s.commit(batch, pebble.NoSync, true)
	})
}

// listedBytes is how much of an execution's SQL lies with it: query.ListedSQL characters, or more. It may end within one.
const listedBytes = query.ListedSQL * utf8.UTFMax

func appendExecution(b []byte, e *query.Execution, until time.Time) []byte {
	b = appendTime(b, until)
	b = appendString(b, e.SQL[:min(len(e.SQL), listedBytes)])
	b = appendString(b, string(e.State))
	for _, t := range []time.Time{e.Submitted, e.Started, e.Ended, e.CompleteThrough} {
		b = appendTime(b, t)
	}
	for _, n := range []int64{e.Statistics.Rows, e.Statistics.ScannedBytes, int64(e.Statistics.Elapsed), e.ResultBytes} {
		b = appendInt(b, n)
	}
	return appendString(b, e.Error)
}

func parseExecution(id string, v []byte) (query.Execution, time.Time, error) {
	f := fields{b: v}
	until := f.time()
	e := query.Execution{ID: id, SQL: f.string(), State: query.State(f.string())}
	e.Submitted, e.Started, e.Ended, e.CompleteThrough = f.time(), f.time(), f.time(), f.time()
	e.Statistics.Rows, e.Statistics.ScannedBytes, e.Statistics.Elapsed = f.int(), f.int(), time.Duration(f.int())
	e.ResultBytes, e.Error = f.int(), f.string()
	return e, until, f.done()
}

func appendStatementClaim(b []byte, c *query.Claim, until time.Time) []byte {
	b = appendTime(b, until)
	b = appendString(b, c.Token)
	b = appendString(b, c.Fingerprint[:])
	return appendString(b, c.ID)
}

func parseStatementClaim(v []byte) (query.Claim, time.Time, error) {
	f := fields{b: v}
	until := f.time()
	c := query.Claim{Token: f.string()}
	if n := copy(c.Fingerprint[:], f.bytes()); n != len(c.Fingerprint) {
		f.fail()
	}
	c.ID = f.string()
	return c, until, f.done()
}

// appendTime appends nanoseconds since 1970, 0 for the zero time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return appendInt(b, 0)
	}
	return appendInt(b, t.UnixNano())
}

func (f *fields) time() time.Time {
	if nanos := f.int(); nanos != 0 {
		return timeOf(nanos)
	}
	return time.Time{}
}
