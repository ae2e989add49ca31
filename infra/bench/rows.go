package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"penstock/schemas"
)

const (
	eventsPath = "/v1/events"
	mediaJSON  = "application/json"
	mediaLines = "application/x-ndjson"
	// openLoad is the rate of an open loop as a share of what the subject took in a closed one.
	openLoad = 0.7
)

// row is one line of BENCHMARKS.md's table, or a few that are measured together.
type row struct {
	name    string
	measure func(ctx context.Context) ([]measure, error)
}

func (b *bench) rows() []row {
	rows := []row{
		{"ack 1 KB, 256 connections", func(ctx context.Context) ([]measure, error) { return b.ack(ctx, 256) }},
		{"ack 1 KB, 1 connection", b.ackAlone},
		{"NDJSON 1,000 × 1 KB", b.batches},
		{"5 MB bodies, 16 connections", b.largeBodies},
		{"GET by id, 256 connections", func(ctx context.Context) ([]measure, error) { return b.get(ctx, 256) }},
		{"JSON validation", b.validation},
		{"consumers, 1 KB", b.consumers},
		{"lake append", b.lakeAppend},
		{"SQL count, 10 M events, one day", b.sqlCount},
		{"memory", b.memory},
		{"push: 1,000 clients, 50 executions", b.push},
		{"push: 1,000,000 rows", b.pushLarge},
		{"ack 200 B, 64 connections", b.acked(200, 64)},
		{"ack 1 KB, 1,024 connections", b.acked(kilobyte, 1024)},
		{"ack 20 KB, 64 connections", b.acked(20*kilobyte, 64)},
		{"ack 900 KB, 16 connections", b.acked(900_000, 16)},
		{"sustained: ack 1 KB, 256 connections", b.sustained},
		{"aws: ack 1 KB, 256 connections", b.ackedOnAWS(256, atLeast(0.95))},
		{"aws: ack 1 KB, 1,024 connections", b.ackedOnAWS(1024, atLeast(0.80))},
		{"aws: ack 1 KB, 1 connection", b.ackedOnAWS(1, nil)},
		{"aws: ack 200 B, 2,048 connections", b.gathered},
		{"aws: start of the front end", b.frontStart},
	}
	if os.Getenv(kinesisEndpoint) != "" {
		rows = append(rows,
			row{"aws: start of an index consumer", b.consumerStart("index")},
			row{"aws: start of a lake consumer", b.consumerStart("lake")})
	}
	return rows
}

// endurance are the rows of `make endure`.
func (b *bench) endurance() []row {
	return []row{
		{"a simulated month", b.month},
		{"70 % load, 256 connections", b.steady},
	}
}

// ack: the front end with durability against the same front end without.
func (b *bench) ack(ctx context.Context, connections int) (_ []measure, err error) {
	fiber, server, stop, err := b.both(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = stop(err) }()
	requests := posts(mediaJSON, documents(variants, kilobyte))
	limit := load{dialer(fiber.address), connections, requests, http.StatusAccepted, 0}
	subject := load{dialer(server.address), connections, requests, http.StatusAccepted, 0}
	return b.throughputAndTail(ctx, server, "bare Fiber, json.Valid", &limit, &subject, atLeast(0.60), atMost(2))
}

// acked is the throughput alone, with other bodies and connections.
func (b *bench) acked(size, connections int) func(context.Context) ([]measure, error) {
	return func(ctx context.Context) (_ []measure, err error) {
		fiber, server, stop, err := b.both(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = stop(err) }()
		requests := posts(mediaJSON, documents(variants, size))
		limit := load{dialer(fiber.address), connections, requests, http.StatusAccepted, 0}
		subject := load{dialer(server.address), connections, requests, http.StatusAccepted, 0}
		pairs, err := b.alternate(ctx, server.whilePaused(&limit), &subject)
		if err != nil {
			return nil, err
		}
		return []measure{summarize("throughput, closed loop", "bare Fiber, json.Valid", "requests/s", nil, pairs, scaled(1))}, nil
	}
}

