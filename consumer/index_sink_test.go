package consumer

import (
	"testing"
	"testing/synctest"
	"time"

	"penstock/schemas"
)

// TestRefusedEventsAreDeadLetters: the index refuses two of many for good; the others are stored, in one checkpoint.
func TestRefusedEventsAreDeadLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		var events [][]byte
		for range 9 {
			events = append(events, w.inline())
		}
		sequence := w.send("a", events...)
		w.index.refuse[w.ids[3]], w.index.refuse[w.ids[8]] = true, true
		p := w.start("one")
		defer p.shutdown()
		at := schemas.Position{Sequence: sequence, Sub: 8}
		eventually(t, time.Second, "the checkpoint", func() bool {
			c, err := w.index.Checkpoint(t.Context(), "a")
			return err == nil && c.Position == at
		})
		letters := w.letters.of(IndexSinkName)
		if len(letters) != 2 || letters[0].Position.Sub != 3 || letters[1].Position.Sub != 8 {
			t.Fatalf("letters %+v", letters)
		}
		for i, id := range w.ids {
			if got, want := w.index.has(id), i != 3 && i != 8; got != want {
				t.Errorf("event %d in the index: %t", i, got)
			}
		}
	})
}
