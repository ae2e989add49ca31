package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

const (
	// atOnce is how many requests may be under way; keyed ones that are to be sent again, too.
	atOnce = 64
	// hugeEvery is after how long there is another document of over 1 MB.
	hugeEvery = 5 * time.Second
	// againFirst and againLast bound the pauses before a keyed request is sent again.
	againFirst, againLast = 500 * time.Millisecond, 8 * time.Second
)

// load is what clients send. What they send, though not when, follows from the seed.
type load struct {
	client *client
	seed   uint64
	rate   float64 // documents a second

	sent    sync.WaitGroup
	mu      sync.Mutex
	unacked []request // with keys, when the load ended
}

// run sends until stop is closed, and returns when every request has ended.
func (l *load) run(ctx context.Context, stop <-chan struct{}) {
	defer l.sent.Wait()
	slots := make(chan struct{}, atOnce)
	due, nextHuge := time.Now(), time.Now()
	for n, i := 0, 0; ; i++ {
		random := rand.New(rand.NewPCG(l.seed, uint64(i)|1<<63))
		huge := time.Now().After(nextHuge)
		if huge {
			nextHuge = time.Now().Add(hugeEvery)
		}
		r := l.request(random, n, huge)
		n += len(r.documents)
		if behind := time.Since(due); behind > time.Second { // what could not be sent in time is not made up for
			due = time.Now()
		}
		select {
		case <-time.After(time.Until(due)):
		case <-stop:
			return
		}
		select {
		case slots <- struct{}{}:
		case <-stop:
			return
		}
		due = due.Add(time.Duration(float64(len(r.documents)) / l.rate * float64(time.Second)))
		l.sent.Go(func() {
			defer func() { <-slots }()
			l.send(ctx, r, random.IntN(4) == 0, stop)
		})
	}
}

// request makes one, with documents from the nth on.
func (l *load) request(random *rand.Rand, n int, huge bool) request {
	r := request{documents: []document{newDocument(l.seed, n, huge)}}
	switch dice := random.IntN(100); {
	case dice < 20:
		r.partition = "p" + strconv.Itoa(random.IntN(50))
	case dice < 40:
		r.key = fmt.Sprintf("key-%d", n)
	case dice < 50:
		r.batch = true
		for i := range 3 + random.IntN(20) {
			r.documents = append(r.documents, newDocument(l.seed, n+1+i, false))
		}
		if dice < 45 {
			r.key = fmt.Sprintf("key-%d", n)
		}
	}
	return r
}

// send sends a request once, or, if it has a key, until it is acked; then perhaps once more, which must not change anything.
func (l *load) send(ctx context.Context, r request, twice bool, stop <-chan struct{}) {
	done := l.client.post(ctx, r)
	if r.key == "" {
		return
	}
	for pause := againFirst; !done; pause = min(2*pause, againLast) {
		r.again = true
		select {
		case <-time.After(pause):
			done = l.client.post(ctx, r)
			continue
		case <-stop:
		}
		l.mu.Lock()
		l.unacked = append(l.unacked, r)
		l.mu.Unlock()
		return
	}
	if twice {
		r.again = true
		l.client.post(ctx, r)
	}
}

// finish sends once more what has a key and no ack. What is not six minutes old may have to stay so: Penstock says 409 for as
// long as a write of the first try may still land.
func (l *load) finish(ctx context.Context) (open int) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, r := range l.unacked {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if !l.client.post(ctx, r) {
				l.mu.Lock()
				defer l.mu.Unlock()
				open++
			}
		})
	}
	wg.Wait()
	return open
}
