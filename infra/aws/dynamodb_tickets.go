package aws

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"
)

// ticketKept is how long a ticket's mark stays after its end: hosts' clocks differ by less.
const ticketKept = time.Hour

// UsedTickets remember in the state table which tickets were taken, for all processes with the same Secret.
type UsedTickets struct{ state table }

// NewUsedTickets keeps them in the state table.
func NewUsedTickets(c Clients, t Tables) *UsedTickets {
	return &UsedTickets{table{c.DynamoDB, t.State}}
}

// Use marks the ticket with the nonce as taken and reports whether it had not been. After an error it may be.
func (u *UsedTickets) Use(ctx context.Context, nonce [16]byte, ends time.Time) (first bool, err error) {
	it := stateKey("ticket#"+hex.EncodeToString(nonce[:]), "ticket")
	it[expiry] = expiresAt(ends.Add(ticketKept))
	_, first, err = u.state.putOwn(ctx, it, "attribute_not_exists(pk)", nil)
	if err != nil {
		return false, fmt.Errorf("used tickets: %w", err)
	}
	return first, nil
}
