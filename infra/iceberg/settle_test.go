package iceberg

import (
	"errors"
	"testing"
)

// TestSwapErrors: a remote pointer answers a swap with an error whatever became of it. What the table says afterwards
// decides, and nothing that it refers to is removed.
func TestSwapErrors(t *testing.T) {
	t.Parallel()
	peer := func(l *Lake, shared Pointer, commits int) error { // of another shard
		for n := range commits {
			if err := appendSpan(t.Context(), withPointer(l, shared), "b", n, n+1); err != nil {
				return err
			}
		}
		return errInjected
	}
	for _, c := range []struct {
		name string
		hook func(l *Lake, p *hookedPointer)
		ok   bool
		want map[string]int
		// clean: nothing is left over.
		clean bool
	}{
		{"a peer was first, and the answer is an error once", func(l *Lake, p *hookedPointer) {
			p.before = func() error {
				if p.fired {
					return nil
				}
				p.fired = true
				return peer(l, p.Pointer, 1)
			}
		}, true, map[string]int{"a": 20, "b": 1}, true},
		{"landed, and peers went on", func(l *Lake, p *hookedPointer) {
			p.after = func() error { return peer(l, p.Pointer, 3) }
		}, true, map[string]int{"a": 20, "b": 3}, true},
		// The log of versions does not reach back: that the offset is where it should be still tells.
		{"landed, and peers went far on", func(l *Lake, p *hookedPointer) {
			p.after = func() error { return peer(l, p.Pointer, 60) }
		}, true, map[string]int{"a": 20, "b": 60}, false},
		// Nothing tells what became of it, so it is not tried again, and its files stay.
		{"peers went far on", func(l *Lake, p *hookedPointer) {
			p.before = func() error { return peer(l, p.Pointer, 60) }
		}, false, map[string]int{"a": 10, "b": 60}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, shared, _ := newLake(t)
			if err := appendSpan(t.Context(), l, "a", 0, 10); err != nil {
				t.Fatal(err)
			}
			p := &hookedPointer{Pointer: shared}
			c.hook(l, p)
			err := appendSpan(t.Context(), withPointer(l, p), "a", 10, 20)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, errInjected) {
				t.Errorf("answer is %v", err)
			}
			wantOnce(t, l, c.want)
			if c.clean {
				wantNoStray(t, l)
			}
		})
	}
}

// TestOpenLostAnswer: the table is made, and the answer is lost.
func TestOpenLostAnswer(t *testing.T) {
	t.Parallel()
	l, _, fs := newLake(t)
	shared := &memoryPointer{}
	opened := openLake(t, fs, "/data/other", &hookedPointer{Pointer: shared, after: func() error { return errInjected }})
	if err := appendSpan(t.Context(), withPointer(opened, shared), "a", 0, 3); err != nil {
		t.Fatal(err)
	}
	wantOnce(t, withPointer(opened, shared), map[string]int{"a": 3})
	wantOnce(t, l, nil)
	none := &hookedPointer{Pointer: &memoryPointer{}, before: func() error { return errInjected }}
	if _, err := tryOpen(t.Context(), fs, "/data/none", none); !errors.Is(err, errInjected) {
		t.Errorf("it was not made, and the answer is %v", err)
	}
}
