package aws

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock/ingest"
)

// TestUsedTicketsConform: of many processes that are given a ticket one takes it, and none does later.
func TestUsedTicketsConform(t *testing.T) {
	t.Parallel()
	c := peers(t, dynamoEndpoint)
	tables := newTables(t, c)
	var nonce, other [16]byte
	_, _ = rand.Read(nonce[:]) // never fails: https://pkg.go.dev/crypto/rand#Read
	ends := time.Now().Add(30 * time.Second)
	var firsts atomic.Int32
	var asked sync.WaitGroup
	for range 16 {
		asked.Go(func() {
			first, err := NewUsedTickets(c, tables).Use(t.Context(), nonce, ends)
			if err != nil {
				t.Error(err)
			}
			if first {
				firsts.Add(1)
			}
		})
	}
	asked.Wait()
	if n := firsts.Load(); n != 1 {
		t.Errorf("%d have taken it", n)
	}
	if first, err := NewUsedTickets(c, tables).Use(t.Context(), nonce, ends); err != nil || first {
		t.Errorf("later: %v, %v", first, err)
	}
	if first, err := NewUsedTickets(c, tables).Use(t.Context(), other, ends); err != nil || !first {
		t.Errorf("another: %v, %v", first, err)
	}
}

// A lost answer does not cost a ticket, and where nobody knows it is not taken.
func TestUsedTicketsLostAnswer(t *testing.T) {
	t.Parallel()
	var written map[string]any
	s := newDynamoStub(t, func(c call) reply {
		if c.op == "PutItem" {
			written, _ = c.in["Item"].(map[string]any) // if it is something else, the ticket below is not its own
			return lost
		}
		return encodeReply(t, map[string]any{"Item": written})
	})
	ends := time.Unix(1_800_000_000, 0)
	if first, err := NewUsedTickets(s.Clients, testTables).Use(t.Context(), [16]byte{}, ends); err != nil || !first {
		t.Errorf("its own: %v, %v", first, err)
	}
	if x, want := fmt.Sprint(written[expiry]), fmt.Sprint(map[string]any{"N": fmt.Sprint(ends.Add(ticketKept).Unix())}); x != want {
		t.Errorf("it is kept until %s, want %s", x, want)
	}
	s = newDynamoStub(t, always(lost))
	if first, err := NewUsedTickets(s.Clients, testTables).Use(t.Context(), [16]byte{}, time.Now()); !errors.Is(err, ingest.ErrAmbiguous) || first {
		t.Errorf("nobody knows: %v, %v", first, err)
	}
}
