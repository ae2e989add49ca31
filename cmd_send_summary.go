package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"penstock/infra/client"
)

// maxListedFailures bounds the list in the JSON summary; standard error has them all.
const maxListedFailures = 20

// sendFailure is one event, or a run of them, that was not accepted.
type sendFailure struct {
	Path string `json:"path"`
	// Position is a line or an index; absent for a whole file.
	Position *int   `json:"position,omitempty"`
	Events   int    `json:"events"`
	Status   int    `json:"status,omitempty"`
	Type     string `json:"type,omitempty"`
	Detail   string `json:"detail"`
	Unsure   bool   `json:"unsure"` // it may be stored all the same
}

func newSendFailure(path string, at, events int, r client.Receipt) sendFailure {
	err := r.Err
	f := sendFailure{Path: path, Events: events, Detail: err.Error(), Unsure: r.Unsure}
	if at != client.Whole {
		f.Position = &at
	}
	var problem *client.Problem
	if errors.As(err, &problem) {
		f.Status, f.Type = problem.Status, problem.Type
	}
	return f
}

// sendSummary is what `penstock send --json` prints.
type sendSummary struct {
	Accepted    int64 `json:"accepted"`
	Rejected    int64 `json:"rejected"`
	Unsent      int64 `json:"unsent"`
	Unconfirmed int64 `json:"unconfirmed"`
	// Bytes of the accepted events as they were sent: of a .json.gz its compressed size.
	Bytes           int64       `json:"bytes"`
	Files           int         `json:"files"`
	Skipped         int         `json:"skippedFiles"`
	Requests        int64       `json:"requests"`
	Retries         int64       `json:"retries"`
	Seconds         float64     `json:"seconds"`
	EventsPerSecond float64     `json:"eventsPerSecond"`
	BytesPerSecond  float64     `json:"bytesPerSecond"`
	Latency         sendLatency `json:"latencyMilliseconds"`
	// ID is that of the event when just one was sent.
	ID     string        `json:"id,omitempty"`
	Errors []sendFailure `json:"errors,omitempty"`
	// Stopped says why not everything was tried.
	Stopped string `json:"stopped,omitempty"`
}

type sendLatency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func (r *sendReport) summary(stopped error) sendSummary {
	t := &r.tally
	elapsed := max(time.Since(r.started), time.Microsecond)
	s := sendSummary{
		Accepted: t.Accepted, Rejected: t.Rejected, Unsent: t.Unsent, Unconfirmed: t.Unconfirmed, Bytes: t.Bytes,
		Files: r.extent.Files, Skipped: r.extent.Skipped, Requests: t.Requests, Retries: t.Retries,
		Seconds:         elapsed.Seconds(),
		EventsPerSecond: float64(t.Accepted) / elapsed.Seconds(),
		BytesPerSecond:  float64(t.Bytes) / elapsed.Seconds(),
		Latency:         sendLatency{millis(t.Latency(.5)), millis(t.Latency(.99)), millis(t.Latency(1))},
		Errors:          r.errs,
	}
	if t.Accepted == 1 {
		s.ID = r.lastID
	}
	if stopped != nil {
		s.Stopped = explainedStop(stopped).Error()
	}
	return s
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *sendSummary) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(s)
}

func (s *sendSummary) writeText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "sent %s, %s in %s: %s events/s, %s/s\n", plural(s.Accepted, "event"), bytesText(s.Bytes), seconds(s.Seconds),
		humanize.CommafWithDigits(rounded(s.EventsPerSecond), 1), bytesText(int64(s.BytesPerSecond)))
	if s.Latency.Max > 0 {
		fmt.Fprintf(&b, "latency p50 %s, p99 %s, max %s; ",
			seconds(s.Latency.P50/1000), seconds(s.Latency.P99/1000), seconds(s.Latency.Max/1000))
	}
	if s.Requests > 0 {
		fmt.Fprintf(&b, "%s, %s of them repeated\n", plural(s.Requests, "request"), humanize.Comma(s.Retries))
	}
	if s.Rejected > 0 {
		fmt.Fprintf(&b, "NOT ACCEPTED: %s refused for the reasons above; sending again without a change will not help\n", plural(s.Rejected, "event"))
	}
	if s.Unsent > 0 {
		fmt.Fprintf(&b, "NOT STORED: %s; send again\n", plural(s.Unsent, "event"))
	}
	if s.Unconfirmed > 0 {
		fmt.Fprintf(&b, "NOT CONFIRMED: %s may be stored or not; sending again may store them twice\n", plural(s.Unconfirmed, "event"))
	}
	if s.Skipped > 0 {
		fmt.Fprintf(&b, "skipped %s of other kinds\n", plural(int64(s.Skipped), "file"))
	}
	if s.ID != "" {
		fmt.Fprintf(&b, "id %s\n", s.ID)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return humanize.Comma(n) + " " + what + "s"
}

func bytesText(n int64) string { return humanize.Bytes(uint64(max(n, 0))) } // not negative

// rounded drops what nobody reads of a large number.
func rounded(x float64) float64 {
	if x >= 100 {
		return float64(int64(x + .5))
	}
	return x
}

// seconds writes a time with three digits that count.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
