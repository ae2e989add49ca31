package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// againstSleep names the comparator of the rows on AWS.
const againstSleep = "bare Fiber, json.Valid, 10 ms"

// ackedOnAWS: the front end over a stream that takes 10 ms for a call, against bare Fiber that sleeps as long.
func (b *bench) ackedOnAWS(connections int, throughput *goal) func(context.Context) ([]measure, error) {
	return func(ctx context.Context) ([]measure, error) {
		pairs, _, err := b.onAWS(ctx, connections, kilobyte)
		if err != nil {
			return nil, err
		}
		return []measure{
			summarize("throughput, closed loop", againstSleep, "requests/s", throughput, pairs, scaled(1)),
			summarize("p50, closed loop", againstSleep, "ms", atMost(1.3), pairs, millis(0.50)),
			summarize("p99, closed loop", againstSleep, "ms", nil, pairs, millis(0.99)),
		}, nil
	}
}

// gathered: how many small events share a record of the stream.
func (b *bench) gathered(ctx context.Context) ([]measure, error) {
	pairs, counts, err := b.onAWS(ctx, 2048, 200)
	if err != nil {
		return nil, err
	}
	return []measure{
		summarize("throughput, closed loop", againstSleep, "requests/s", nil, pairs, scaled(1)),
		bounded("events in a record", "events", 20, float64(counts.Events)/float64(counts.Records), atLeast(1)),
		bounded("records in a call", "records", 1, float64(counts.Records)/float64(counts.Calls), nil),
	}, nil
}

// onAWS alternates bare Fiber and the front end, and tells what came to the stream. An event that was acked and is not there
// fails the row.
func (b *bench) onAWS(ctx context.Context, connections, size int) (_ []pair, counts stubCounts, err error) {
	stub, err := b.startStub(ctx)
	if err != nil {
		return nil, counts, err
	}
	defer func() { err = stub.end(err) }()
	fiber, err := b.startFiber(ctx)
	if err != nil {
		return nil, counts, err
	}
	defer func() { err = fiber.end(err) }()
	front, err := b.startFront(ctx, stub.address)
	if err != nil {
		return nil, counts, err
	}
	defer func() { err = front.end(err) }()
	bodies := documents(variants, size)
	limit := load{dialer(fiber.address), connections, postsTo(sleepingPath, mediaJSON, bodies), http.StatusAccepted, 0}
	subject := load{dialer(front.address), connections, posts(mediaJSON, bodies), http.StatusAccepted, 0}
	var acked atomic.Int64
	counted := sideFunc(func(ctx context.Context, length time.Duration) (sample, error) {
		s, err := subject.round(ctx, length)
		acked.Add(int64(len(s.latencies)))
		return s, err
	})
	pairs, err := b.alternate(ctx, front.whilePaused(&limit), counted)
	if err != nil {
		return nil, counts, err
	}
	if counts, err = fetchCounts(ctx, stub.address); err != nil {
		return nil, counts, err
	}
	if counts.Events != acked.Load() {
		return nil, counts, fmt.Errorf("%d events were acked, and %d are on the stream", acked.Load(), counts.Events)
	}
	if counts.Records == 0 {
		return nil, counts, errors.New("the stream got nothing")
	}
	return pairs, counts, nil
}
