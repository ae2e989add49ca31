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
		"add, get":                 testExecution,
		"what is there stays":      testExecutionTwice,
		"two times of submission":  testExecutionTwoTimes,
		"the first end holds":      testExecutionFinish,
		"the SQL stays":            testExecutionSQLStays,
		"the freshness stays":      testExecutionFreshnessStays,
		"a key is taken once":      testClaim,
		"a key is given back":      testClaimRelease,
		"many claim a key":         testClaimRace,
		"the newest first":         testExecutionsList,
		"unknown":                  testExecutionUnknown,
		"the longest SQL":          testExecutionsLong,
		"they end":                 testExecutionsExpire,
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
	return query.Execution{
		ID: uuid.NewString(), SQL: "SELECT 'ä\n' AS s", State: query.Queued, Submitted: submitted.UTC().Truncate(time.Microsecond),
	}
}

// finished is the execution at its end, with all that can be said of one.
func finished(e query.Execution) query.Execution {
	e.State, e.Error = query.Failed, "läßt \"sich\" nicht\u2028ausführen"
	e.Started, e.Ended = e.Submitted.Add(time.Second), e.Submitted.Add(time.Minute)
	e.CompleteThrough = e.Submitted.Add(-time.Hour)
	e.Statistics = query.Statistics{Rows: query.UnknownRows, ScannedBytes: 1 << 40, Elapsed: 59*time.Second + 1}
	e.ResultBytes = 1 << 33
	return e
}

func (env ExecutionsEnv) add(t *testing.T, e query.Execution) {
	t.Helper()
	env.addFor(t, e, "", "")
}

func (env ExecutionsEnv) addFor(t *testing.T, e query.Execution, key, token string) {
	t.Helper()
	if err := env.Executions.Add(t.Context(), e, key, token, e.Submitted.Add(kept)); err != nil {
		t.Fatalf("Add: %v", err)
	}
}

func (env ExecutionsEnv) finish(t *testing.T, e query.Execution) {
	t.Helper()
	if held, err := env.Executions.Finish(t.Context(), e); err != nil || held.State != e.State || held.ResultBytes != e.ResultBytes {
		t.Fatalf("Finish = %+v, %v", held, err)
	}
}

// wants fails unless the execution is remembered as it is.
func (env ExecutionsEnv) wants(t *testing.T, want query.Execution) {
	t.Helper()
	if got, err := env.Executions.Get(t.Context(), want.ID); err != nil || got != want {
		t.Errorf("Get() = %+v, %v\nwant %+v", got, err, want)
	}
}

func (env ExecutionsEnv) wantsNone(t *testing.T, id string) {
	t.Helper()
	if got, err := env.Executions.Get(t.Context(), id); !errors.Is(err, query.ErrNotFound) {
		t.Errorf("Get() = %+v, %v, want ErrNotFound", got, err)
	}
}

// claim takes a key for a day.
func (env ExecutionsEnv) claim(t *testing.T, key string, c query.Claim) query.Claim {
	t.Helper()
	held, err := env.Executions.Claim(t.Context(), key, c, kept)
	if err != nil {
		t.Fatalf("Claim(%s): %v", key, err)
	}
	return held
}

