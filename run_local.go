//go:build !nolocal

package main

import (
	"context"
	"errors"
	"fmt"

	"penstock/infra/local"
)

func (l *localProcess) httpURL() string { return "http://" + l.http.Addr().String() }

func (l *localProcess) s3URL() string { return "http://" + l.s3Address }

// start runs every part and returns once the S3 endpoint listens. What fails later comes through l.failed.
func (l *localProcess) start(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.background = cancel
	l.goes("index fleet", func() error { return l.index.Run(background) })
	l.goes("lake fleet", func() error { return l.lake.Run(background) })
	l.goes("housekeeping", func() error {
		l.store.Tend(background, tendInterval, l.watermarks.SafeToTrim, l.logger)
		return nil
	})
	l.goes("lake upkeep", func() error {
		l.upkeep.Run(background, l.cfg.UpkeepInterval)
		return nil
	})
	l.goes("erasures", func() error {
		l.finishErasures(background)
		return nil
	})
	l.goes("state", func() error {
		select {
		case <-l.store.Failed():
			return fmt.Errorf("the state can't be written any more; start again to replay its log: %w", l.store.Err())
		case <-background.Done():
			return nil
		}
	})
	listening := make(chan string, 1)
	l.goes("S3 endpoint", func() error {
		return local.ServeS3(background, l.s3, func(address string) { listening <- address })
	})
	select {
	case l.s3Address = <-listening:
	case err := <-l.failed:
		return err
	}
	if l.admin != nil {
		l.goes("admin HTTP", func() error { return l.server.ServeAdmin(l.admin) })
	}
	l.goes("HTTP", func() error { return l.server.Serve(l.http) })
	return nil
}

// stop ends everything, in the order in which nothing acked is lost and nobody waits for what has gone. Requests and
// queries have drainTime; then the other parts have it again, and so has the closing, which a disk may keep from ending.
func (l *localProcess) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	// Running SQL is cancelled while requests are still answered: those that wait for it learn so, and hold up nobody.
	queries := make(chan error, 1)
	go func() { queries <- l.runner.Close(ctx) }()
	err := errors.Join(
		l.server.Shutdown(ctx), // no new requests; those under way are answered
		l.ingest.Drain(ctx),    // no flight is left behind
		<-queries,
	)
	l.background() // the fleets flush what they have, and give back their leases last
	return errors.Join(err, l.await(), l.closeInTime())
}

func (l *localProcess) closeInTime() error {
	inTime, err := finish(l.close)
	if !inTime {
		return fmt.Errorf("closing the data directory took longer than %v; what was acked is on disk", drainTime)
	}
	return err
}

// close gives back what openLocal opened.
func (l *localProcess) close() error {
	errs := []error{closeListeners(l.http, l.admin)}
	if l.queries != nil {
		l.queries.Close()
	}
	if l.runner != nil {
		errs = append(errs, l.runner.Close(context.Background())) // it has nothing left to wait for, but where the start failed
	}
	if l.engine != nil {
		l.engine.Close()
	}
	if l.localCore != nil {
		errs = append(errs, l.store.Close())
	}
	return errors.Join(errs...)
}
