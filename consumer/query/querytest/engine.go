package querytest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"penstock/consumer/query"
)

// EngineEnv is an engine of a test's own, over a lake with the table events.
type EngineEnv struct {
	Engine query.Engine
	// Endless is a statement that runs until it is stopped.
	Endless string
	// Slots is how many statements run at once; a few more may wait.
	Slots int
	// Forget removes the result of an execution, as time does.
	Forget func(t *testing.T, id string)
}

// EngineSuite tests a query.Engine.
func EngineSuite(t *testing.T, backend string, open func(t *testing.T) EngineEnv) {
	t.Helper()
	t.Logf("SQL on %s", backend)
	for name, test := range map[string]func(*testing.T, EngineEnv){
		"from start to result":             testEngineRun,
		"CSV":                              testEngineCSV,
		"text statements give CSV too":     testEngineText,
		"parameters are texts":             testEngineParameters,
		"a token starts once":              testEngineToken,
		"only one statement that reads":    testEngineRefuses,
		"errors of what parses":            testEngineFails,
		"stop":                             testEngineStop,
		"stop what waits":                  testEngineStopQueued,
		"status of many, and of unknown":   testEngineStatus,
		"no result":                        testEngineNoResult,
		"a result outlives its forgetting": testEngineForget,
		"a large result":                   testEngineLarge,
		"many at once":                     testEngineMany,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// unknownID is of no execution.
const unknownID = "00000000-0000-4000-8000-000000000000"

func statement(sql string, parameters ...string) query.Statement {
	var token [32]byte
	_, _ = rand.Read(token[:]) // never fails: https://pkg.go.dev/crypto/rand#Read
	return query.Statement{SQL: sql, Parameters: parameters, Token: hex.EncodeToString(token[:])}
}

func (env EngineEnv) start(t *testing.T, s query.Statement) query.Execution {
	t.Helper()
	e, err := env.Engine.Start(t.Context(), s)
	if err != nil {
		t.Fatalf("Start(%.200s): %v", s.SQL, err)
	}
	if e.ID == "" || e.SQL != s.SQL || e.Submitted.IsZero() {
		t.Fatalf("Start(%.200s) = %+v", s.SQL, e)
	}
	return e
}

// status of one execution.
func (env EngineEnv) status(t *testing.T, id string) query.Execution {
	t.Helper()
	list, unknown, err := env.Engine.Status(t.Context(), []string{id})
	if err != nil || len(unknown) > 0 || len(list) != 1 || list[0].ID != id {
		t.Fatalf("Status(%s) = %+v, unknown %q, %v", id, list, unknown, err)
	}
	return list[0]
}

// await asks for an execution, when the engine tells of changes and now and then, until it is as wanted.
func (env EngineEnv) await(t *testing.T, id string, wanted func(query.Execution) bool) query.Execution {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		e := env.status(t, id)
		if wanted(e) {
			return e
		}
		select {
		case <-env.Engine.Changed():
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%+v", e)
		}
	}
}

func ended(e query.Execution) bool { return e.State.Finished() }

// result runs a statement that must succeed, and reads its result.
func (env EngineEnv) result(t *testing.T, s query.Statement) (query.Execution, string) {
	t.Helper()
	e := env.await(t, env.start(t, s).ID, ended)
	if e.State != query.Succeeded || e.Error != "" {
		t.Fatalf("%.200s: %+v", s.SQL, e)
	}
	return e, env.read(t, e.ID)
}

// read opens a result and reads it; its size must be as was told.
func (env EngineEnv) read(t *testing.T, id string) string {
	t.Helper()
	r, size, err := env.Engine.Open(t.Context(), id)
	if err != nil {
		t.Fatalf("Open(%s): %v", id, err)
	}
	text, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("reading the result: %v", err)
	}
	if int64(len(text)) != size {
		t.Errorf("result of %d bytes, %d were told", len(text), size)
	}
	return string(text)
}

