package httpapi

import (
	"encoding/json"
	"testing"
	"time"

	"penstock/ingest"
	"penstock/schemas"
)

// The answer that is put together by hand is what encoding/json makes of it, byte for byte.
func TestAccepted(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{time.Unix(1_790_000_000, 0), time.Unix(1_790_000_000, 123_456_000), time.Now().Truncate(time.Microsecond)} {
		ack := ingest.Ack{ID: schemas.NewID(at), ReceivedTime: at, Via: "stream"}
		want, err := json.Marshal(ackDocument{ack.ID, at.UTC().Format("2006-01-02T15:04:05.000000Z07:00"), ack.Via, "/v1/events/" + ack.ID})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(accepted(ack)); got != string(want)+"\n" {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
