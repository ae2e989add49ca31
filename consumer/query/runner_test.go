package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scriptedSQL runs a statement by calling the function that the test set for it.
type scriptedSQL struct {
	mu   sync.Mutex
	runs map[string]func(ctx context.Context, parameters []string, result io.Writer) (Statistics, error)
}

func (e *scriptedSQL) Check(_ context.Context, sql string, _ []string) error {
	if strings.HasPrefix(sql, "bad") {
		return fmt.Errorf("%w: line 1, column 1: syntax error", ErrStatement)
	}
	return nil
}

func (e *scriptedSQL) Run(ctx context.Context, sql string, parameters []string, result io.Writer) (Statistics, error) {
	e.mu.Lock()
	run := e.runs[sql]
	e.mu.Unlock()
	return run(ctx, parameters, result)
}

func newSQL() *scriptedSQL {
	e := &scriptedSQL{runs: map[string]func(context.Context, []string, io.Writer) (Statistics, error){}}
	e.runs["one"] = func(_ context.Context, parameters []string, result io.Writer) (Statistics, error) {
		_, err := fmt.Fprintf(result, "\"x\"\n%q\n", strings.Join(parameters, "+"))
		return Statistics{Rows: 1, ScannedBytes: 7, Elapsed: time.Second}, err
	}
	e.runs["forever"] = func(ctx context.Context, _ []string, _ io.Writer) (Statistics, error) {
		<-ctx.Done()
		return Statistics{}, fmt.Errorf("interrupted: %w", ctx.Err())
	}
	return e
}

type fixedFreshener struct {
	at  time.Time
	err error
}

func (f fixedFreshener) Fresh(context.Context) (time.Time, error) { return f.at, f.err }

var completeThrough = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// harness is a service over a runner over scripted SQL; log holds what was logged.
type harness struct {
	*Service
	runner     *Runner
	executions *executions
	sql        *scriptedSQL
	log        *bytes.Buffer
	dir        string
}

func newHarness(t *testing.T, change func(*RunnerConfig)) *harness {
	t.Helper()
	return newHarnessWith(t, fixedFreshener{at: completeThrough}, change)
}

func newHarnessWith(t *testing.T, fresh Freshener, change func(*RunnerConfig)) *harness {
	t.Helper()
	h := &harness{sql: newSQL(), executions: &executions{}, log: &bytes.Buffer{}, dir: t.TempDir()}
	h.open(t, fresh, change)
	return h
}

