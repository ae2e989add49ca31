package main

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// What a client remembers of an answer: an ack by document, the id that it was told, and whether another try is worth it.
func TestClientRemembers(t *testing.T) {
	t.Parallel()
	one, two := newDocument(1, 1, false), newDocument(1, 2, false)
	for name, of := range map[string]struct {
		batch  bool
		status int
		body   string
		done   bool
		want   map[string][]string
	}{
		"acked":           {false, 202, `{"id":"x","via":"stream"}`, true, map[string][]string{one.Marker: {"x"}}},
		"refused":         {false, 503, `{"status":503}`, false, map[string][]string{one.Marker: nil}},
		"cut short":       {false, 202, `{"id":"`, false, map[string][]string{one.Marker: nil}},
		"batch":           {true, 202, `{"items":[{"status":202,"id":"x"},{"status":202,"id":"y"}]}`, true, map[string][]string{one.Marker: {"x"}, two.Marker: {"y"}}},
		"half a batch":    {true, 207, `{"items":[{"status":503},{"status":202,"id":"y"}]}`, false, map[string][]string{one.Marker: nil, two.Marker: {"y"}}},
		"batch refused":   {true, 503, `{"status":503,"title":"busy"}`, false, map[string][]string{one.Marker: nil, two.Marker: nil}},
		"batch of others": {true, 202, `{"items":[{"status":202,"id":"x"}]}`, false, map[string][]string{one.Marker: nil, two.Marker: nil}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(of.status)
			if _, err := io.WriteString(w, of.body); err != nil {
				t.Error(err)
			}
		}))
		t.Cleanup(server.Close)
		c := newClient(newBook(), func() string { return server.URL })
		r := request{documents: []document{one}, batch: of.batch}
		if of.batch {
			r.documents = append(r.documents, two)
		}
		if done := c.post(t.Context(), r); done != of.done {
			t.Errorf("%s: done is %v", name, done)
		}
		if got := c.book.all(); !maps.EqualFunc(got, of.want, func(p posted, ids []string) bool { return slices.Equal(p.Acked, ids) }) {
			t.Errorf("%s: remembers %v, want the ids %v", name, got, of.want)
		}
	}
}

// A key that is told another id the second time has both, which the verdict refuses.
func TestBookKeepsEveryID(t *testing.T) {
	t.Parallel()
	b, d := newBook(), newDocument(1, 1, false)
	b.send(d)
	for _, id := range []string{"x", "x", "y"} {
		b.ack(d.Marker, id)
	}
	if p := b.all()[d.Marker]; !slices.Equal(p.Acked, []string{"x", "y"}) || p.Sum != d.sum() || b.totals().Acked != 1 {
		t.Errorf("remembers %v, %d acked", p, b.totals().Acked)
	}
}
