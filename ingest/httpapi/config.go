package httpapi

import (
	"crypto/rand"
	"fmt"
	"net"
	"time"

	"penstock/schemas"
)

// Config bounds a Server. Defaults gives a value for every field.
type Config struct {
	// Keys are the API keys; nil: none, and then only loopback may be listened on (CheckListen).
	Keys *Keys
	// TicketSecret signs tickets, at least 16 bytes. Processes that shall take each other's have the same.
	TicketSecret []byte
	// UsedTickets are what those processes have taken.
	UsedTickets UsedTickets
	// MetricsOnMain serves /metrics on the main listener too. Only for a loopback one.
	MetricsOnMain bool
	// MaxConnections is how many client connections may be open at once. Each costs about 32 KiB of buffers.
	MaxConnections int
	// HeaderTimeout is how long the header of a request and the first byte of its body may take.
	HeaderTimeout time.Duration
	// IdleTimeout is how long a connection may wait for its next request.
	IdleTimeout time.Duration
	// WriteTimeout is how long each piece of an answer may wait for a client that does not read.
	WriteTimeout time.Duration
	// BodyGrace and MinBodyRate (bytes per second) bound the time of a body: grace + bytes / rate. A slower client is
	// dropped, because its body holds room in the budget.
	BodyGrace   time.Duration
	MinBodyRate int64
	// RoomWait is how long a request waits for room in the budget before it gets a 503.
	RoomWait time.Duration
	// AnswerBytes bounds the answers in memory that clients have not read yet, of those that may be over 16 KiB: events,
	// batch results, states, lists and dead letters.
	AnswerBytes int64
	// AckDeadline is how long after the last byte of its body a POST may wait for its ack (invariant 4: below 2 s).
	AckDeadline time.Duration
	// LingerTime and LingerBytes bound what is read and discarded after an early answer.
	LingerTime  time.Duration
	LingerBytes int64
	// Now is the clock by which ids are compared with the watermark.
	Now func() time.Time
}

const minTicketSecret = 16

// Defaults are the values that serve a single machine well.
func Defaults() Config {
	secret := make([]byte, 2*minTicketSecret)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the process rather than return an error
	return Config{
		TicketSecret:   secret,
		UsedTickets:    &usedHere{until: map[[TicketNonce]byte]time.Time{}},
		MaxConnections: 4096,
		HeaderTimeout:  10 * time.Second,
		IdleTimeout:    75 * time.Second,
		WriteTimeout:   30 * time.Second,
		BodyGrace:      10 * time.Second,
		MinBodyRate:    64 << 10,
		RoomWait:       time.Second,
		AnswerBytes:    128 << 20,
		AckDeadline:    1900 * time.Millisecond,
		LingerTime:     2 * time.Second,
		LingerBytes:    2 * schemas.MaxBody,
		Now:            time.Now,
	}
}

// Validate checks every field; the error names the field, its value and the bound.
func (c *Config) Validate() error {
	if c.Now == nil || c.UsedTickets == nil || len(c.TicketSecret) < minTicketSecret {
		return fmt.Errorf("http: Now and UsedTickets are required, and a TicketSecret of %d bytes", minTicketSecret)
	}
	for _, f := range []struct {
		name             string
		value, low, high int64
	}{
		{"MaxConnections", int64(c.MaxConnections), 1, 1 << 20},
		{"MinBodyRate", c.MinBodyRate, 1, 1 << 40},
		{"LingerBytes", c.LingerBytes, 0, 1 << 30},
		{"AnswerBytes", c.AnswerBytes, largestAnswer, 1 << 40},
	} {
		if f.value < f.low || f.value > f.high {
			return fmt.Errorf("http: %s %d must be between %d and %d", f.name, f.value, f.low, f.high)
		}
	}
	for _, f := range []struct {
		name             string
		value, low, high time.Duration
	}{
		{"HeaderTimeout", c.HeaderTimeout, time.Millisecond, time.Hour},
		{"IdleTimeout", c.IdleTimeout, time.Millisecond, time.Hour},
		{"WriteTimeout", c.WriteTimeout, time.Millisecond, time.Hour},
		{"BodyGrace", c.BodyGrace, time.Millisecond, time.Hour},
		{"RoomWait", c.RoomWait, 0, time.Minute},
		{"AckDeadline", c.AckDeadline, time.Millisecond, 2 * time.Second},
		{"LingerTime", c.LingerTime, time.Millisecond, time.Minute},
	} {
		if f.value < f.low || f.value > f.high {
			return fmt.Errorf("http: %s %v must be between %v and %v", f.name, f.value, f.low, f.high)
		}
	}
	return nil
}

// CheckListen refuses an address that others can reach when there are no keys. address is HOST:PORT; an empty host means
// every interface.
func CheckListen(address string, hasKeys bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("listen address %q: must be HOST:PORT such as 127.0.0.1:8080", address)
	}
	if !hasKeys && !isLoopbackHost(host) {
		return fmt.Errorf("listen address %q: is not loopback, so it needs a key file with at least one key", address)
	}
	return nil
}

// isLoopbackHost reports whether a host name or address can only mean this machine.
func isLoopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
