package aws

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"penstock/consumer/query"
	"penstock/infra/aws/athenatest"
)

func openResult(t *testing.T, a *Athena, id string) string {
	t.Helper()
	r, size, err := a.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || int64(len(text)) != size {
		t.Errorf("%d bytes, %d were told: %v", len(text), size, err)
	}
	return string(text)
}

// What Athena writes as text has the columns that Athena names elsewhere.
func TestAthenaTextResults(t *testing.T) {
	t.Parallel()
	w := newAthenaWorld(t, testAthenaConfig(t), athenatest.Config{})
	for sql, want := range map[string]string{
		"DESCRIBE events":  "\"col_name\",\"data_type\",\"comment\"\n\"id\",\"string\",\"\"\n\"a \"\"b\"\"\",\"map<string,string>\",\"c\"\n",
		"EXPLAIN SELECT 1": "\"Query Plan\"\n\"one\"\n\"  two \"\"2\"\"\"\n",
	} {
		e := untilState(t, w.Athena, startStatement(t, w.Athena, sql).ID, query.Succeeded)
		if got := openResult(t, w.Athena, e.ID); got != want || e.ResultBytes != int64(len(want)) {
			t.Errorf("%s: %d bytes\ngot  %q\nwant %q", sql, e.ResultBytes, got, want)
		}
	}
}

// Text comes out the same however it is read, and lines that are no rows of the columns do no harm.
func TestTextCSV(t *testing.T) {
	t.Parallel()
	const text = "id                  \tstring              \tan \"id\"\r\n\n# Partition Information\t \na\tb\tc\td\nlast"
	const want = "\"n\",\"t\",\"c\"\n\"id\",\"string\",\"an \"\"id\"\"\"\n\"\",,\n\"# Partition Information\",\"\",\n\"a\",\"b\",\"c\td\"\n\"last\",,\n"
	for _, from := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
		csv := newTextCSV(io.NopCloser(from), []string{"n", "t", "c"})
		if err := iotest.TestReader(csv, []byte(want)); err != nil {
			t.Error(err)
		}
	}
	got, err := io.ReadAll(iotest.OneByteReader(newTextCSV(io.NopCloser(strings.NewReader(text)), []string{"n", "t", "c"})))
	if err != nil || string(got) != want {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
	for _, bad := range []io.Reader{strings.NewReader(strings.Repeat("x", maxTextLine+1)), iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(text)))} {
		if got, err := io.ReadAll(newTextCSV(io.NopCloser(bad), []string{"n"})); err == nil {
			t.Errorf("%d bytes without an error", len(got))
		}
	}
}

// A result that is too large is no result; one that was deleted has none; and neither is the end of others.
func TestAthenaResultLimits(t *testing.T) {
	t.Parallel()
	cfg := testAthenaConfig(t)
	cfg.MaxResultBytes = 100
	w := newAthenaWorld(t, cfg, athenatest.Config{SQL: scripted{"SELECT 1": "\"n\"\n\"1\"\n", "SELECT 2": "\"n\"\n" + strings.Repeat("\"2\"\n", 25)}})
	small, large := startStatement(t, w.Athena, "SELECT 1"), startStatement(t, w.Athena, "SELECT 2")
	if e := untilState(t, w.Athena, large.ID, query.Failed); !strings.Contains(e.Error, "104 bytes, and may have 100") || e.ResultBytes != 0 {
		t.Errorf("%+v", e)
	}
	untilState(t, w.Athena, small.ID, query.Succeeded)
	want := []string{"/bucket/queries/" + small.ID + ".csv", "/bucket/queries/" + small.ID + ".csv.metadata"}
	for _, key := range want {
		if !slices.Contains(w.objects.Keys(), key) {
			t.Errorf("%s is not among %q", key, w.objects.Keys())
		}
	}
	w.objects.Remove()
	list, _, err := w.Status(t.Context(), []string{small.ID, large.ID})
	if err != nil || len(list) != 2 || list[0].State != query.Succeeded || list[0].ResultBytes != 0 {
		t.Errorf("without objects: %+v, %v", list, err)
	}
	if _, _, err := w.Open(t.Context(), small.ID); !errors.Is(err, query.ErrNoResult) {
		t.Errorf("Open of a deleted result: %v", err)
	}
}

// A result that may not be read keeps no execution from its end, nor does it end one that S3 could not tell of.
func TestAthenaResultThatCantBeRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		head reply
		want bool
	}{"forbidden": {reply{status: 403}, true}, "broken": {reply{status: 500}, false}, "no answer": {lost, false}} {
		s := newDynamoStub(t, func(c call) reply {
			if c.op == "BatchGetQueryExecution" {
				return reply{status: 200, body: `{"QueryExecutions":[` + succeededExecution + `]}`}
			}
			return test.head
		})
		list, _, err := NewAthena(s.Clients, testAthenaConfig(t)).Status(t.Context(), []string{unknownExecution})
		if (err == nil) != test.want || test.want && (len(list) != 1 || list[0].State != query.Succeeded || list[0].ResultBytes != 0) {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
}

// The request that opened a result may be over long before its reader is; but one that is over opens none.
func TestAthenaResultOutlivesItsContext(t *testing.T) {
	t.Parallel()
	want := "\"n\"\n" + strings.Repeat("\"a row of the result\"\n", 1_000_000) // no connection buffers as much
	w := newAthenaWorld(t, testAthenaConfig(t), athenatest.Config{SQL: scripted{"SELECT 1": want}})
	e := untilState(t, w.Athena, startStatement(t, w.Athena, "SELECT 1").ID, query.Succeeded)
	ctx, cancel := context.WithCancel(t.Context())
	r, _, err := w.Open(ctx, e.ID)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(got) != want {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	if r, _, err := w.Open(ctx, e.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("opened by a request that is over: %v, %v", r, err)
	}
}

// A request that ends while S3 is asked opens nothing, and leaves nothing open.
func TestAthenaOpenGivenUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := newDynamoStub(t, func(c call) reply {
		if c.op == "GetQueryExecution" {
			return reply{status: 200, body: `{"QueryExecution":` + succeededExecution + `}`}
		}
		cancel()
		return reply{status: 200, body: "\"n\"\n"}
	})
	if r, _, err := NewAthena(s.Clients, testAthenaConfig(t)).Open(ctx, unknownExecution); !errors.Is(err, context.Canceled) {
		t.Errorf("opened: %v, %v", r, err)
	}
}
