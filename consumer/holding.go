package consumer

import (
	"context"
	"errors"
	"time"
)

// holding is a lease of this process with the worker that works under it.
type holding struct {
	worker *worker
	stop   context.CancelFunc // ends the worker and gives the lease back

	// Only the renewing goroutine touches these while it runs.
	lease Lease
	lost  bool
	put   time.Time // when lease was
}

// start begins to work on a shard whose lease was just taken.
func (f *Fleet) start(ctx, keepCtx context.Context, lease Lease) {
	workCtx, stop := context.WithCancel(ctx)
	f.mu.Lock()
	h := &holding{
		lease: lease,
		put:   time.Now(),
		stop:  stop,
		worker: &worker{
			shard: f.listed[lease.Shard], source: f.source, sink: f.sink, letters: f.letters,
			pageBytes: f.cfg.PageBytes, pacer: f.pacer, log: f.log.With("shard", lease.Shard), awaitParents: f.awaitParents,
		},
	}
	if f.cfg.History != nil {
		h.worker.window = &window{history: f.cfg.History, shard: lease.Shard, parents: f.parents}
	}
	f.held[lease.Shard] = h
	f.mu.Unlock()
	f.workers.Add(1)
	f.holdings.Add(1)
	go f.hold(ctx, workCtx, keepCtx, h)
}

// hold runs the worker, and beside it the renewal, so that a sink which makes the worker wait never costs the lease.
func (f *Fleet) hold(fleetCtx, workCtx, keepCtx context.Context, h *holding) {
	defer f.holdings.Done()
	defer h.stop()
	renewCtx, release := context.WithCancel(keepCtx)
	defer release()
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		f.renew(renewCtx, h)
		h.stop()
	}()

	if h.worker.run(workCtx) {
		f.markDrained(h.worker.shard.ID)
		release()
	}
	f.workers.Done()
	if fleetCtx.Err() == nil {
		f.sink.Leave(keepCtx, h.worker.shard.ID)
		release()
	}
	// At shutdown the lease is kept until the sink has made everything durable and keepCtx ends.
	<-renewed
	if !h.lost {
		f.giveBack(keepCtx, h)
	}
	f.mu.Lock()
	delete(f.held, h.worker.shard.ID)
	f.mu.Unlock()
}

// renew counts the lease up until it is lost or ctx ends. While the store can't be reached the work goes on: at worst
// somebody else begins the same, and the sinks stand that.
func (f *Fleet) renew(ctx context.Context, h *holding) {
	tick := time.NewTicker(f.cfg.LeaseLife / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		next := f.next(h)
		err := f.put(ctx, &h.lease, next)
		switch {
		case err == nil:
			h.lease, h.put = next, time.Now()
		case errors.Is(err, ErrLeaseLost):
			h.lost = true
			f.log.Info("lease lost", "shard", h.lease.Shard)
			return
		default:
			f.log.Warn("lease not renewed", "shard", h.lease.Shard, "err", err)
		}
	}
}

// next is the lease renewed, with a report of how the work goes. What the sink does not know, since the shard is not in its
// hand yet or any more, is as it was told last.
func (f *Fleet) next(h *holding) Lease {
	now, next := time.Now(), h.lease
	next.Renewal++
	progress := h.worker.state()
	durable, known := f.sink.Durable(h.lease.Shard)
	next.Report = progress.report(now, durable, known)
	if !known && !progress.at.End {
		last := h.lease.Report.aged(now.Sub(h.put))
		next.Report.At, next.Report.Lag, next.Report.LagKnown = last.At, last.Lag, last.LagKnown
	}
	return next
}

// giveBack frees the lease for others at once. If that fails they find it stale after its life.
func (f *Fleet) giveBack(ctx context.Context, h *holding) {
	free := f.next(h)
	free.Owner = ""
	if err := f.put(ctx, &h.lease, free); err != nil {
		f.log.Warn("lease not given back", "shard", h.lease.Shard, "err", err)
	}
}

// put stores a lease with a deadline of its own: cut off halfway it would leave a lease in the store that we don't know.
func (f *Fleet) put(ctx context.Context, prev *Lease, next Lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.cfg.LeaseLife/2)
	defer cancel()
	return f.leases.Put(ctx, prev, next)
}
