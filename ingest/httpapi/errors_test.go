package httpapi

import (
	"errors"
	"fmt"
	"testing"

	"penstock/ingest"
)

// An event in doubt is answered as such, whatever else its error wraps: "nothing was stored" would be a lie.
func TestDoubtGoesFirst(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{ingest.ErrStorageFull, ingest.ErrOverloaded, ingest.ErrDraining, ingest.ErrNotDurable} {
		// As when the log fails and the retry is refused.
		landed := fmt.Errorf("%w: %w", ingest.ErrAmbiguous, errors.Join(cause, errors.New("no space left on device")))
		err := fmt.Errorf("%w: %w; the last attempt: %w", ingest.ErrUnknownOutcome, cause, landed)
		if p := (&Server{}).problemOf(err); p.Type != "/problems/outcome-unknown" {
			t.Errorf("%v is answered as %s: %s", err, p.Type, p.Detail)
		}
	}
}