// open begins a process over what the last one left.
func (h *harness) open(t *testing.T, fresh Freshener, change func(*RunnerConfig)) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(h.log, nil))
	cfg := RunnerConfig{
		Dir: h.dir, Concurrency: 1, MaxQueued: 2, MaxExecutions: 4, ResultTTL: time.Hour, Timeout: time.Minute,
		MaxResultBytes: 1000, Admit: func(int64) error { return nil }, Now: time.Now, Logger: log,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if h.runner, err = NewRunner(cfg, h.sql, fresh); err != nil {
		t.Fatal(err)
	}
	runner := h.runner
	h.Service, err = New(Config{Kept: 24 * time.Hour, Poll: time.Second, MaxPoll: time.Minute, Now: time.Now, Logger: log},
		runner, h.executions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	t.Cleanup(func() {
		if err := runner.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func (h *harness) start(t *testing.T, sql string, parameters ...string) Execution {
	t.Helper()
	e, _, err := h.Start(t.Context(), sql, parameters, "")
	if err != nil {
		t.Fatalf("Start(%s): %v", sql, err)
	}
	return e
}

func (h *harness) finish(t *testing.T, e Execution) Execution {
	t.Helper()
	done, err := h.Wait(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !done.State.Finished() {
		t.Fatalf("Wait returned in state %s", done.State)
	}
	return done
}

func (h *harness) result(t *testing.T, id string) string {
	t.Helper()
	r, size, err := h.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || int64(len(b)) != size {
		t.Fatalf("read %d of %d bytes: %v", len(b), size, err)
	}
	return string(b)
}

func (h *harness) list(t *testing.T) []Execution {
	t.Helper()
	list, err := h.List(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (h *harness) files(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// pass lets d of a bubble's virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

func TestSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		submitted := time.Now()
		e := h.finish(t, h.start(t, "one", "a", "b"))
		want := Execution{
			ID: e.ID, SQL: "one", State: Succeeded, Submitted: submitted, Started: submitted, Ended: submitted,
			Statistics: Statistics{1, 7, time.Second}, ResultBytes: 10, CompleteThrough: completeThrough,
		}
		if e != want {
			t.Errorf("got  %+v\nwant %+v", e, want)
		}
		if got := h.result(t, e.ID); got != "\"x\"\n\"a+b\"\n" {
			t.Errorf("result %q", got)
		}
		if got, err := h.Get(t.Context(), e.ID); err != nil || got != want {
			t.Errorf("Get: %+v, %v", got, err)
		}
	})
}

func TestRefusesStatement(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	_, _, err := h.Start(t.Context(), "bad", nil, "")
	if !errors.Is(err, ErrStatement) {
		t.Fatalf("got %v", err)
	}
	if list := h.list(t); len(list) != 0 {
		t.Errorf("a refused statement is listed: %+v", list)
	}
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		running, second, third := h.start(t, "forever"), h.start(t, "one"), h.start(t, "one")
		synctest.Wait()
		if _, _, err := h.Start(t.Context(), "one", nil, ""); !errors.Is(err, ErrBusy) {
			t.Fatalf("fourth statement: %v", err)
		}
		list := h.list(t)
		if len(list) != 3 || list[0].ID != third.ID || list[0].State != Queued || list[1].State != Queued ||
			list[2].ID != running.ID || list[2].State != Running {
			t.Fatalf("list %+v", list)
		}
		if _, _, err := h.Open(t.Context(), second.ID); !errors.Is(err, ErrNotReady) {
			t.Errorf("Open of a queued execution: %v", err)
		}
		// A place in the queue that was given back can be taken again.
		if e, err := h.Cancel(t.Context(), second.ID); err != nil || e.State != Cancelled || e.Error == "" || !e.Started.IsZero() {
			t.Fatalf("Cancel of a queued execution: %+v, %v", e, err)
		}
		fourth := h.start(t, "one")
		if _, err := h.Cancel(t.Context(), running.ID); err != nil {
			t.Fatal(err)
		}
		for _, e := range []Execution{third, fourth} {
			if done := h.finish(t, e); done.State != Succeeded {
				t.Errorf("%+v", done)
			}
		}
		if done := h.finish(t, running); done.State != Cancelled || done.Error != "the query was cancelled" {
			t.Errorf("%+v", done)
		}
		if _, _, err := h.Open(t.Context(), running.ID); !errors.Is(err, ErrNoResult) {
			t.Errorf("Open of a cancelled execution: %v", err)
		}
	})
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		start := time.Now()
		e := h.finish(t, h.start(t, "forever"))
		if e.State != Failed || e.Ended.Sub(start) != time.Minute ||
			e.Error != "query limit exceeded: the query ran for 1m0s, the longest it may" {
			t.Errorf("%+v", e)
		}
		if h.files(t) != 0 {
			t.Error("the failed run left a file")
		}
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	internal := "the query failed inside the server; its log says why, under this execution's id"
	for name, test := range map[string]struct {
		err    error
		client string
		logged string
	}{
		"statement": {fmt.Errorf("%w: line 1, column 8: not a number: 'x'", ErrStatement),
			"unsuitable SQL: line 1, column 8: not a number: 'x'", ""},
		"limit":    {fmt.Errorf("%w: out of memory", ErrLimit), "query limit exceeded: out of memory", ""},
		"internal": {errors.New("IO error: /secret/path.parquet"), internal, "/secret/path.parquet"},
		"full":     {fmt.Errorf("write /secret/x: %w", syscall.ENOSPC), "the server has no disk space left for the result", "/secret/x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, nil)
			h.sql.runs["fails"] = func(context.Context, []string, io.Writer) (Statistics, error) {
				return Statistics{Rows: 3}, test.err
			}
			e := h.finish(t, h.start(t, "fails"))
			if e.State != Failed || e.Error != test.client || e.Statistics.Rows != 3 {
				t.Errorf("%+v", e)
			}
			if err := h.runner.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if log := h.log.String(); !strings.Contains(log, test.logged) || (test.logged == "") != (log == "") {
				t.Errorf("log: %s", log)
			}
			if h.files(t) != 0 {
				t.Error("the failed run left a file")
			}
		})
	}
}

func TestStaleLakeStillAnswers(t *testing.T) {
	t.Parallel()
	h := newHarnessWith(t, fixedFreshener{err: errors.New("sink stands still")}, nil)
	e := h.finish(t, h.start(t, "one"))
	if e.State != Succeeded || !e.CompleteThrough.IsZero() {
		t.Errorf("%+v", e)
	}
	if err := h.runner.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(h.log.String(), "sink stands still") {
		t.Errorf("not logged: %s", h.log)
	}
}

func TestWaitGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		e := h.start(t, "forever")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := h.Wait(ctx, e.ID)
		if !errors.Is(err, context.DeadlineExceeded) || got.State != Running {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := h.Wait(ctx, "no-such-id"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		stuck := make(chan struct{})
		h.sql.runs["stuck"] = func(ctx context.Context, _ []string, _ io.Writer) (Statistics, error) {
			<-stuck
			return Statistics{}, ctx.Err()
		}
		running, queued := h.start(t, "stuck"), h.start(t, "one")
		synctest.Wait() // until it is stuck
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.runner.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close did not wait: %v", err)
		}
		if _, _, err := h.Start(t.Context(), "one", nil, ""); !errors.Is(err, ErrClosed) {
			t.Errorf("Start after Close: %v", err)
		}
		close(stuck)
		if err := h.runner.Close(t.Context()); err != nil {
			t.Error(err)
		}
		for _, e := range []Execution{running, queued} {
			if done := h.finish(t, e); done.State != Cancelled || done.Error != "the server is shutting down" {
				t.Errorf("%+v", done)
			}
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*RunnerConfig){
		"Dir":           func(c *RunnerConfig) { c.Dir = "" },
		"Concurrency":   func(c *RunnerConfig) { c.Concurrency = 0 },
		"MaxQueued":     func(c *RunnerConfig) { c.MaxQueued = -1 },
		"MaxExecutions": func(c *RunnerConfig) { c.MaxExecutions = 2 },
		"ResultTTL":     func(c *RunnerConfig) { c.ResultTTL = 0 },
		"Admit":         func(c *RunnerConfig) { c.Admit = nil },
		"Now":           func(c *RunnerConfig) { c.Now = nil },
	} {
		cfg := RunnerConfig{
			Dir: t.TempDir(), Concurrency: 1, MaxQueued: 2, MaxExecutions: 3, ResultTTL: 1, Timeout: 1, MaxResultBytes: 1,
			Admit: func(int64) error { return nil }, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		}
		change(&cfg)
		if _, err := NewRunner(cfg, newSQL(), fixedFreshener{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Many clients at once: every execution ends, and never more run than may.
func TestConcurrently(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(c *RunnerConfig) { c.Concurrency, c.MaxQueued, c.MaxExecutions = 3, 1000, 1003 })
	var mu sync.Mutex
	now, most := 0, 0
	h.sql.runs["count"] = func(_ context.Context, _ []string, result io.Writer) (Statistics, error) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		_, err := io.WriteString(result, "\"x\"\n")
		mu.Lock()
		now--
		mu.Unlock()
		return Statistics{}, err
	}
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			for j := range 10 {
				e, _, err := h.Start(t.Context(), "count", nil, "")
				if err != nil {
					t.Error(err)
					return
				}
				if (i+j)%3 == 0 {
					if _, err := h.Cancel(t.Context(), e.ID); err != nil {
						t.Error(err)
					}
				}
				if done, err := h.Wait(t.Context(), e.ID); err != nil || !done.State.Finished() {
					t.Errorf("%+v, %v", done, err)
				}
			}
		})
	}
	clients.Wait()
	if most > 3 || most == 0 {
		t.Errorf("%d ran at once", most)
	}
}