// sustained is the same for longer than the sinks give way to acks.
func (b *bench) sustained(ctx context.Context) ([]measure, error) {
	long := *b
	long.rounds, long.length = 1, 30*b.length
	return long.acked(kilobyte, 256)(ctx)
}

// throughputAndTail runs two loads closed for throughput, and then open, both at the same rate, for the tail.
func (b *bench) throughputAndTail(ctx context.Context, server *process, against string, limit, subject *load,
	throughput, tail *goal,
) ([]measure, error) {
	pairs, err := b.alternate(ctx, server.whilePaused(limit), subject)
	if err != nil {
		return nil, fmt.Errorf("closed loop: %w", err)
	}
	closed := summarize("throughput, closed loop", against, "requests/s", throughput, pairs, scaled(1))
	measures := []measure{
		closed,
		summarize("p50, closed loop", against, "ms", nil, pairs, millis(0.50)),
		summarize("p99, closed loop", against, "ms", tail, pairs, millis(0.99)),
	}
	limit.rate = openLoad * closed.Subject
	subject.rate = limit.rate
	if pairs, err = b.alternate(ctx, server.whilePaused(limit), subject); err != nil {
		return measures, fmt.Errorf("open loop: %w", err)
	}
	at := fmt.Sprintf("open loop, %.0f/s", limit.rate)
	return append(measures,
		summarize("p50, "+at, against, "ms", nil, pairs, millis(0.50)),
		summarize("p99, "+at, against, "ms", tail, pairs, millis(0.99)),
	), nil
}

// ackAlone: what an idle server adds to the disk's own time.
func (b *bench) ackAlone(ctx context.Context) (_ []measure, err error) {
	server, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = server.end(err) }()
	bodies := documents(variants, kilobyte)
	limit, closeFile, err := appendSynced(filepath.Join(b.dir, "append"), bodies[0])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	subject := load{dialer(server.address), 1, posts(mediaJSON, bodies), http.StatusAccepted, 0}
	pairs, err := b.alternate(ctx, server.whilePaused(limit), &subject)
	if err != nil {
		return nil, err
	}
	const against = "append 1 KB, fsync"
	return []measure{
		summarize("p50", against, "ms", atMost(2), pairs, millis(0.50)),
		summarize("p99", against, "ms", nil, pairs, millis(0.99)),
	}, nil
}

// batches: the bulk path against hashing the same bytes, which it must do anyway.
func (b *bench) batches(ctx context.Context) (_ []measure, err error) {
	const events, connections = 1000, 4
	server, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = server.end(err) }()
	var bodies [][]byte
	for i := range 4 {
		var lines bytes.Buffer
		for n := range events {
			lines.Write(document(uint64(i*events+n), kilobyte-1))
			lines.WriteByte('\n')
		}
		bodies = append(bodies, lines.Bytes())
	}
	limit := repeat(func() error { sha256.Sum256(bodies[0]); return nil })
	subject := load{dialer(server.address), connections, posts(mediaLines, bodies), http.StatusAccepted, 0}
	pairs, err := b.alternate(ctx, server.whilePaused(limit), &subject)
	if err != nil {
		return nil, err
	}
	megabytes := scaled(float64(len(bodies[0])) / 1e6)
	return []measure{summarize("throughput, 4 connections", "SHA-256, one core", "MB/s", atLeast(0.25), pairs, megabytes)}, nil
}

// largeBodies: bodies that become files, against writing the files.
func (b *bench) largeBodies(ctx context.Context) (_ []measure, err error) {
	const size, connections = 5_000_000, 16
	server, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = server.end(err) }()
	dir, err := os.MkdirTemp(b.dir, "copies-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the comparator: %w", err)
	}
	bodies := documents(4, size)
	limit := copySynced(dir, connections, bodies)
	subject := load{dialer(server.address), connections, posts(mediaJSON, bodies), http.StatusAccepted, 0}
	pairs, err := b.alternate(ctx, server.whilePaused(limit), &subject)
	if err != nil {
		return nil, err
	}
	const against = "io.Copy to a file, fsync"
	return []measure{
		summarize("throughput", against, "MB/s", atLeast(0.5), pairs, scaled(size/1e6)),
		summarize("p99", against, "ms", nil, pairs, millis(0.99)),
	}, nil
}

