package httpapi

import "testing"

// Two looks give rates: the document says since when its counters run.
func TestStats(t *testing.T) {
	t.Parallel()
	f := start(t)
	var s statsState
	f.do("GET", "/v1/stats", nil).must(t, 200).decode(t, &s)
	if s.Accepted != (acceptedStats{7, 700}) || len(s.Acks.Bounds) == 0 || s.Since == "" || len(s.Sinks) != 2 || *s.Lake != (lakeSize{3, 1, 99}) ||
		s.Stream.Bytes != 500 {
		t.Errorf("%+v", s)
	}
	if s.Sinks[0].LagSeconds != 0 || s.Sinks[1].LagSeconds != 3 || s.Sinks[1].BacklogBytes != 200 {
		t.Errorf("%+v", s.Sinks)
	}
	// A process that knows less leaves it out, and one that has no statistics has no route.
	none := start(t, func(_ *Config, d *Deps) { d.Stats = nil })
	none.do("GET", "/v1/stats", nil).problem(t, 404, "not-found")
}
