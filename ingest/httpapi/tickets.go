package httpapi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"slices"
	"sync"
	"time"
)

// ticketLife is how long a ticket may be redeemed.
const ticketLife = 30 * time.Second

// tickets stand for an API key where a browser can't send one. A ticket names the key and is signed with a secret, so every process
// with that secret takes it; each takes it once.
type tickets struct {
	keys   *Keys
	secret []byte
	now    func() time.Time

	mu   sync.Mutex
	used map[[ticketNonce]byte]time.Time // until when it would be valid
}

// A ticket is a nonce, the end of its life in Unix seconds, the key's name, and the HMAC of those.
const (
	ticketNonce = 16
	ticketHead  = ticketNonce + 8
)

func newTickets(c *Config) *tickets {
	return &tickets{keys: c.Keys, secret: c.TicketSecret, now: c.Now, used: map[[ticketNonce]byte]time.Time{}}
}

// issue makes a ticket for a credential. Without keys anything will do: none is asked for.
func (t *tickets) issue(credential string) string {
	ticket := make([]byte, ticketHead, ticketHead+len(credential)+sha256.Size)
	_, _ = rand.Read(ticket[:ticketNonce]) // never fails: crypto/rand ends the process rather than return an error
	binary.BigEndian.PutUint64(ticket[ticketNonce:], uint64(t.now().Add(ticketLife).Unix()))
	ticket = append(ticket, credential...)
	return base64.RawURLEncoding.EncodeToString(append(ticket, t.sign(ticket)...))
}

func (t *tickets) sign(ticket []byte) []byte {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write(ticket)
	return mac.Sum(nil)
}

// redeem returns the credential that a ticket stands for, once.
func (t *tickets) redeem(ticket string) (credential string, err error) {
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
	ends, now := time.Unix(int64(binary.BigEndian.Uint64(signed[ticketNonce:])), 0), t.now()
	if !now.Before(ends) || !t.use([ticketNonce]byte(signed), ends, now) {
		return "", refused
	}
	return credential, nil
}

// use reports whether the ticket had not been used. Those that nobody could use any more are forgotten.
func (t *tickets) use(nonce [ticketNonce]byte, ends, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, e := range t.used {
		if !now.Before(e) {
			delete(t.used, n)
		}
	}
	_, used := t.used[nonce]
	t.used[nonce] = ends
	return !used
}

func (s *Server) postTicket(x *exchange) error {
	writeJSON(x.ctx, http.StatusCreated, mediaJSON, struct {
		Ticket    string `json:"ticket"`
		ExpiresIn int    `json:"expiresIn"`
	}{s.tickets.issue(x.credential), int(ticketLife / time.Second)})
	x.ctx.Response.Header.Set("Cache-Control", "no-store")
	return nil
}