func testEngineRun(t *testing.T, env EngineEnv) {
	s := statement("SELECT 1 AS n")
	e := env.start(t, s)
	if e.State.Finished() && e.State != query.Succeeded {
		t.Fatalf("%+v", e)
	}
	var states []query.State
	e = env.await(t, e.ID, func(e query.Execution) bool {
		if n := len(states); n == 0 || states[n-1] != e.State {
			states = append(states, e.State)
		}
		return e.State.Finished()
	})
	for _, state := range states[:len(states)-1] {
		if state != query.Queued && state != query.Running {
			t.Errorf("states %q", states)
		}
	}
	if e.State != query.Succeeded || e.Submitted.IsZero() || e.Started.Before(e.Submitted) || e.Ended.Before(e.Started) || e.Error != "" {
		t.Errorf("%+v", e)
	}
	if got := env.read(t, e.ID); got != "\"n\"\n\"1\"\n" || e.ResultBytes != int64(len(got)) {
		t.Errorf("result %q, size %d", got, e.ResultBytes)
	}
	if again := env.status(t, e.ID); again != e {
		t.Errorf("an ended execution changed: %+v, %+v", e, again)
	}
}

// testEngineToken: who asks again with a token is given what it started, which ran once.
func testEngineToken(t *testing.T, env EngineEnv) {
	s := statement("SELECT 1 AS n")
	first := env.start(t, s)
	if again := env.start(t, s); again.ID != first.ID {
		t.Errorf("started %s and %s", first.ID, again.ID)
	}
	end := env.await(t, first.ID, ended)
	again := env.start(t, s)
	if again.ID != first.ID || again.State != end.State || again.ResultBytes != end.ResultBytes {
		t.Errorf("started %+v, and when that had ended %+v", end, again)
	}
	if e := env.start(t, statement(s.SQL)); e.ID == first.ID {
		t.Error("another token started nothing")
	}
	ids := make([]string, 8)
	s = statement("SELECT 3 AS n")
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			e, err := env.Engine.Start(t.Context(), s)
			if err != nil {
				t.Errorf("one of many: %v", err)
			}
			ids[i] = e.ID
		})
	}
	wg.Wait()
	if slices.Sort(ids); len(slices.Compact(ids)) != 1 {
		t.Errorf("one token started %q", ids)
	}
}

func testEngineStatus(t *testing.T, env EngineEnv) {
	if list, missing, err := env.Engine.Status(t.Context(), nil); err != nil || len(list)+len(missing) != 0 {
		t.Errorf("Status of none: %+v, unknown %q, %v", list, missing, err)
	}
	unknown := []string{unknownID, "", "no id", "'; --", "é"}
	slices.Sort(unknown)
	wants := func(missing []string) {
		t.Helper()
		if slices.Sort(missing); !slices.Equal(missing, unknown) {
			t.Errorf("unknown are %q, want %q", missing, unknown)
		}
	}
	list, missing, err := env.Engine.Status(t.Context(), unknown)
	if err != nil || len(list) != 0 {
		t.Errorf("Status of unknown ones: %+v, %v", list, err)
	}
	wants(missing)
	var ids []string
	for len(ids) < query.MaxStatus-len(unknown) {
		e := env.start(t, statement(fmt.Sprintf("SELECT %d AS n", len(ids))))
		env.await(t, e.ID, ended) // so that it does not wait behind the others
		ids = append(ids, e.ID)
	}
	list, missing, err = env.Engine.Status(t.Context(), slices.Concat(unknown, ids))
	if err != nil {
		t.Fatal(err)
	}
	wants(missing)
	var got []string
	for _, e := range list {
		if e.State != query.Succeeded {
			t.Errorf("%+v", e)
		}
		got = append(got, e.ID)
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("Status told of %d, want %d: %q", len(got), len(ids), got)
	}
}

func testEngineMany(t *testing.T, env EngineEnv) {
	var wg sync.WaitGroup
	for i := range env.Slots + 2 {
		wg.Go(func() {
			e, err := env.Engine.Start(t.Context(), statement(fmt.Sprintf("SELECT %d AS n", i)))
			if err != nil {
				t.Error(err)
				return
			}
			for !e.State.Finished() {
				list, _, err := env.Engine.Status(t.Context(), []string{e.ID})
				if err != nil || len(list) != 1 {
					t.Errorf("Status: %+v, %v", list, err)
					return
				}
				e = list[0]
			}
			r, _, err := env.Engine.Open(t.Context(), e.ID)
			if err != nil {
				t.Error(err)
				return
			}
			text, err := io.ReadAll(r)
			if want := fmt.Sprintf("\"n\"\n\"%d\"\n", i); err != nil || r.Close() != nil || string(text) != want {
				t.Errorf("%q, %v, want %q", text, err, want)
			}
		})
	}
	wg.Wait()
}
