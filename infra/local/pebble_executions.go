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

// Executions keep what is known of executions of SQL, each with its token and its place in the order of submission.
type Executions struct {
	store *Store
	mu    sync.Mutex // held over looking and the synced write: nothing is written over what was saved meanwhile
}

var _ query.Executions = (*Executions)(nil)

func keyExecution(id string) []byte  { return append([]byte{kindExecution}, id...) }
func keyStatement(id string) []byte  { return append([]byte{kindStatement}, id...) }
func keyStarted(token string) []byte { return append([]byte{kindStarted}, token...) }

func keySubmitted(at time.Time, id string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{kindSubmitted}, uint64(at.UnixNano())), id...)
}

// Add implements query.Executions.
func (x *Executions) Add(ctx context.Context, e query.Execution, until time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch _, err := x.Get(ctx, e.ID); {
	case err == nil:
		return nil
	case !errors.Is(err, query.ErrNotFound):
		return err
	}
	return x.save(ctx, e, until)
}

// Save implements query.Executions.
func (x *Executions) Save(ctx context.Context, e query.Execution, until time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.save(ctx, e, until)
}

func (x *Executions) save(ctx context.Context, e query.Execution, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("execution %s: %w", e.ID, err)
	}
	if err := x.store.enter(); err != nil {
		return err
	}
	defer x.store.leave()
	batch := x.store.db.NewBatch()
	var long error
	if len(e.SQL) > listedBytes {
		long = batch.Set(keyStatement(e.ID), []byte(e.SQL), nil)
	}
	if err := errors.Join(
		long,
		batch.Set(keyExecution(e.ID), appendExecution(nil, &e, until), nil),
		batch.Set(keyStarted(e.Token), []byte(e.ID), nil),
		batch.Set(keySubmitted(e.Submitted, e.ID), nil, nil),
	); err != nil {
		return fmt.Errorf("execution %s: %w", e.ID, errors.Join(err, batch.Close()))
	}
	if err := x.store.commit(batch, pebble.Sync, false); err != nil {
		return fmt.Errorf("execution %s: %w", e.ID, err)
	}
	return nil
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

// Started implements query.Executions.
func (x *Executions) Started(ctx context.Context, token string) (query.Execution, error) {
	if err := ctx.Err(); err != nil {
		return query.Execution{}, fmt.Errorf("execution by its token: %w", err)
	}
	if err := x.store.enter(); err != nil {
		return query.Execution{}, err
	}
	defer x.store.leave()
	id, err := x.store.get(keyStarted(token))
	switch {
	case err != nil:
		return query.Execution{}, fmt.Errorf("execution by its token: %w", err)
	case id == nil:
		return query.Execution{}, query.ErrNotFound
	}
	return x.loadWhole(string(id))
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

// ExpireExecutions removes the executions that need not be kept any more and returns their number. It ends at the first that must: they
// are kept equally long.
func (s *Store) ExpireExecutions(ctx context.Context) (n int, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	x := s.executions
	err = s.scan(ctx, []byte{kindSubmitted}, nil, func(key, _ []byte) (bool, error) {
		id, err := submittedID(key)
		if err != nil {
			return false, err
		}
		e, until, err := x.load(id)
		if err != nil && !errors.Is(err, query.ErrNotFound) {
			return false, err
		}
		if err == nil && until.UnixNano() > s.clock.read() {
			return false, nil
		}
		batch := s.db.NewBatch()
		err = errors.Join(batch.Delete(key, nil), batch.Delete(keyExecution(id), nil), batch.Delete(keyStatement(id), nil))
		// The key may have started another one since.
		if started, getErr := s.get(keyStarted(e.Token)); getErr != nil || string(started) == id {
			err = errors.Join(err, getErr, batch.Delete(keyStarted(e.Token), nil))
		}
		if err != nil {
			return false, errors.Join(err, batch.Close())
		}
		n++
		return true, s.commit(batch, pebble.NoSync, true) // lost, it is done again
	})
	if err != nil {
		err = fmt.Errorf("expiring executions: %w", err)
	}
	return n, err
}

// listedBytes is how much of an execution's SQL lies with it: query.ListedSQL characters, or more. It may end within one.
const listedBytes = query.ListedSQL * utf8.UTFMax

func appendExecution(b []byte, e *query.Execution, until time.Time) []byte {
	b = appendTime(b, until)
	b = appendString(b, e.SQL[:min(len(e.SQL), listedBytes)])
	b = appendString(b, string(e.State))
	b = appendString(b, e.Token)
	b = appendString(b, e.Fingerprint[:])
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
	e := query.Execution{ID: id, SQL: f.string(), State: query.State(f.string()), Token: f.string()}
	if n := copy(e.Fingerprint[:], f.bytes()); n != len(e.Fingerprint) {
		f.fail()
	}
	e.Submitted, e.Started, e.Ended, e.CompleteThrough = f.time(), f.time(), f.time(), f.time()
	e.Statistics.Rows, e.Statistics.ScannedBytes, e.Statistics.Elapsed = f.int(), f.int(), time.Duration(f.int())
	e.ResultBytes, e.Error = f.int(), f.string()
	return e, until, f.done()
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
