package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// ackExample has the size of the answer to a POST of one event.
const ackExample = `{"id":"36u7bJ4N3wYb2mPqkS8vZr1xTcD","receivedTime":"2026-01-02T03:04:05.000006Z","via":"stream",` +
	`"href":"/v1/events/36u7bJ4N3wYb2mPqkS8vZr1xTcD"}`

const (
	constantPath = "/constant"
	// sleepingPath is eventsPath with a pause before the answer, in place of the call of a stream.
	sleepingPath = "/sleeping"
	// roundTrip is how long the stub of Kinesis takes for a call.
	roundTrip = 10 * time.Millisecond
)

// serveFiber is the limit that a front end on Fiber has: the same HTTP, and no more work than the row names. It ends when
// its standard input does, so that it can't outlive the harness.
func serveFiber(stdin io.Reader, stdout io.Writer) error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	ack := func(c *fiber.Ctx) error {
		if !json.Valid(c.Body()) {
			return fiber.ErrBadRequest
		}
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Status(fasthttp.StatusAccepted).SendString(ackExample)
	}
	app.Post(eventsPath, ack)
	app.Post(sleepingPath, func(c *fiber.Ctx) error {
		if err := waitUntil(c.UserContext(), time.Now().Add(roundTrip)); err != nil {
			return err
		}
		return ack(c)
	})
	constant := document(1, kilobyte)
	app.Get(constantPath, func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(constant)
	})
	return serveUntil(stdin, stdout, app.Listener, app.Shutdown)
}

// serveUntil serves on a free port, tells the harness which, and ends when its standard input does.
func serveUntil(stdin io.Reader, stdout io.Writer, serve func(net.Listener) error, shutdown func() error) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // nothing to cancel: a loopback address needs no look-up
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	served := make(chan error, 1)
	go func() { served <- serve(ln) }()
	if _, err := fmt.Fprintf(stdout, "HTTP http://%s\ndata none\n", ln.Addr()); err != nil {
		return fmt.Errorf("say where it listens: %w", err)
	}
	if _, err := io.Copy(io.Discard, stdin); err != nil {
		return fmt.Errorf("wait for the harness to end: %w", err)
	}
	if err := shutdown(); err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return <-served
}
