package httpapi

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// ticketLife is how long a ticket may be redeemed.
const ticketLife = 30 * time.Second

// TicketNonce is the length in bytes of what tells tickets apart.
const TicketNonce = 16

// UsedTickets remember which tickets were taken. Its method is safe for concurrent use.
type UsedTickets interface {
	// Use marks a ticket as taken, at least until its end, and reports whether it had not been. After an error it may be.
	Use(ctx context.Context, nonce [TicketNonce]byte, ends time.Time) (first bool, err error)
}

// ticketKept is how long a mark stays after its ticket's end: more than clocks differ by.
const ticketKept = time.Hour

// usedHere are the tickets that this process has taken.
type usedHere struct {
	mu    sync.Mutex
	until map[[TicketNonce]byte]time.Time // when to forget it
}

// Use implements UsedTickets. Tickets that nobody could use any more are forgotten.
func (u *usedHere) Use(_ context.Context, nonce [TicketNonce]byte, ends time.Time) (first bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(u.until, func(_ [TicketNonce]byte, until time.Time) bool { return !now.Before(until) })
	_, used := u.until[nonce]
	u.until[nonce] = ends.Add(ticketKept)
	return !used, nil
}

// tickets stand for an API key where a browser can't send one. A ticket names the key and is signed with a secret, so every process
// with that secret takes it.
type tickets struct {
	keys   *Keys
	secret []byte
	used   UsedTickets
	now    func() time.Time
}

// ticketHead: a ticket is a nonce, the end of its life in Unix seconds, the key's name, and the HMAC of those.
const ticketHead = TicketNonce + 8

func newTickets(c *Config) *tickets {
	return &tickets{keys: c.Keys, secret: c.TicketSecret, used: c.UsedTickets, now: c.Now}
}

// issue makes a ticket for a credential. Without keys anything will do: none is asked for.
func (t *tickets) issue(credential string) string {
	ticket := make([]byte, ticketHead, ticketHead+len(credential)+sha256.Size)
	_, _ = rand.Read(ticket[:TicketNonce]) // never fails: crypto/rand ends the process rather than return an error
	binary.BigEndian.PutUint64(ticket[TicketNonce:], uint64(t.now().Add(ticketLife).Unix()))
	ticket = append(ticket, credential...)
	return base64.RawURLEncoding.EncodeToString(append(ticket, t.sign(ticket)...))
}

func (t *tickets) sign(ticket []byte) []byte {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write(ticket)
	return mac.Sum(nil)
}

// redeem returns the credential that a ticket stands for, once.
func (t *tickets) redeem(ctx context.Context, ticket string) (credential string, err error) {
	refused := refuse(unauthorized, "The ticket is not valid, not valid any more, or was used before. POST /v1/tickets gives another.")
	b, err := base64.RawURLEncoding.DecodeString(ticket)
	if err != nil || len(b) < ticketHead+sha256.Size {
		return "", refused
	}
	signed, mac := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	credential = string(signed[ticketHead:])
	if !hmac.Equal(t.sign(signed), mac) || !slices.Contains(t.keys.names, credential) { // the key may be gone
		return "", refused
	}
	ends := time.Unix(int64(binary.BigEndian.Uint64(signed[TicketNonce:])), 0)
	if !t.now().Before(ends) {
		return "", refused
	}
	switch first, err := t.used.Use(ctx, [TicketNonce]byte(signed), ends); {
	case err != nil:
		return "", fmt.Errorf("taking a ticket: %w", err)
	case !first:
		return "", refused
	}
	return credential, nil
}

func (s *Server) postTicket(x *exchange) error {
	writeJSON(x.ctx, http.StatusCreated, mediaJSON, struct {
		Ticket    string `json:"ticket"`
		ExpiresIn int    `json:"expiresIn"`
	}{s.tickets.issue(x.credential), int(ticketLife / time.Second)})
	x.ctx.Response.Header.Set("Cache-Control", "no-store")
	return nil
}
