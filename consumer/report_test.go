package consumer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// What is shown of an error tells what went wrong, and nothing of what passes through.
func TestShownErrors(t *testing.T) {
	t.Parallel()
	const body = `{"card":"4111 1111","note":"it's private"}`
	echo := fmt.Errorf("deliver up to 17/0: operation error DynamoDB: BatchWriteItem, https response error StatusCode: 400, "+
		"RequestID: ABC, api error ValidationException: 1 validation error detected: Value '%s' at 'requestItems' failed to satisfy "+
		"constraint", "[WriteRequest(item={e=AttributeValue(S="+body+")})]")
	for name, test := range map[string]struct {
		err         error
		want, never []string
	}{
		"AWS repeats what it refuses": {echo, []string{"deliver up to 17/0", "BatchWriteItem", "ValidationException", "at 'requestItems'"},
			[]string{"4111", "private", "card"}},
		"a short value too": {errors.New("Value 'secret' at 'data' is bad"), []string{"at 'data' is bad"}, []string{"secret"}},
		"an object":         {errors.New("can't parse " + body + " here"), []string{"can't parse", "here"}, []string{"4111", "card"}},
		"a long quotation": {fmt.Errorf("event %q is odd", strings.Repeat(`s3cret "x" `, 20)), []string{"event ", " is odd"},
			[]string{"s3cret"}},
		"a long quotation of AWS's": {errors.New("parameter name='" + strings.Repeat("s3cret, ", 20) + "' is bad"), []string{"parameter name='", "is bad"}, []string{"s3cret"}},
		"apostrophes": {errors.New("can't be reached, " + strings.Repeat("and so on, ", 8) + "and doesn't answer"),
			[]string{"can't be reached, and so on", "and doesn't answer"}, nil},
		"a place and a name": {errors.New(`read after "49590338271490256608559692538361571095921575989136588898": table 'penstock-state'`),
			[]string{"49590338271490256608559692538361571095921575989136588898", "penstock-state"}, nil},
		"an access key": {errors.New("Credential=AKIAIOSFODNN7EXAMPLE/20260102 is wrong, and ASIAIOSFODNN7EXAMPLE"),
			[]string{"Credential=", "is wrong"}, []string{"IOSFODNN7"}},
		"several lines": {errors.Join(errors.New("one"), errors.New("two\r\n\x1b[31mthree")), []string{"one two [31mthree"}, []string{"\n", "\x1b"}},
		"no text":       {errors.New("a\xffb"), []string{"a"}, nil},
		"far too long":  {errors.New("begins " + strings.Repeat("é", 5000)), []string{"begins ", "…"}, nil},
	} {
		got := shown(test.err)
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q lacks %q", name, got, want)
			}
		}
		for _, never := range test.never {
			if strings.Contains(got, never) {
				t.Errorf("%s: %q has %q", name, got, never)
			}
		}
		if len(got) > maxShown || !utf8.ValidString(got) {
			t.Errorf("%s: %d bytes, %q", name, len(got), got)
		}
	}
}

