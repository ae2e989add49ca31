package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// report is the JSON of a run.
type report struct {
	Cores    int       `json:"cores"`
	Go       string    `json:"go"`
	Rounds   int       `json:"rounds"`
	Round    string    `json:"round"`
	Measures []measure `json:"measures"`
	details
}

// details are what the rows of `make endure` saw on their way.
type details struct {
	Days    []monthDay     `json:"days,omitempty"`
	Minutes []steadyMinute `json:"minutes,omitempty"`
}

// measure is one figure of a row: both sides' median and the median of the ratios of the pairs.
type measure struct {
	Load       string  `json:"load"`
	What       string  `json:"what"`
	Against    string  `json:"against"`
	Unit       string  `json:"unit"`
	Comparator float64 `json:"comparator"`
	Subject    float64 `json:"subject"`
	// Ratio is subject / comparator; Lowest and Highest are those of single pairs.
	Ratio   float64 `json:"ratio"`
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
	Goal    string  `json:"goal,omitempty"`
	Met     *bool   `json:"met,omitempty"`
}

// goal is the bound of a ratio.
type goal struct {
	bound float64
	most  bool // at most; else at least
}

func atLeast(bound float64) *goal { return &goal{bound: bound} }
func atMost(bound float64) *goal  { return &goal{bound: bound, most: true} }

func (g *goal) String() string {
	if g.most {
		return fmt.Sprintf("≤ %.2f", g.bound)
	}
	return fmt.Sprintf("≥ %.2f", g.bound)
}

// summarize makes a figure of the pairs; of takes it from a sample. A nil goal: the figure is for information.
func summarize(what, against, unit string, g *goal, pairs []pair, of func(*sample) float64) measure {
	m := measure{What: what, Against: against, Unit: unit, Lowest: math.Inf(1)}
	var comparators, subjects, ratios []float64
	for i := range pairs {
		c, s := of(&pairs[i].comparator), of(&pairs[i].subject)
		comparators, subjects, ratios = append(comparators, c), append(subjects, s), append(ratios, s/c)
		m.Lowest, m.Highest = min(m.Lowest, s/c), max(m.Highest, s/c)
	}
	m.Comparator, m.Subject, m.Ratio = median(comparators), median(subjects), median(ratios)
	if g != nil {
		met := m.Ratio >= g.bound
		if g.most {
			met = m.Ratio <= g.bound
		}
		m.Goal, m.Met = g.String(), &met
	}
	return m
}

// scaled takes the throughput, in units of which a request has n.
func scaled(n float64) func(*sample) float64 {
	return func(s *sample) float64 { return s.perSecond * n }
}

// millis takes a quantile of the latencies, in milliseconds.
func millis(q float64) func(*sample) float64 {
	return func(s *sample) float64 { return float64(s.quantile(q)) / float64(time.Millisecond) }
}

// table writes the figures in the form of a Markdown table that also reads well as it is.
func (r *report) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	lines := []string{
		"| load\t| measure\t| against\t| limit\t| Penstock\t| unit\t| ratio\t| of single pairs\t| goal\t|",
		strings.Repeat("|---\t", 9) + "|",
	}
	for _, m := range r.Measures {
		verdict := ""
		if m.Met != nil {
			verdict = m.Goal + map[bool]string{true: " met", false: " **missed**"}[*m.Met]
		}
		lines = append(lines, fmt.Sprintf("| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t| %.2f\t| %.2f–%.2f\t| %s\t|",
			m.Load, m.What, m.Against, figure(m.Comparator), figure(m.Subject), m.Unit, m.Ratio, m.Lowest, m.Highest, verdict))
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(t, line); err != nil {
			return fmt.Errorf("write the table: %w", err)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// figure shows three digits of small numbers and whole large ones.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
