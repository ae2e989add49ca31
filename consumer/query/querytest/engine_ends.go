package querytest

import (
	"errors"
	"io"
	"strings"
	"testing"

	"penstock/consumer/query"
	"penstock/schemas"
)

// testEngineRefuses: what does more than read is never started.
func testEngineRefuses(t *testing.T, env EngineEnv) {
	for _, sql := range []string{
		"", " ;", "-- SELECT 1", "SELECT 1; SELECT 2", "SELEC 1", "SELECT (1", "SELECT 1 AS", "SELECT 1 /* SELECT */ ; /* */ DROP TABLE events",
		"DROP TABLE events", "INSERT INTO events (id) VALUES ('x')", "UPDATE events SET id = 'x'", "DELETE FROM events",
		"CREATE TABLE x AS SELECT 1 AS n", "EXPLAIN ANALYZE DELETE FROM events", "WITH a AS (SELECT 1) INSERT INTO events SELECT 'x'",
		"PREPARE p FROM SELECT 1", "EXECUTE p", "UNLOAD (SELECT 1 AS n) TO 's3://bucket/x/' WITH (format = 'JSON')",
		"SELECT '\x00'", "SELECT '\xff'", "SELECT '" + strings.Repeat("x", schemas.MaxSQL) + "'",
	} {
		e, err := env.Engine.Start(t.Context(), statement(sql))
		if !errors.Is(err, query.ErrStatement) || err.Error() == query.ErrStatement.Error() {
			t.Errorf("Start(%.100q) = %+v, %v, want ErrStatement with a reason", sql, e, err)
		}
	}
}

// testEngineFails: what only shows when tables and values are looked at is refused at once, or fails, with a reason either way.
func testEngineFails(t *testing.T, env EngineEnv) {
	for sql, part := range map[string]string{
		"SELECT no_such_column FROM events":                           "no_such_column",
		"SELECT id FROM no_such_table":                                "no_such_table",
		"SELECT no_such_function(1)":                                  "no_such_function",
		"SELECT CAST(id AS bigint) FROM (VALUES ('twelve')) AS t(id)": "twelve",
	} {
		e, err := env.Engine.Start(t.Context(), statement(sql))
		var reason string
		switch {
		case errors.Is(err, query.ErrStatement):
			reason = err.Error()
		case err != nil:
			t.Errorf("Start(%s): %v", sql, err)
			continue
		default:
			e = env.await(t, e.ID, ended)
			if reason = e.Error; e.State != query.Failed || e.Ended.IsZero() {
				t.Errorf("%s: %+v", sql, e)
			}
			if _, _, err := env.Engine.Open(t.Context(), e.ID); !errors.Is(err, query.ErrNoResult) {
				t.Errorf("Open of a failed one: %v, want ErrNoResult", err)
			}
		}
		if !strings.Contains(strings.ToLower(reason), part) {
			t.Errorf("%s failed with %q, want %q in it", sql, reason, part)
		}
	}
}

func testEngineStop(t *testing.T, env EngineEnv) {
	for _, id := range []string{unknownID, "no id", ""} {
		if err := env.Engine.Stop(t.Context(), id); err != nil {
			t.Errorf("Stop(%q): %v", id, err)
		}
	}
	done, _ := env.result(t, statement("SELECT 1 AS n"))
	if err := env.Engine.Stop(t.Context(), done.ID); err != nil {
		t.Errorf("Stop of an ended one: %v", err)
	}
	if after := env.status(t, done.ID); after != done {
		t.Errorf("stopped when it had ended: %+v, was %+v", after, done)
	}
	running := env.start(t, statement(env.Endless))
	env.await(t, running.ID, func(e query.Execution) bool { return e.State == query.Running })
	for range 2 {
		if err := env.Engine.Stop(t.Context(), running.ID); err != nil {
			t.Fatal(err)
		}
	}
	env.cancelled(t, running.ID)
}

// cancelled awaits the end of an execution that was stopped.
func (env EngineEnv) cancelled(t *testing.T, id string) {
	t.Helper()
	if e := env.await(t, id, ended); e.State != query.Cancelled || e.Error == "" || e.Ended.IsZero() || e.ResultBytes != 0 {
		t.Errorf("stopped: %+v", e)
	}
	if _, _, err := env.Engine.Open(t.Context(), id); !errors.Is(err, query.ErrNoResult) {
		t.Errorf("Open of a cancelled one: %v, want ErrNoResult", err)
	}
}

func testEngineStopQueued(t *testing.T, env EngineEnv) {
	var running []string
	for range env.Slots {
		e := env.start(t, statement(env.Endless))
		env.await(t, e.ID, func(e query.Execution) bool { return e.State == query.Running })
		running = append(running, e.ID)
	}
	queued := env.start(t, statement("SELECT 1 AS n"))
	if e := env.status(t, queued.ID); e.State != query.Queued || !e.Started.IsZero() || !e.Ended.IsZero() {
		t.Errorf("behind %d that run: %+v", env.Slots, e)
	}
	if err := env.Engine.Stop(t.Context(), queued.ID); err != nil {
		t.Fatal(err)
	}
	env.cancelled(t, queued.ID)
	if e := env.status(t, queued.ID); !e.Started.IsZero() {
		t.Errorf("it never ran: %+v", e)
	}
	waiting := env.start(t, statement("SELECT 2 AS n"))
	for _, id := range running {
		if err := env.Engine.Stop(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		env.cancelled(t, id)
	}
	if e := env.await(t, waiting.ID, ended); e.State != query.Succeeded {
		t.Errorf("with room again: %+v", e)
	}
}

func testEngineNoResult(t *testing.T, env EngineEnv) {
	for _, id := range []string{unknownID, "no id", "", "../x"} {
		if _, _, err := env.Engine.Open(t.Context(), id); !errors.Is(err, query.ErrNoResult) {
			t.Errorf("Open(%q): %v, want ErrNoResult", id, err)
		}
	}
	running := env.start(t, statement(env.Endless))
	if _, _, err := env.Engine.Open(t.Context(), running.ID); !errors.Is(err, query.ErrNoResult) {
		t.Errorf("Open of one that runs: %v, want ErrNoResult", err)
	}
	if err := env.Engine.Stop(t.Context(), running.ID); err != nil {
		t.Fatal(err)
	}
	env.cancelled(t, running.ID)
}

func testEngineForget(t *testing.T, env EngineEnv) {
	e, want := env.result(t, statement("SELECT 'text' AS s"))
	opened, _, err := env.Engine.Open(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	env.Forget(t, e.ID)
	if _, _, err := env.Engine.Open(t.Context(), e.ID); !errors.Is(err, query.ErrNoResult) {
		t.Errorf("Open of a forgotten one: %v, want ErrNoResult", err)
	}
	got, err := io.ReadAll(opened)
	if err := errors.Join(err, opened.Close()); err != nil || string(got) != want {
		t.Errorf("what was opened before: %q, %v, want %q", got, err, want)
	}
	if list, _, err := env.Engine.Status(t.Context(), []string{e.ID}); err != nil || len(list) > 1 || len(list) == 1 && list[0].State != query.Succeeded {
		t.Errorf("Status of a forgotten one: %+v, %v", list, err)
	}
}