// newClaim is one of a statement of its own.
func newClaim() query.Claim {
	s := statement("SELECT '" + uuid.NewString() + "'")
	return query.Claim{Token: s.Token, Fingerprint: s.Fingerprint()}
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
	env.wantsNone(t, fresh.ID)
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

// testExecutionFinish: the first end holds, and whoever comes later is told of it.
func testExecutionFinish(t *testing.T, env ExecutionsEnv) {
	e := execution(env.Now())
	e.State = query.Running
	env.add(t, e)
	end := finished(e)
	env.finish(t, end)
	env.wants(t, end)
	other := end
	other.State, other.Error, other.ResultBytes, other.CompleteThrough = query.Succeeded, "", 3, time.Time{}
	held, err := env.Executions.Finish(t.Context(), other)
	held.SQL = end.SQL // it may be without
	if err != nil || held != end {
		t.Errorf("Finish of what has ended = %+v, %v\nwant %+v", held, err, end)
	}
	env.wants(t, end)
	if list := env.list(t, 10); len(list) != 1 || list[0] != end {
		t.Errorf("List() = %+v", list)
	}
	if held, err := env.Executions.Finish(t.Context(), finished(execution(env.Now()))); !errors.Is(err, query.ErrNotFound) {
		t.Errorf("Finish of what is not there = %+v, %v, want ErrNotFound", held, err)
	}
}

// testExecutionFreshnessStays: who starts an execution may know how fresh the lake was, and who learns of its end not.
func testExecutionFreshnessStays(t *testing.T, env ExecutionsEnv) {
	e := execution(env.Now())
	e.CompleteThrough = e.Submitted.Add(-time.Minute)
	env.add(t, e)
	end := finished(e)
	end.CompleteThrough = time.Time{}
	held, err := env.Executions.Finish(t.Context(), end)
	if err != nil || !held.CompleteThrough.Equal(e.CompleteThrough) {
		t.Errorf("%+v, %v", held, err)
	}
	end.CompleteThrough = e.CompleteThrough
	env.wants(t, end)
}

// testExecutionSQLStays: whoever knows of an end need not know the SQL.
func testExecutionSQLStays(t *testing.T, env ExecutionsEnv) {
	for _, n := range []int{1, query.ListedSQL, 4*query.ListedSQL - 1, 4 * query.ListedSQL, 4*query.ListedSQL + 1, 20_000} {
		e := execution(env.Now())
		e.SQL = strings.Repeat("x", n-1) + "é"
		env.add(t, e)
		end := finished(e)
		end.SQL = ""
		env.finish(t, end)
		end.SQL = e.SQL
		env.wants(t, end)
	}
}

// testExecutionTwoTimes: an engine may tell another time of submission later; it is the same execution.
func testExecutionTwoTimes(t *testing.T, env ExecutionsEnv) {
	e := execution(env.Now())
	env.add(t, e)
	again := e
	again.Submitted = e.Submitted.Add(time.Second)
	env.add(t, again)
	env.wants(t, e)
	if list := env.list(t, 10); len(list) != 1 || list[0] != e {
		t.Errorf("List() = %+v", list)
	}
}

// testClaim: a key is taken once, leads to its execution when that is there, and is free again after its time.
func testClaim(t *testing.T, env ExecutionsEnv) {
	first, second := newClaim(), newClaim()
	if held := env.claim(t, "k", first); held != first {
		t.Errorf("Claim() = %+v, want its own", held)
	}
	if held := env.claim(t, "k", second); held != first {
		t.Errorf("Claim() = %+v, want the first", held)
	}
	if held := env.claim(t, "K", second); held != second {
		t.Errorf("Claim() of another key = %+v", held)
	}
	e := execution(env.Now())
	env.addFor(t, e, "k", second.Token) // which is not the key's
	if held := env.claim(t, "k", second); held != first {
		t.Errorf("led by a token that is not its own: %+v", held)
	}
	env.addFor(t, e, "k", first.Token)
	first.ID = e.ID
	if held := env.claim(t, "k", second); held != first {
		t.Errorf("Claim() = %+v, want %+v", held, first)
	}
	env.Advance(t, kept-time.Second)
	if held := env.claim(t, "k", second); held != first {
		t.Errorf("just before its time: %+v", held)
	}
	env.Advance(t, 2*time.Second)
	if held := env.claim(t, "k", second); held != second {
		t.Errorf("after its time: %+v, want the second's", held)
	}
	env.addFor(t, execution(env.Now()), "k", first.Token) // a start that took a day
	if held := env.claim(t, "k", newClaim()); held != second {
		t.Errorf("led by an earlier token: %+v", held)
	}
}

// testClaimRelease: only who holds a key that has started nothing gives it back.
func testClaimRelease(t *testing.T, env ExecutionsEnv) {
	first, second := newClaim(), newClaim()
	release := func(c query.Claim) {
		t.Helper()
		if err := env.Executions.Release(t.Context(), "k", c); err != nil {
			t.Errorf("Release: %v", err)
		}
	}
	release(first) // there is none
	env.claim(t, "k", first)
	release(second)
	if held := env.claim(t, "k", second); held != first {
		t.Errorf("another's Release had an effect: %+v", held)
	}
	release(first)
	if held := env.claim(t, "k", second); held != second {
		t.Errorf("it was not released: %+v", held)
	}
	e := execution(env.Now())
	env.addFor(t, e, "k", second.Token)
	release(second)
	second.ID = e.ID
	if held := env.claim(t, "k", first); held != second {
		t.Errorf("Release of what has started: %+v", held)
	}
}

// testClaimRace: of many that claim a key at a time one wins, and all know which.
func testClaimRace(t *testing.T, env ExecutionsEnv) {
	held := make([]query.Claim, 16)
	var wg sync.WaitGroup
	for i := range held {
		wg.Go(func() {
			var err error
			if held[i], err = env.Executions.Claim(t.Context(), "k", newClaim(), kept); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, c := range held {
		if c != held[0] || c.Token == "" {
			t.Errorf("%+v and %+v hold it", c, held[0])
		}
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
	for _, id := range []string{execution(env.Now()).ID, "no id", e.ID[:35], e.ID + "0", strings.ToUpper(e.ID) + "#", "#"} {
		env.wantsNone(t, id)
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
	env.finish(t, finished(old))
	env.Advance(t, kept-time.Hour-time.Second)
	env.wants(t, finished(old))
	env.wants(t, young)
	env.Advance(t, 30*time.Minute)
	env.wantsNone(t, old.ID)
	env.wants(t, young)
	if list := env.list(t, 10); len(list) != 1 || list[0] != young {
		t.Errorf("List() = %+v", list)
	}
	env.Advance(t, time.Hour)
	env.wantsNone(t, young.ID)
	if list := env.list(t, 10); len(list) != 0 {
		t.Errorf("List() = %+v", list)
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
			err := env.Executions.Add(t.Context(), own, "", "", e.Submitted.Add(kept))
			if err == nil {
				found[i], err = env.Executions.Get(t.Context(), e.ID)
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
			if err := env.Executions.Add(t.Context(), want[i], "", "", want[i].Submitted.Add(kept)); err != nil {
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