// get: a look-up in the index against an answer from memory.
func (b *bench) get(ctx context.Context, connections int) (_ []measure, err error) {
	fiber, server, stop, err := b.both(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = stop(err) }()
	var lookups [][]byte
	for i := range 1000 {
		id, err := postOne(ctx, server.address, document(uint64(i), kilobyte))
		if err != nil {
			return nil, err
		}
		lookups = append(lookups, request("GET", eventsPath+"/"+id, "", nil))
	}
	if err := awaitIndexed(ctx, server.address, lookups); err != nil {
		return nil, err
	}
	limit := load{dialer(fiber.address), connections, [][]byte{request("GET", constantPath, "", nil)}, http.StatusOK, 0}
	subject := load{dialer(server.address), connections, lookups, http.StatusOK, 0}
	return b.throughputAndTail(ctx, server, "bare Fiber, a constant", &limit, &subject, atLeast(0.5), nil)
}

// validation runs in this process: no server takes part.
func (b *bench) validation(ctx context.Context) ([]measure, error) {
	var measures []measure
	for _, c := range []struct {
		name string
		size int
		goal *goal
	}{{"1 KB", kilobyte, atLeast(4)}, {"4 MB", 4_000_000, atLeast(2)}} {
		bodies := documents(4, c.size)
		batch := max(1, 1_000_000/c.size) // so that reading the clock costs nothing
		each := func(valid func([]byte) bool) side {
			return repeat(func() error {
				for i := range batch {
					if !valid(bodies[i%len(bodies)]) {
						return errors.New("a valid document was refused")
					}
				}
				return nil
			})
		}
		own := each(func(body []byte) bool { return schemas.ValidateJSON(body) == nil })
		pairs, err := b.alternate(ctx, each(json.Valid), own)
		if err != nil {
			return measures, err
		}
		megabytes := scaled(float64(c.size*batch) / 1e6)
		measures = append(measures, summarize(c.name, "encoding/json.Valid", "MB/s", c.goal, pairs, megabytes))
	}
	return measures, nil
}

// both starts the bare comparator and the program under test; stop ends them and adds to the row's error what they said.
func (b *bench) both(ctx context.Context) (fiber, server *process, stop func(error) error, err error) {
	if fiber, err = b.startFiber(ctx); err != nil {
		return nil, nil, nil, err
	}
	if server, err = b.startServer(ctx); err != nil {
		return nil, nil, nil, fiber.end(err)
	}
	return fiber, server, func(err error) error { return fiber.end(server.end(err)) }, nil
}

// postOne posts an event and returns its id.
func postOne(ctx context.Context, address string, body []byte) (id string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+eventsPath, bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("post an event: %w", err)
	}
	req.Header.Set("Content-Type", mediaJSON)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("post an event: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	var ack struct{ ID string }
	if err := json.NewDecoder(bufio.NewReader(res.Body)).Decode(&ack); err != nil || ack.ID == "" {
		return "", fmt.Errorf("post an event: answered %s without an id: %w", res.Status, errors.Join(err))
	}
	return ack.ID, nil
}

// awaitIndexed waits until every event can be looked up.
func awaitIndexed(ctx context.Context, address string, lookups [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	dial := dialer(address)
	for _, lookup := range lookups {
		for {
			conn, err := dial(ctx)
			if err != nil {
				return fmt.Errorf("wait for the index: %w", err)
			}
			c := newClientConn(conn)
			found := c.exchange(lookup, http.StatusOK)
			if err := c.close(); err != nil {
				return fmt.Errorf("wait for the index: %w", err)
			}
			if found == nil {
				break
			}
			if err := waitUntil(ctx, time.Now().Add(10*time.Millisecond)); err != nil {
				return fmt.Errorf("wait for the index: %w", errors.Join(found, err))
			}
		}
	}
	return nil
}
