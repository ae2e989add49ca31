package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// readyWithin is how long the deployment may take to start.
	readyWithin = time.Minute
	// landedWithin is how long requests may be late, and some.
	landedWithin = 5 * time.Minute
	// sayEvery is the time between two lines of progress.
	sayEvery = 5 * time.Second
)

// config of a round.
type config struct {
	binary string        // the program
	length time.Duration // of the load and the faults
	seed   uint64
	rate   float64 // documents a second
	dir    string  // for logs
	out    io.Writer
}

// round is one run.
type round struct {
	config
	deployment deployment
	proxies    *proxies
	processes  map[string]*process
	watcher    *watcher
	book       *book
	client     *client
	load       *load
	began      time.Time

	mu   sync.Mutex
	sky  string       // the present weather
	done map[kind]int // actions
}

// run makes the round and judges it. An error is one that kept it from being judged.
func (c config) run(ctx context.Context) (report, error) {
	r := &round{config: c, processes: map[string]*process{}, book: newBook(), began: time.Now(), done: map[kind]int{}}
	var err error
	if r.deployment, err = newDeployment(ctx); err != nil {
		return report{}, err
	}
	if r.proxies, err = listenProxies(ctx, c.seed); err != nil {
		return report{}, err
	}
	defer r.proxies.close()
	r.client = newClient(r.book, r.front)
	r.load = &load{client: r.client, seed: c.seed, rate: c.rate}

	running, end := context.WithCancel(ctx)
	defer end()
	group, running := errgroup.WithContext(running)
	for _, name := range processNames() {
		p := newProcess(name, r.deployment, c.binary, c.dir, r.proxies.env)
		r.processes[name] = p
		group.Go(func() error { return p.supervise(running) })
	}
	e, err := r.play(running)
	end()
	stopped := group.Wait()
	if err != nil {
		return report{}, errors.Join(err, stopped)
	}
	return r.report(e, stopped)
}

// play breaks the deployment for a while and gathers what came of it.
func (r *round) play(ctx context.Context) (evidence, error) {
	if err := r.awaitReady(ctx); err != nil {
		return evidence{}, err
	}
	var err error
	if r.watcher, err = r.deployment.watcher(ctx); err != nil {
		return evidence{}, err
	}
	watching, end := context.WithCancel(ctx)
	defer end()
	var watched sync.WaitGroup
	defer watched.Wait()
	defer end()
	watched.Go(func() { r.watcher.run(watching, func(err error) { r.say("%v", err) }) })

	r.storm(ctx)
	if err := r.calm(ctx); err != nil {
		return evidence{}, err
	}
	e, err := r.collect(ctx)
	e.Unowned, e.Missed = r.watcher.unowned()
	return e, err
}

func (r *round) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not within %v", readyWithin))
	defer cancel()
	for _, name := range processNames() {
		if err := r.processes[name].awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// storm is the load with everything that goes wrong meanwhile, by the schedule.
func (r *round) storm(ctx context.Context) {
	faults := weathers(r.length)
	names := make([]string, 0, len(faults))
	for name := range faults {
		names = append(names, name)
	}
	slices.Sort(names)
	schedule := newSchedule(r.seed, r.length, processNames(), names)
	r.say("everything is up; %d actions in %v", len(schedule), r.length)

	stop := make(chan struct{})
	var loading, telling sync.WaitGroup
	loading.Go(func() { r.load.run(ctx, stop) })
	telling.Go(func() { r.tell(stop) })
	var acting sync.WaitGroup
	begin := time.Now()
	for _, a := range append(schedule, action{At: r.length}) {
		select {
		case <-time.After(time.Until(begin.Add(a.At))):
		case <-ctx.Done():
		}
		if a.Kind == "" || ctx.Err() != nil {
			break
		}
		if a.Kind == weather {
			r.proxies.set(faults[a.Target])
			r.mu.Lock()
			r.sky = a.Target
			r.mu.Unlock()
			continue
		}
		acting.Go(func() { r.act(ctx, a) })
	}
	acting.Wait()
	r.proxies.set(nil)
	close(stop)
	loading.Wait()
	telling.Wait()
}

// act carries one action out.
func (r *round) act(ctx context.Context, a action) {
	did, what := a.Kind, a.String()
	switch p := r.processes[a.Target]; a.Kind {
	case kill:
		if !p.signal(syscall.SIGKILL, a.For) {
			return
		}
	case stop:
		p.signal(syscall.SIGCONT, 0)
		if !p.signal(syscall.SIGTERM, a.For) {
			return
		}
	case freeze:
		if !p.signal(syscall.SIGSTOP, 0) {
			return
		}
		r.say("%s", what)
		select {
		case <-time.After(a.For):
		case <-ctx.Done():
		}
		p.signal(syscall.SIGCONT, 0)
		what = ""
	default:
		var of string
		var err error
		if did, of, err = r.deployment.reshard(ctx, a); err != nil {
			r.say("%s: %v", did, err)
			return
		}
		what = fmt.Sprintf("%s %s", did, of)
	}
	if what != "" {
		r.say("%s", what)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[did]++
}

// calm lets everything land and be read, with no fault and no load any more.
func (r *round) calm(ctx context.Context) error {
	r.say("the load and the faults are off")
	var group errgroup.Group
	for _, name := range processNames() {
		p := r.processes[name]
		p.signal(syscall.SIGCONT, 0)
		if isFront(name) { // one that stops waits for what it has in flight; its successor has nothing
			group.Go(func() error {
				if err := p.awaitReady(ctx); err != nil {
					return err
				}
				return p.stop(ctx, 0)
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	landing, cancel := context.WithTimeout(ctx, landedWithin)
	defer cancel()
	if err := r.proxies.awaitLanded(landing); err != nil {
		return err
	}
	if err := r.awaitReady(ctx); err != nil {
		return err
	}
	r.say("everything has landed")
	open := r.load.finish(ctx)
	r.say("of %d requests with keys and without acks, %d have none still", len(r.load.unacked), open)
	if err := r.level(ctx); err != nil {
		return err
	}
	r.say("both sinks are level")
	return nil
}

// front gives the address of a front end that is up, either of them; empty when none is.
func (r *round) front() string {
	var up []string
	for name, p := range r.processes {
		if url := p.address(); isFront(name) && url != "" {
			up = append(up, url)
		}
	}
	if len(up) == 0 {
		return ""
	}
	return up[rand.IntN(len(up))]
}

// tell says how the load goes until stop is closed.
func (r *round) tell(stop <-chan struct{}) {
	tick := time.NewTicker(sayEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		n := r.book.totals()
		refused := 0
		for _, of := range n.Refused {
			refused += of
		}
		r.mu.Lock()
		sky := r.sky
		r.mu.Unlock()
		r.say("%d documents posted, %d acked; %d requests refused, %d without an answer; faults: %s", n.Posted, n.Acked, refused, n.Unanswered, sky)
	}
}

// say tells a person how it goes. A round goes on without one, so its errors are dropped.
func (r *round) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, "%4.0f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}
