package ingest

import (
	"context"
	"fmt"
	"time"

	"penstock/schemas"
)

// uploadTimeout is an upload's own deadline; see putTimeout.
const uploadTimeout = 30 * time.Second

// upload is a large body on its way to object storage, with the event that waits for it.
type upload struct {
	index  int
	event  schemas.Event
	landed <-chan landing
}

type landing struct {
	ref string
	err error
}

// startUpload stores the body in a goroutine of ingest's own that retains the Hold, so that the request can end at its
// deadline while the store still reads the body. An object without an event is harmless.
func (in *Ingest) startUpload(index int, event schemas.Event, s *Submission) upload {
	landed := make(chan landing, 1)
	id, received, body, hold := event.ID, event.ReceivedTime, s.Body, s.Hold
	hold.Retain()
	in.gate.join(nil)
	go func() {
		defer in.gate.leave(nil)
		ctx, cancel := context.WithTimeout(in.ctx, uploadTimeout)
		defer cancel()
		ref, err := in.bodies.Put(ctx, id, received, body)
		hold.Release()
		landed <- landing{ref, err}
	}()
	return upload{index, event, landed}
}

// finishUpload waits for the body to be durable and encodes its event.
func (r *request) finishUpload(ctx context.Context, u upload) error {
	select {
	case l := <-u.landed:
		if l.err != nil {
			return fmt.Errorf("%w: storing the body: %w", ErrNotDurable, l.err)
		}
		if ctx.Err() != nil {
			return tooLate(ctx)
		}
		u.event.DataRef = l.ref
		return r.encode(u.index, &u.event)
	case <-ctx.Done():
		return tooLate(ctx)
	}
}
