package querytest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"penstock/consumer/query"
	"penstock/schemas"
)

// ExecutionsEnv is a fresh memory of executions.
type ExecutionsEnv struct {
	Executions query.Executions
	// Now is the clock that expiry goes by, and Advance moves it and does what is done when time has passed.
	Now     func() time.Time
	Advance func(t *testing.T, d time.Duration)
}

// ExecutionsSuite tests a query.Executions.
func ExecutionsSuite(t *testing.T, backend string, open func(t *testing.T) ExecutionsEnv) {
	t.Helper()
	t.Logf("executions on %s", backend)
	for name, test := range map[string]func(*testing.T, ExecutionsEnv){
		"add, get, by token":       testExecution,
		"what is there stays":      testExecutionTwice,
		"save":                     testExecutionSave,
		"the newest first":         testExecutionsList,
		"unknown":                  testExecutionUnknown,
		"the longest SQL":          testExecutionsLong,
		"they end":                 testExecutionsExpire,
		"a token can start anew":   testExecutionTokenAgain,
		"many at once":             testExecutionsRace,
		"more than a page of them": testExecutionsMany,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

const kept = 24 * time.Hour

// execution is a new one, submitted at the time.
func execution(submitted time.Time) query.Execution {
	s := statement("SELECT 'ä\n' AS s")
	return query.Execution{
		ID: uuid.NewString(), SQL: s.SQL, State: query.Queued, Token: s.Token, Fingerprint: s.Fingerprint(),
		Submitted: submitted.UTC().Truncate(time.Microsecond),
	}
}

// finished is the execution at its end, with all that can be said of one.
func finished(e query.Execution) query.Execution {
	e.State, e.Error = query.Failed, "läßt \"sich\" nicht\u2028ausführen"
	e.Started, e.Ended = e.Submitted.Add(time.Second), e.Submitted.Add(time.Minute)
	e.CompleteThrough = e.Submitted.Add(-time.Hour)
	e.Statistics = query.Statistics{Rows: 7, ScannedBytes: 1 << 40, Elapsed: 59*time.Second + 1}
	e.ResultBytes = 1 << 33
	return e
}

func (env ExecutionsEnv) add(t *testing.T, e query.Execution) {
	t.Helper()
	if err := env.Executions.Add(t.Context(), e, e.Submitted.Add(kept)); err != nil {
		t.Fatalf("Add: %v", err)
	}
}

func (env ExecutionsEnv) save(t *testing.T, e query.Execution) {
	t.Helper()
	if err := env.Executions.Save(t.Context(), e, e.Submitted.Add(kept)); err != nil {
		t.Fatalf("Save: %v", err)
	}
}

// wants fails unless the execution is found as it is, by its id and by its token.
func (env ExecutionsEnv) wants(t *testing.T, want query.Execution) {
	t.Helper()
	if got, err := env.Executions.Get(t.Context(), want.ID); err != nil || got != want {
		t.Errorf("Get() = %+v, %v\nwant %+v", got, err, want)
	}
	if got, err := env.Executions.Started(t.Context(), want.Token); err != nil || got != want {
		t.Errorf("Started() = %+v, %v\nwant %+v", got, err, want)
	}
}

func (env ExecutionsEnv) wantsNone(t *testing.T, e query.Execution) {
	t.Helper()
	if got, err := env.Executions.Get(t.Context(), e.ID); !errors.Is(err, query.ErrNotFound) {
		t.Errorf("Get() = %+v, %v, want ErrNotFound", got, err)
	}
	if got, err := env.Executions.Started(t.Context(), e.Token); !errors.Is(err, query.ErrNotFound) {
		t.Errorf("Started() = %+v, %v, want ErrNotFound", got, err)
	}
}

func (env ExecutionsEnv) list(t *testing.T, most int) []query.Execution {
	t.Helper()
	list, err := env.Executions.List(t.Context(), most)
	if err != nil {
		t.Fatalf("List(%d): %v", most, err)
	}
	return list
}

func testExecution(t *testing.T, env ExecutionsEnv) {
	fresh, ended := execution(env.Now()), finished(execution(env.Now().Add(-time.Second)))
	env.wantsNone(t, fresh)
	env.add(t, fresh)
	env.add(t, ended)
	env.wants(t, fresh)
	env.wants(t, ended)
}

func testExecutionTwice(t *testing.T, env ExecutionsEnv) {
	e := finished(execution(env.Now()))
	env.add(t, e)
	again := e
	again.State, again.Error = query.Queued, ""
	env.add(t, again)
	env.wants(t, e)
	if list := env.list(t, 10); len(list) != 1 || list[0] != e {
		t.Errorf("List() = %+v", list)
	}
}

func testExecutionSave(t *testing.T, env ExecutionsEnv) {
	e := execution(env.Now())
	env.add(t, e)
	for _, state := range []query.State{query.Running, query.Queued} {
		e.State = state
		env.save(t, e)
		env.wants(t, e)
	}
	e = finished(e)
	env.save(t, e)
	env.wants(t, e)
	if list := env.list(t, 10); len(list) != 1 || list[0] != e {
		t.Errorf("List() = %+v", list)
	}
}

func testExecutionsList(t *testing.T, env ExecutionsEnv) {
	if list := env.list(t, 10); len(list) != 0 {
		t.Errorf("List() = %+v", list)
	}
	var want []query.Execution
	now := env.Now()
	for i := range 5 {
		want = append(want, execution(now.Add(-time.Duration(i)*time.Second)))
	}
	same := execution(env.Now()) // submitted at the same time as another
	same.Submitted = want[3].Submitted
	for _, i := range []int{2, 0, 4, 3, 1} {
		env.add(t, want[i])
	}
	env.add(t, same)
	env.save(t, want[4])
	for most := range len(want) + 3 {
		list := env.list(t, most)
		if len(list) != min(most, len(want)+1) {
			t.Fatalf("List(%d) has %d", most, len(list))
		}
		for i, e := range list {
			if i > 0 && e.Submitted.After(list[i-1].Submitted) {
				t.Errorf("List(%d): %s comes after %s", most, e.Submitted, list[i-1].Submitted)
			}
			if i < 3 && e != want[i] {
				t.Errorf("List(%d): %+v is at place %d, want %+v", most, e, i, want[i])
			}
		}
	}
}

func testExecutionUnknown(t *testing.T, env ExecutionsEnv) {
	e := execution(env.Now())
	env.add(t, e)
	for _, other := range []query.Execution{
		execution(env.Now()), {ID: "no id", Token: "no token"}, {ID: e.ID[:35], Token: e.Token[:63]}, {ID: e.ID + "0", Token: e.Token + "0"},
		{ID: e.Token, Token: e.ID}, {ID: strings.ToUpper(e.ID) + "#", Token: "#"},
	} {
		env.wantsNone(t, other)
	}
}

func testExecutionsLong(t *testing.T, env ExecutionsEnv) {
	var want []query.Execution
	now := env.Now()
	for i := range 5 {
		e := finished(execution(now.Add(-time.Duration(i) * time.Second)))
		random := make([]byte, schemas.MaxSQL/2)
		_, _ = rand.Read(random)           // never fails: https://pkg.go.dev/crypto/rand#Read
		e.SQL = hex.EncodeToString(random) // no compression makes less than half of it
		env.add(t, e)
		env.save(t, e)
		env.wants(t, e)
		want = append(want, e)
	}
	for i, e := range env.list(t, 5) {
		e.CutSQL() // there may be more
		want[i].CutSQL()
		if e != want[i] {
			t.Errorf("List(): %d bytes of SQL at place %d", len(e.SQL), i)
		}
	}
}

// testExecutionsExpire: nothing goes early, and what is over goes, whether it ended or not.
func testExecutionsExpire(t *testing.T, env ExecutionsEnv) {
	old, young := execution(env.Now().Add(-time.Hour)), execution(env.Now())
	env.add(t, old)
	env.add(t, young)
	env.save(t, finished(old))
	env.Advance(t, kept-time.Hour-time.Second)
	env.wants(t, finished(old))
	env.wants(t, young)
	env.Advance(t, 30*time.Minute)
	env.wantsNone(t, old)
	env.wants(t, young)
	if list := env.list(t, 10); len(list) != 1 || list[0] != young {
		t.Errorf("List() = %+v", list)
	}
	env.Advance(t, time.Hour)
	env.wantsNone(t, young)
	if list := env.list(t, 10); len(list) != 0 {
		t.Errorf("List() = %+v", list)
	}
}

// testExecutionTokenAgain: a token leads to what it started last, when what it started before is over.
func testExecutionTokenAgain(t *testing.T, env ExecutionsEnv) {
	first := execution(env.Now())
	env.add(t, first)
	env.Advance(t, kept+time.Minute)
	second := execution(env.Now())
	second.Token = first.Token
	env.add(t, second)
	env.wants(t, second)
	if _, err := env.Executions.Get(t.Context(), first.ID); !errors.Is(err, query.ErrNotFound) {
		t.Errorf("Get() of the first: %v, want ErrNotFound", err)
	}
}

// testExecutionsRace: processes that add the same execution at a time agree on one.
func testExecutionsRace(t *testing.T, env ExecutionsEnv) {
	e := execution(env.Now())
	found := make([]query.Execution, 16)
	var wg sync.WaitGroup
	for i := range found {
		wg.Go(func() {
			own := e
			own.Error = fmt.Sprint(i)
			err := env.Executions.Add(t.Context(), own, e.Submitted.Add(kept))
			if err == nil {
				found[i], err = env.Executions.Started(t.Context(), e.Token)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, f := range found {
		if f != found[0] || f.ID != e.ID {
			t.Errorf("found %+v and %+v", f, found[0])
		}
	}
	if list := env.list(t, 10); len(list) != 1 || list[0] != found[0] {
		t.Errorf("List() = %+v", list)
	}
}

func testExecutionsMany(t *testing.T, env ExecutionsEnv) {
	const n = 230
	want := make([]query.Execution, n)
	now := env.Now()
	var wg sync.WaitGroup
	for i := range want {
		want[i] = execution(now.Add(-time.Duration(i) * time.Millisecond))
		wg.Go(func() { // one after the other would take long where each is a few requests
			if err := env.Executions.Add(t.Context(), want[i], want[i].Submitted.Add(kept)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, most := range []int{1, 100, 101, n, n + 1} {
		list := env.list(t, most)
		if len(list) != min(most, n) {
			t.Errorf("List(%d) has %d", most, len(list))
		}
		for i, e := range list {
			if e.ID != want[i].ID {
				t.Fatalf("List(%d): place %d is not the one submitted there", most, i)
			}
		}
	}
}
