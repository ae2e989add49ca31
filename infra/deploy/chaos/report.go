package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// shownFindings is how many are printed; all are in the JSON.
const shownFindings = 30

// report of a round.
type report struct {
	Seed     uint64
	Length   string
	Requests counts
	Actions  map[kind]int
	Faults   map[string]int
	// Starts of all processes; Ends are those that we did not cause, by process.
	Starts int
	Ends   map[string][]string `json:",omitempty"`
	Index  int                 // events
	Lake   int                 // rows
	// Commits that Glue took; Doubles are the events that stand on the stream more than once, and are in the lake once.
	Commits, Doubles int
	// Unowned is the longest time without a worker of a shard of each sink; Missed the longest between two looks at the leases.
	Unowned  map[string]string
	Missed   string
	Findings []finding
}

// report judges.
func (r *round) report(e evidence, stopped error) (report, error) {
	out := report{
		Seed: r.seed, Length: r.length.String(), Requests: r.book.totals(), Actions: r.done, Faults: r.proxies.faults(),
		Ends: map[string][]string{}, Index: len(e.Index), Lake: len(e.Lake), Commits: r.proxies.commits(),
		Unowned: map[string]string{}, Missed: e.Missed.Round(time.Millisecond).String(), Findings: judge(e),
	}
	for _, n := range e.Stream {
		if n > 1 {
			out.Doubles++
		}
	}
	for _, u := range e.Unowned { // the longest first
		if out.Unowned[u.Sink] == "" {
			out.Unowned[u.Sink] = fmt.Sprintf("%v (%s, until second %.0f)", u.For.Round(time.Millisecond), u.Shard, u.Until.Sub(r.began).Seconds())
		}
	}
	for _, name := range processNames() {
		p := r.processes[name]
		starts, ends := p.history()
		out.Starts += starts
		if len(ends) > 0 {
			out.Ends[name] = ends
		}
		log, err := os.ReadFile(p.logs)
		if err != nil {
			return out, fmt.Errorf("read its log: %w", err)
		}
		out.Findings = append(out.Findings, crashes(name, string(log))...)
	}
	if stopped != nil {
		out.Findings = append(out.Findings, finding{What: "end", Detail: stopped.Error()})
	}
	out.Findings = append(out.Findings, out.vain()...)
	return out, nil
}

// crashes finds in a log what no fault excuses.
func crashes(name, log string) []finding {
	var all []finding
	for line := range strings.Lines(log) {
		for _, sign := range []string{"panic: ", "fatal error: ", "WARNING: DATA RACE", "bad record is in the dead letters"} {
			if strings.Contains(line, sign) {
				all = append(all, finding{What: "log of " + name, Detail: strings.TrimSpace(line)})
			}
		}
	}
	return all
}

// vain is what a round must have had to be worth anything, and answers that no fault excuses.
func (r report) vain() []finding {
	var all []finding
	had := map[string]int{
		"an ack": r.Requests.Acked, "a killed process": r.Actions[kill], "a split": r.Actions[split], "a merge": r.Actions[merge],
		"an event that stands twice on the stream": r.Doubles, "a frozen process": r.Actions[freeze],
		"an UpdateTable that landed and was not told so": r.Faults["glue:UpdateTable lose answer"] + r.Faults["glue:UpdateTable error after"],
		"a late original": r.Faults["kinesis:PutRecords cut, forward later"],
	}
	for _, what := range slices.Sorted(maps.Keys(had)) {
		if had[what] == 0 {
			all = append(all, finding{What: noTrial, Detail: "there was not " + what})
		}
	}
	for status, n := range r.Requests.Refused {
		// 409: the first request with the key is not settled; 503: everything else that passes.
		if status != http.StatusConflict && status != http.StatusServiceUnavailable {
			all = append(all, finding{What: "answer that no fault excuses", Detail: fmt.Sprintf("status %d, %d times", status, n)})
		}
	}
	return all
}

// print it for a person.
func (r report) print(to io.Writer) {
	// The verdict is the exit status and the file; whoever closed this does not want to read it.
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(to, format+"\n", args...) }
	n := r.Requests
	line("seed %d, %s of load", r.Seed, r.Length)
	line("  documents    %d posted, %d acked; of %d requests %v were refused (by status), %d had no answer", n.Posted, n.Acked, n.Requests, n.Refused, n.Unanswered)
	line("  keys         %d requests sent again, %d of all answered as replayed", n.Repeated, n.Replayed)
	line("  actions      %v; %d starts of processes, %v ended by themselves", r.Actions, r.Starts, r.Ends)
	line("  faults       %d calls", total(r.Faults))
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		line("               %5d %s", r.Faults[name], name)
	}
	line("  stream       %d events stand there more than once", r.Doubles)
	line("  index, lake  %d events, %d rows in %d commits", r.Index, r.Lake, r.Commits)
	line("  no worker    for %v at the longest, by sink; leases were looked at at least every %s", r.Unowned, r.Missed)
	for i, f := range r.Findings {
		if i == shownFindings {
			line("  … and %d more", len(r.Findings)-i)
			break
		}
		line("  WRONG  %s", f)
	}
}

func total(of map[string]int) (sum int) {
	for _, n := range of {
		sum += n
	}
	return sum
}

// write it for a machine.
func (r report) write(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
