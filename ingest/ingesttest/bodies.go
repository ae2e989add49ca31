package ingesttest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock/ingest"
	"penstock/schemas"
)

// BodiesEnv is a fresh store of bodies.
type BodiesEnv struct {
	Bodies ingest.Bodies
	// Read returns the body at a ref.
	Read func(t *testing.T, ref string) []byte
}

// BodiesSuite tests an ingest.Bodies.
func BodiesSuite(t *testing.T, backend string, open func(t *testing.T) BodiesEnv) {
	t.Helper()
	t.Logf("bodies on %s", backend)
	received := time.Date(2026, 2, 28, 23, 59, 59, 999_999_000, time.UTC)

	t.Run("bytes come back", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		for _, size := range []int{1, 4096, schemas.MaxInlineBody + 1, schemas.MaxBody} {
			body := bytes.Repeat([]byte("\x00\xff\n{"), size/4+1)[:size]
			id := schemas.NewID(received)
			want := bytes.Clone(body)
			ref, err := env.Bodies.Put(t.Context(), id, received, body)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(ref, "s3://") || !strings.HasSuffix(ref, "/bodies/dt=2026-02-28/"+id) {
				t.Errorf("ref %q", ref)
			}
			if !bytes.Equal(body, want) {
				t.Error("Put changed the caller's body")
			}
			if !bytes.Equal(env.Read(t, ref), want) {
				t.Errorf("body of %d bytes came back different", size)
			}
		}
	})

	t.Run("the day is that of UTC", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		local := received.In(time.FixedZone("east", 3*3600)) // already March there
		ref, err := env.Bodies.Put(t.Context(), schemas.NewID(received), local, []byte("x"))
		if err != nil || !strings.Contains(ref, "/dt=2026-02-28/") {
			t.Errorf("ref %q, %v", ref, err)
		}
	})

	t.Run("the same id twice", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		id := schemas.NewID(received)
		var refs []string
		for range 2 {
			ref, err := env.Bodies.Put(t.Context(), id, received, []byte("same"))
			if err != nil {
				t.Fatal(err)
			}
			refs = append(refs, ref)
		}
		if refs[0] != refs[1] || string(env.Read(t, refs[0])) != "same" {
			t.Errorf("refs %q", refs)
		}
	})

	t.Run("the body is the caller's again", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		want := bytes.Clone(body)
		ref, err := env.Bodies.Put(t.Context(), schemas.NewID(received), received, body)
		clear(body)
		if err != nil || !bytes.Equal(env.Read(t, ref), want) {
			t.Errorf("body changed with the caller's memory after Put, or %v", err)
		}
	})

	t.Run("many at once on a new day", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				body := fmt.Appendf(nil, "body %d", i)
				ref, err := env.Bodies.Put(t.Context(), schemas.NewID(received), received, body)
				if err != nil {
					t.Error(err)
				} else if got := env.Read(t, ref); !bytes.Equal(got, body) {
					t.Errorf("got %q, want %q", got, body)
				}
			})
		}
		wg.Wait()
	})
}
