package faultproxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Fault is what befalls a call.
type Fault struct {
	name   string
	befall func(ctx context.Context, x *exchange) (*answer, error)
}

// exchange is one call that a fault may befall.
type exchange struct {
	*request
	proxy  *Proxy
	random *rand.Rand // its own
}

// errCut ends an exchange without an answer.
var errCut = errors.New("fault proxy: connection cut")

func pass(ctx context.Context, x *exchange) (*answer, error) { return x.proxy.land(ctx, x.request) }

// ErrorBefore answers with the error instead of forwarding the request.
func ErrorBefore(status int, code string) Fault {
	return Fault{"error before", func(_ context.Context, x *exchange) (*answer, error) {
		return x.error(status, code), nil
	}}
}

// ErrorAfter forwards the request, and answers with the error instead of what the peer says.
func ErrorAfter(status int, code string) Fault {
	return Fault{"error after", func(ctx context.Context, x *exchange) (*answer, error) {
		if _, err := pass(ctx, x); err != nil {
			return nil, err
		}
		return x.error(status, code), nil
	}}
}

// Cut cuts the connection; the request never lands.
func Cut() Fault {
	return Fault{"cut", func(context.Context, *exchange) (*answer, error) { return nil, errCut }}
}

// LoseAnswer forwards the request, waits for the answer, and cuts the connection.
func LoseAnswer() Fault {
	return Fault{"lose answer", func(ctx context.Context, x *exchange) (*answer, error) {
		if _, err := pass(ctx, x); err != nil {
			return nil, err
		}
		return nil, errCut
	}}
}

// CutAndForwardLater cuts the connection at once, and forwards the request when d has passed: the original that lands after
// its own retry. AWS takes a signed request for up to 5 min.
func CutAndForwardLater(d time.Duration) Fault {
	return Fault{"cut, forward later", func(_ context.Context, x *exchange) (*answer, error) {
		p, due := x.proxy, x.proxy.clock.After(d)
		p.late.Go(func() {
			select {
			case <-due:
				_, _ = p.land(p.life, x.request) // nobody is left to be told
			case <-p.life.Done():
			}
		})
		return nil, errCut
	}}
}

// Delay lets d pass before the request is forwarded.
func Delay(d time.Duration) Fault {
	return Fault{"delay", func(ctx context.Context, x *exchange) (*answer, error) {
		if err := x.pause(ctx, d); err != nil {
			return nil, err
		}
		return pass(ctx, x)
	}}
}

// DelayAnswer forwards the request at once, and lets d pass before the answer.
func DelayAnswer(d time.Duration) Fault {
	return Fault{"delay answer", func(ctx context.Context, x *exchange) (*answer, error) {
		a, err := pass(ctx, x)
		if err != nil {
			return nil, err
		}
		return a, x.pause(ctx, d)
	}}
}

func (x *exchange) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-x.proxy.clock.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (x *exchange) error(status int, code string) *answer {
	return errorAnswer(x.Service, status, code, "made by the fault proxy")
}
