package iceberg

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind names a task of an Upkeep.
type Kind string

// The kinds of tasks.
const (
	KindCompact Kind = "compact"
	KindExpire  Kind = "expire"
	KindOrphans Kind = "orphans"
)

// ErrUnknownTask: there is no such kind of task, or none of it was ever asked for.
var ErrUnknownTask = errors.New("no such task of lake upkeep")

// Task is what somebody asked Run to do, as it stands.
type Task struct {
	Kind Kind
	// Started is zero while the task waits for its turn, and Ended until it has.
	Started, Ended time.Time
	// Err is why it failed.
	Err error
	// What it has done so far; only that of its kind is filled.
	Compaction Compaction
	Forgotten  int
	Sweep      Sweep
}

// pending is a task with those who wait for it.
type pending struct {
	task Task
	done chan struct{}
}

// Start has Run do a task as soon as it is free, and returns its state. One of the kind that has not ended yet is joined.
func (u *Upkeep) Start(kind Kind) (Task, error) {
	if kind != KindCompact && kind != KindExpire && kind != KindOrphans {
		return Task{}, fmt.Errorf("%w: %.40q", ErrUnknownTask, kind)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.tasks[kind]
	if p == nil || !p.task.Ended.IsZero() {
		p = &pending{task: Task{Kind: kind}, done: make(chan struct{})}
		u.tasks[kind] = p
		u.queue <- p // it has room for one of each kind
	}
	return p.task, nil
}

// Wait returns the newest task of a kind once it has ended, or as it stands when ctx ends.
func (u *Upkeep) Wait(ctx context.Context, kind Kind) (Task, error) {
	u.mu.Lock()
	p := u.tasks[kind]
	u.mu.Unlock()
	if p == nil {
		return Task{}, fmt.Errorf("%w: %.40q", ErrUnknownTask, kind)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return p.task, nil
}

// do does a task and lets those who wait know.
func (u *Upkeep) do(ctx context.Context, p *pending) {
	change := func(f func(*Task)) {
		u.mu.Lock()
		defer u.mu.Unlock()
		f(&p.task)
	}
	change(func(t *Task) { t.Started = u.cfg.Now() })
	var err error
	switch p.task.Kind {
	case KindCompact:
		_, err = u.Compact(ctx, func(c Compaction) { change(func(t *Task) { t.Compaction = c }) })
	case KindExpire:
		var n int
		n, err = u.Expire(ctx)
		change(func(t *Task) { t.Forgotten = n })
	case KindOrphans:
		var s Sweep
		s, err = u.Sweep(ctx, func(s Sweep) { change(func(t *Task) { t.Sweep = s }) })
		change(func(t *Task) { t.Sweep = s })
	}
	if err != nil && ctx.Err() == nil {
		u.cfg.Logger.Warn("lake upkeep failed", "task", p.task.Kind, "error", err)
	}
	change(func(t *Task) { t.Err, t.Ended = err, u.cfg.Now() })
	close(p.done)
}
