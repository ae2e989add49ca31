package consumertest

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"penstock/consumer"
	"penstock/schemas"
)

// BodiesEnv is a fresh store of bodies.
type BodiesEnv struct {
	Bodies consumer.Bodies
	// Put stores a body and returns its ref.
	Put func(t *testing.T, id string, received time.Time, body []byte) string
}

// BodiesSuite tests a consumer.Bodies.
func BodiesSuite(t *testing.T, backend string, open func(t *testing.T) BodiesEnv) {
	t.Helper()
	t.Logf("bodies on %s", backend)

	t.Run("streams a body", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		body := bytes.Repeat([]byte("0123456789abcdef"), schemas.MaxBody/16)
		now := time.Now()
		ref := env.Put(t, schemas.NewID(now), now, body)
		r, err := env.Bodies.Open(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, body) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	})

	t.Run("no such body", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		now := time.Now()
		ref := env.Put(t, schemas.NewID(now), now, []byte("x"))
		other := ref[:len(ref)-27] + schemas.NewID(now)
		if _, err := env.Bodies.Open(t.Context(), other); !errors.Is(err, consumer.ErrNotFound) {
			t.Errorf("Open(%s): %v, want ErrNotFound", other, err)
		}
	})

	t.Run("not a ref of ours", func(t *testing.T) {
		t.Parallel()
		env := open(t)
		now := time.Now()
		ref := env.Put(t, schemas.NewID(now), now, []byte("x"))
		for _, bad := range []string{"", "s3://", ref[len("s3:/"):], "http" + ref[2:], "s3://other-bucket/bodies/dt=2026-01-01/x"} {
			if r, err := env.Bodies.Open(t.Context(), bad); err == nil {
				_ = r.Close() // that it is there at all is the failure
				t.Errorf("Open(%q) succeeded", bad)
			}
		}
	})
}
