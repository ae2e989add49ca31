package query

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The engine may swallow a writer's error or wrap it without %w; the limit must stand all the same.
func TestResultTooLarge(t *testing.T) {
	t.Parallel()
	for _, answer := range []error{nil, errors.New("engine: write failed")} {
		h := newHarness(t, nil)
		h.sql.runs["big"] = func(_ context.Context, _ []string, result io.Writer) (Statistics, error) {
			for range 3 {
				if _, err := result.Write(make([]byte, 400)); err != nil {
					_, _ = result.Write([]byte("more"))
					return Statistics{}, answer
				}
			}
			return Statistics{}, nil
		}
		e := h.finish(t, h.start(t, "big"))
		if e.State != Failed || e.Error != "query limit exceeded: the result is larger than 1000 bytes; select fewer rows or columns" {
			t.Errorf("%+v", e)
		}
		if h.files(t) != 0 {
			t.Error("the failed run left a file")
		}
	}
}

// Results must not use up the disk that the server needs for what it has promised to keep.
func TestNoRoomForResult(t *testing.T) {
	t.Parallel()
	left := int64(500)
	h := newHarness(t, func(c *RunnerConfig) {
		c.Admit = func(n int64) error {
			if left -= n; left < 0 {
				return errors.New("all but the reserve is taken")
			}
			return nil
		}
	})
	h.sql.runs["big"] = func(_ context.Context, _ []string, result io.Writer) (Statistics, error) {
		for range 2 {
			if _, err := result.Write(make([]byte, 400)); err != nil {
				return Statistics{}, errors.New("engine: write failed")
			}
		}
		return Statistics{}, nil
	}
	e := h.finish(t, h.start(t, "big"))
	if e.State != Failed || e.Error != "the server has no disk space left for the result" {
		t.Errorf("%+v", e)
	}
	if h.files(t) != 0 {
		t.Error("the failed run left a file")
	}
	if err := h.runner.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(h.log.String(), "all but the reserve is taken") {
		t.Errorf("the log doesn't say why: %s", h.log)
	}
}

func TestDiskErrorSurfaces(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	if err := os.Remove(h.dir); err != nil { // the result can't be created
		t.Fatal(err)
	}
	e := h.finish(t, h.start(t, "one"))
	if e.State != Failed || strings.Contains(e.Error, h.dir) {
		t.Errorf("%+v", e)
	}
	if err := h.runner.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(h.log.String(), h.dir) {
		t.Errorf("the log doesn't say where: %s", h.log)
	}
}

func TestOldestFinishedGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(c *RunnerConfig) { c.MaxExecutions = 3 })
		var ids []string
		for range 4 {
			e := h.finish(t, h.start(t, "one"))
			ids = append(ids, e.ID)
			pass(time.Second) // so that the executions end at different times
		}
		if _, _, err := h.Open(t.Context(), ids[0]); !errors.Is(err, ErrNoResult) {
			t.Errorf("the first of four is still there: %v", err)
		}
		if e, err := h.Get(t.Context(), ids[0]); err != nil || e.State != Succeeded {
			t.Errorf("its execution: %+v, %v", e, err)
		}
		for _, id := range ids[1:] {
			h.result(t, id)
		}
		if n := h.files(t); n != 3 {
			t.Errorf("%d files", n)
		}
	})
}

func TestResultsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, nil)
		e := h.finish(t, h.start(t, "one"))
		open, _, err := h.Open(t.Context(), e.ID)
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Hour - time.Second)
		h.result(t, e.ID)
		pass(time.Second)
		if _, _, err := h.Open(t.Context(), e.ID); !errors.Is(err, ErrNoResult) {
			t.Errorf("still there after its time: %v", err)
		}
		if b, err := io.ReadAll(open); err != nil || len(b) != 7 {
			t.Errorf("an open result became unreadable: %d bytes, %v", len(b), err)
		}
		if err := open.Close(); err != nil {
			t.Error(err)
		}
		// Without a call, too.
		h.finish(t, h.start(t, "one"))
		pass(2 * time.Hour)
		synctest.Wait()
		if n := h.files(t); n != 0 {
			t.Errorf("%d files stay on disk", n)
		}
	})
}

// What a process leaves is found by the next one, but for what it had not finished.
func TestResultsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	e := h.finish(t, h.start(t, "one", "kept"))
	if err := h.runner.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Close()
	partial := filepath.Join(h.dir, "8e2b8b3c-0000-4000-8000-000000000000.part")
	old := filepath.Join(h.dir, "8e2b8b3c-0000-4000-8000-000000000001.csv")
	for _, name := range []string{partial, old} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	h.open(t, fixedFreshener{}, nil)
	if got := h.result(t, e.ID); got != "\"x\"\n\"kept\"\n" {
		t.Errorf("result %q", got)
	}
	if n := h.files(t); n != 1 { // Open has removed the old one
		t.Errorf("%d files are left", n)
	}
}
