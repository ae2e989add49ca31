package consumer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"penstock/schemas"
)

// rowOverhead is what a row takes up in memory besides the encoded event: the Row itself, its strings, and the slack of
// the slices it lies in.
const rowOverhead = 1024

// errBody is matched by errors about a body that will never be right, as opposed to one that can't be read now.
var errBody = errors.New("unusable body")

// rowMaker turns entries into rows, with the bodies that ingest put in object storage.
type rowMaker struct {
	bodies  Bodies
	fetches *semaphore.Weighted // bodies being read at once, over all shards
}

// fetched reports whether the row of an event gets its body from object storage. Larger ones stay a reference.
func fetched(e *schemas.Event) bool {
	return e.DataRef != "" && e.Size <= schemas.MaxBody
}

// rowBytes is how much memory the row of an entry will take up.
func rowBytes(e *Entry) int64 {
	n := int64(rowOverhead + len(e.Encoded))
	if fetched(&e.Event) {
		n += e.Event.Size
	}
	return n
}

// rows makes one row per entry. Where refused[i] is set, the body of entry i is unusable for good and there is no row.
func (m *rowMaker) rows(ctx context.Context, entries []Entry) (rows []Row, refused []error, err error) {
	rows = make([]Row, len(entries))
	refused = make([]error, len(entries))
	group, groupCtx := errgroup.WithContext(ctx)
	var stopped error
	for i := range entries {
		e := &entries[i]
		rows[i] = Row{Event: e.Event, Body: e.Event.Data, Shard: e.Shard, Position: e.Position}
		if !fetched(&e.Event) {
			continue
		}
		if stopped = m.fetches.Acquire(groupCtx, 1); stopped != nil {
			break // a fetch has failed, or ctx has ended
		}
		group.Go(func() error {
			defer m.fetches.Release(1)
			body, err := m.fetch(groupCtx, &e.Event)
			if errors.Is(err, errBody) {
				refused[i] = err
				return nil
			}
			rows[i].Body = body
			return err
		})
	}
	if err := errors.Join(group.Wait(), stopped); err != nil {
		return nil, nil, err
	}
	return rows, refused, nil
}

// fetch reads a body and checks that it is the one that was posted.
func (m *rowMaker) fetch(ctx context.Context, e *schemas.Event) ([]byte, error) {
	r, err := m.bodies.Open(ctx, e.DataRef)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: %s: %w", errBody, e.DataRef, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open body %s: %w", e.DataRef, err)
	}
	defer r.Close() //nolint:errcheck // nothing was written
	// One byte beyond the size shows a body that is too long; the room that ReadFrom wants beyond that keeps the buffer
	// from growing. Only a clean end of the object counts as one: a connection that breaks is another error.
	buffer := bytes.NewBuffer(make([]byte, 0, e.Size+1+bytes.MinRead))
	if _, err := buffer.ReadFrom(io.LimitReader(r, e.Size+1)); err != nil {
		return nil, fmt.Errorf("read body %s: %w", e.DataRef, err)
	}
	body := buffer.Bytes()
	if int64(len(body)) != e.Size {
		return nil, fmt.Errorf("%w: %s does not have the event's %d bytes", errBody, e.DataRef, e.Size)
	}
	if sum := sha256.Sum256(body); sum != e.SHA256 {
		return nil, fmt.Errorf("%w: %s has sha256 %x, want %x", errBody, e.DataRef, sum, e.SHA256)
	}
	return body, nil
}
