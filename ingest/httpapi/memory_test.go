package httpapi

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"

	"penstock/schemas"
)

// From the connection to object storage a body of known length is in memory once: it fits a budget that has room for
// little more, and no second buffer of its size is made. Of unknown length it has 18 MiB while its buffer grows from 8 MiB
// to 10 MiB for the last time.
//
//nolint:paralleltest // what others allocate at the time would be counted
func TestLargeBodyIsHeldOnce(t *testing.T) {
	const little = 64 << 10
	body := []byte(`"` + strings.Repeat("x", schemas.MaxBody-2) + `"`)
	length := func() io.Reader { return bytes.NewReader(body) }
	unknown := func() io.Reader { return io.MultiReader(bytes.NewReader(body)) }
	for _, c := range []struct {
		name   string
		body   func() io.Reader
		budget int64
		fits   bool
	}{
		{"length", length, schemas.MaxBody + little, true},
		{"length, a byte too few", length, schemas.MaxBody - 1, false},
		{"chunked", unknown, 8<<20 + schemas.MaxBody + little, true},
		{"chunked, a byte too few", unknown, 8<<20 + schemas.MaxBody - 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := startWith(t, c.budget, func(c *Config, _ *Deps) { c.RoomWait = 0 })
			if !c.fits {
				f.post(c.body()).problem(t, 503, "overloaded")
				return
			}
			f.store(c.body)
		})
	}
	t.Run("allocated", func(t *testing.T) {
		f := startWith(t, schemas.MaxBody+little)
		f.bodies.forget = true
		f.post(`{}`).id(t) // what is made once is made
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f.store(length)
		runtime.ReadMemStats(&after)
		made := after.TotalAlloc - before.TotalAlloc
		t.Logf("%d bytes allocated", made)
		if made < schemas.MaxBody || made > schemas.MaxBody*3/2 {
			t.Errorf("%d bytes were allocated for a body of %d", made, schemas.MaxBody)
		}
	})
}
