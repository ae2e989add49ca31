package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is a number of connections that send complete HTTP/1.1 requests, each waiting for its answer.
//
// Closed loop (rate 0): every connection sends its next request as soon as it has an answer, which shows the throughput.
// Open loop: requests are due at a fixed rate whether or not earlier ones are answered, and a latency counts from when the
// request was due, so that a stall is charged to every request that it held up (no coordinated omission).
type load struct {
	dial        dialFunc
	connections int
	requests    [][]byte // used in turn
	status      int      // the answer's; any other fails the round
	rate        float64  // requests a second, 0: closed loop
}

type dialFunc func(context.Context) (net.Conn, error)

// dialer dials the address of a server on this machine.
func dialer(address string) dialFunc {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
}

// lateness is how much longer than its length a round may take before it is given up.
const lateness = 10 * time.Second

// round sends for the given time and waits for the answers. The connections are made before the clock starts.
func (l *load) round(ctx context.Context, length time.Duration) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, length+lateness)
	defer cancel()
	workers := make([]loadWorker, l.connections)
	for i := range workers {
		conn, err := l.dial(ctx)
		if err != nil {
			return sample{}, errors.Join(fmt.Errorf("connect: %w", err), closeAll(workers[:i]))
		}
		workers[i] = loadWorker{load: l, conn: newClientConn(conn)}
	}
	stop := context.AfterFunc(ctx, func() {
		for i := range workers {
			workers[i].conn.interrupt()
		}
	})
	defer stop()
	run := loadRun{start: time.Now(), length: length}
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() { workers[i].err = workers[i].run(ctx, &run) })
	}
	group.Wait()
	elapsed := time.Since(run.start)

	var s sample
	var errs []error
	for i := range workers {
		s.latencies = append(s.latencies, workers[i].latencies...)
		if workers[i].err != nil && len(errs) < 3 { // they mostly say the same
			errs = append(errs, workers[i].err)
		}
	}
	slices.Sort(s.latencies)
	s.perSecond = float64(len(s.latencies)) / elapsed.Seconds()
	return s, errors.Join(append(errs, closeAll(workers))...)
}

func closeAll(workers []loadWorker) error {
	var errs []error
	for i := range workers {
		errs = append(errs, workers[i].conn.close())
	}
	return errors.Join(errs...)
}

// loadRun is one round, shared by its connections.
type loadRun struct {
	start  time.Time
	length time.Duration
	next   atomic.Int64 // number of the next request
}

type loadWorker struct {
	load      *load
	conn      *clientConn
	latencies []time.Duration
	err       error
}

func (w *loadWorker) run(ctx context.Context, run *loadRun) error {
	for {
		n := run.next.Add(1) - 1
		due := time.Now()
		if w.load.rate > 0 {
			due = run.start.Add(time.Duration(float64(n) / w.load.rate * float64(time.Second)))
		}
		if due.Sub(run.start) >= run.length {
			return nil
		}
		if err := waitUntil(ctx, due); err != nil {
			return err
		}
		if err := w.conn.exchange(w.load.requests[int(n)%len(w.load.requests)], w.load.status); err != nil {
			return errors.Join(err, ctx.Err())
		}
		w.latencies = append(w.latencies, time.Since(due))
	}
}

func waitUntil(ctx context.Context, due time.Time) error {
	wait := time.Until(due)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
