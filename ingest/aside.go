package ingest

import "context"

// maxAside is the most calls of claims and ledger at a time.
const maxAside = 256

// aside makes a call in a goroutine of ingest's own and waits for its answer until ctx ends, so that a disk that hangs
// does not keep a request beyond its deadline. The number of such calls is bounded; when there are too many, it waits.
func aside[T any](ctx context.Context, in *Ingest, call func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	select {
	case in.aside <- struct{}{}:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	answered := make(chan answer, 1)
	in.gate.join(nil)
	go func() {
		defer in.gate.leave(nil)
		defer func() { <-in.aside }()
		value, err := call(ctx)
		answered <- answer{value, err}
	}()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}
