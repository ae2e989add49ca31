package main

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"penstock/infra/deploy/pyiceberg"
)

// A round in which something did not happen at all proves nothing, and an answer that no fault excuses is wrong.
func TestVain(t *testing.T) {
	t.Parallel()
	good := func() report {
		return report{
			Requests: counts{Acked: 1, Refused: map[int]int{409: 3, 503: 5}}, Doubles: 1,
			Actions: map[kind]int{kill: 1, freeze: 1, split: 1, merge: 1},
			Faults:  map[string]int{"glue:UpdateTable lose answer": 1, "kinesis:PutRecords cut, forward later": 1},
		}
	}
	if all := good().vain(); len(all) > 0 {
		t.Errorf("a good round: %v", all)
	}
	for name, breaks := range map[string]func(r *report){
		"no ack": func(r *report) { r.Requests.Acked = 0 }, "no double": func(r *report) { r.Doubles = 0 },
		"no kill": func(r *report) { delete(r.Actions, kill) }, "no merge": func(r *report) { delete(r.Actions, merge) },
		"no late original": func(r *report) { delete(r.Faults, "kinesis:PutRecords cut, forward later") },
		"a status 500":     func(r *report) { r.Requests.Refused[500] = 1 },
	} {
		r := good()
		breaks(&r)
		if all := r.vain(); len(all) != 1 {
			t.Errorf("%s: %v", name, all)
		}
	}
}

func TestCrashes(t *testing.T) {
	t.Parallel()
	log := "level=WARN msg=\"shard is retried\"\npanic: runtime error: index out of range\n\ngoroutine 1 [running]:\n"
	if all := crashes("lake-0", log); len(all) != 1 || all[0].Detail != "panic: runtime error: index out of range" {
		t.Errorf("found %v", all)
	}
}

// A row whose column sha256 is wrong is as wrong as one with other data.
func TestFoundRow(t *testing.T) {
	t.Parallel()
	d := newDocument(1, 1, false)
	all := map[string]posted{d.Marker: {Sum: d.sum()}}
	right := d.sum()
	for name, of := range map[string]struct {
		row   pyiceberg.Row
		right bool
	}{
		"right":              {pyiceberg.Row{SHA256: hex.EncodeToString(right[:]), Data: string(d.Body)}, true},
		"other data":         {pyiceberg.Row{SHA256: hex.EncodeToString(right[:]), Data: string(d.Body) + " "}, false},
		"other column":       {pyiceberg.Row{SHA256: hex.EncodeToString(make([]byte, sha256.Size)), Data: string(d.Body)}, false},
		"column of nonsense": {pyiceberg.Row{SHA256: "x", Data: string(d.Body)}, false},
		"no column":          {pyiceberg.Row{Data: string(d.Body)}, false},
	} {
		if f := foundRow(of.row, all); (f.Sum == right) != of.right || f.Marker != d.Marker {
			t.Errorf("%s: %v", name, f)
		}
	}
}