// A lease tells, at its next renewal, how the work goes.
func TestLeasesTellHowTheWorkGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const renewed = testLife/3 + 10*time.Millisecond
		w := newWorld(t, "a")
		p := w.start("one")
		first := w.send("a", w.inline())
		eventually(t, time.Minute, "the first event", w.complete)
		elapse(renewed)
		for _, sink := range []string{IndexSinkName, LakeSinkName} {
			r := w.leases.of(sink, "a").Report
			if r.At.Position.Sequence != first || r.At.AsOf.IsZero() || !r.LagKnown || r.Lag > 2*time.Second || r.Error != "" || r.Failing {
				t.Errorf("%s has all: %+v", sink, r)
			}
		}

		// Neither sink can make anything durable.
		w.faults.set(func(call string, _ bool) error {
			if call == "Apply" || call == "Append" {
				return errInjected
			}
			return nil
		})
		arrived := time.Now()
		second := w.send("a", w.inline())
		elapse(3 * testLife)
		for _, sink := range []string{IndexSinkName, LakeSinkName} {
			r := w.leases.of(sink, "a").Report
			behind := time.Since(arrived)
			if r.At.Position.Sequence != first || r.At.AsOf.After(arrived) || r.Lag < behind-renewed || r.Lag > behind+2*time.Second {
				t.Errorf("%s, %s behind: %+v", sink, behind, r)
			}
		}
		if r := w.leases.of(IndexSinkName, "a").Report; !r.Failing || !strings.Contains(r.Error, errInjected.Error()) {
			t.Errorf("the index fails: %+v", r)
		}

		w.faults.set(nil)
		eventually(t, time.Minute, "the second event", w.complete)
		recovered := time.Now()
		elapse(2 * testLife)
		r := w.leases.of(IndexSinkName, "a").Report
		if r.Failing || r.Error == "" || r.ErrorAge < time.Since(recovered)-renewed || r.At.Position.Sequence != second || r.Lag > 2*time.Second {
			t.Errorf("the index goes on since %s: %+v", time.Since(recovered), r)
		}

		// What the last flush makes durable is told with what is given back.
		third := w.send("a", w.inline())
		eventually(t, time.Second, "the lake to have it in its buffer", func() bool { return p.lakeSink.Stats().BufferedRows == 1 })
		if d, ok := p.lakeSink.Durable("a"); !ok || d.Pending.IsZero() || d.At.Position.Sequence != second {
			t.Errorf("in the buffer: %+v, %t", d, ok)
		}
		p.shutdown()
		for _, sink := range []string{IndexSinkName, LakeSinkName} {
			if l := w.leases.of(sink, "a"); l.Owner != "" || l.Report.At.Position.Sequence != third || l.Report.Lag > 2*time.Second {
				t.Errorf("%s at the end: %+v", sink, l)
			}
		}
	})
}

// A worker that reads nothing yet passes on what the one before it told.
func TestReportsAreHandedOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a")
		p := w.start("one")
		sequence := w.send("a", w.inline())
		eventually(t, time.Minute, "the event", w.complete)
		p.shutdown()
		before := time.Now()
		elapse(time.Hour)
		w.faults.set(func(call string, _ bool) error {
			if call == "Checkpoint" || call == "Offsets" { // so that it can't tell where to begin
				return errInjected
			}
			return nil
		})
		p = w.start("two")
		elapse(2 * testLife)
		for _, sink := range []string{IndexSinkName, LakeSinkName} {
			l := w.leases.of(sink, "a")
			away := time.Since(before)
			if r := l.Report; l.Owner != "two" || !r.Failing || r.At.Position.Sequence != sequence || r.Lag < away-testLife || r.Lag > away+testLife {
				t.Errorf("%s, %s later: %+v", sink, away, l)
			}
		}
		w.faults.set(nil)
		p.shutdown()
	})
}

// Reports of a hand-over keep the lag of a shard that was read to its end at nothing.
func TestReportsAge(t *testing.T) {
	t.Parallel()
	r := Report{Lag: time.Second, LagKnown: true, Error: "e", ErrorAge: time.Minute}
	if got := r.aged(time.Hour); got.Lag != time.Hour+time.Second || got.ErrorAge != time.Hour+time.Minute {
		t.Errorf("an hour later: %+v", got)
	}
	r.At.End, r.Lag = true, 0
	if got := r.aged(time.Hour); got.Lag != 0 || !got.LagKnown {
		t.Errorf("at the end: %+v", got)
	}
	if got := (Report{}).aged(time.Hour); got != (Report{}) {
		t.Errorf("nothing told: %+v", got)
	}
}

// A shard that another worker has read to its end is known to need nobody before this one has seen that for itself.
func TestDrainedByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "parent")
		w.send("parent", w.inline())
		w.stream.split("parent", "child")
		p := w.start("one")
		eventually(t, time.Minute, "the event", w.complete)
		elapse(testLife)
		p.shutdown()
		w.faults.set(func(call string, _ bool) error {
			if call == "PutLease" {
				return errInjected
			}
			return nil
		})
		p = w.start("two")
		elapse(time.Second)
		for _, f := range []*Fleet{p.indexFleet, p.lakeFleet} {
			s := f.Stats().Shards
			if len(s) != 2 || s[0].Shard != "child" || s[0].Drained || !s[1].Drained || s[1].Owner != "" {
				t.Errorf("%+v, want the parent drained", s)
			}
		}
		p.shutdown()
	})
}
