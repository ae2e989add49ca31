package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// eraseTimeout bounds an erasure: it may wait for a compaction to finish a file, and rewrites files itself.
const eraseTimeout = 2 * time.Minute

// erasure is the answer to an erasure.
type erasure struct {
	ID     string          `json:"id"`
	Erased string          `json:"erased"`
	HeldBy []erasureHolder `json:"heldBy"`
}

type erasureHolder struct {
	Holder string `json:"holder"`
	Until  string `json:"until,omitempty"`
	Detail string `json:"detail"`
}

// eraseEvent removes an event for good, and says what still holds it.
func (s *Server) eraseEvent(x *exchange) error {
	id := x.param("id")
	if _, err := schemas.IDTime(id); err != nil {
		return refuse(invalidParameter, "This is "+err.Error()+".")
	}
	ctx, cancel := context.WithTimeout(s.base, eraseTimeout)
	defer cancel()
	erased, err := s.deps.Eraser.Erase(ctx, id)
	if errors.Is(err, consumer.ErrNotFound) {
		return refuse(eventUnknown, "No event has this id, as far as index and lake have come. Nothing was changed.")
	}
	if err != nil {
		return err
	}
	answer := erasure{ID: id, Erased: formatTime(erased.Erased), HeldBy: make([]erasureHolder, len(erased.HeldBy))}
	for i, h := range erased.HeldBy {
		answer.HeldBy[i] = erasureHolder{Holder: h.Holder, Until: optionalTime(h.Until), Detail: h.Detail}
	}
	writeJSON(x.ctx, http.StatusOK, mediaJSON, answer)
	return nil
}
