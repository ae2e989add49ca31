//go:build !frontend

package aws_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/infra/aws"
)

// random makes bytes that tell where they are from.
func random(n int) []byte {
	data := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

// write writes a file in pieces.
func write(t *testing.T, f *aws.Files, name string, data []byte, piece int) error {
	t.Helper()
	w, err := f.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		n := min(piece, len(data))
		if _, err := w.Write(data[:n]); err != nil {
			return errors.Join(err, w.Close())
		}
		data = data[n:]
	}
	return w.Close()
}

// TestFiles holds the files on a real S3 server: sizes around every bound, read at random, in order and whole.
func TestFiles(t *testing.T) {
	t.Parallel()
	f := makeFiles(t, connect(t, "AWS_ENDPOINT_URL_S3"))
	const part, tail = 8 << 20, 64 << 10
	for _, size := range []int{0, 1, tail - 1, tail, tail + 1, 300 << 10, part - 1, part, part + 1, 2*part + 1<<20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			name, data := fmt.Sprintf("%s/data/day=1/%d.parquet", f.Location(), size), random(size)
			if err := write(t, f, name, data, 100_000); err != nil {
				t.Fatal(err)
			}
			if err := write(t, f, name, []byte("other"), 1); !errors.Is(err, iofs.ErrExist) {
				t.Errorf("a second one of that name: %v", err)
			}
			if got, err := f.ReadFile(name); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read whole: %d bytes, %v", len(got), err)
			}
			readBack(t, f, name, data)
		})
	}
}

// readBack reads a file in every way.
func readBack(t *testing.T, f *aws.Files, name string, data []byte) {
	t.Helper()
	r, err := f.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if info, err := r.Stat(); err != nil || info.Size() != int64(len(data)) || info.IsDir() {
		t.Errorf("Stat: %v, %v", info, err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read in order: %d bytes, %v", len(got), err)
	}
	var readers sync.WaitGroup
	for reader := range 4 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(reader)))
			for range 8 {
				from := rng.IntN(len(data) + 1)
				n := rng.IntN(len(data) - from + 1)
				if reader%2 == 0 {
					n = min(n, 1000)
				}
				p := make([]byte, n)
				if _, err := r.ReadAt(p, int64(from)); err != nil && (n > 0 || !errors.Is(err, io.EOF)) || !bytes.Equal(p, data[from:from+n]) {
					t.Errorf("ReadAt %d+%d: %v", from, n, err)
				}
			}
		})
	}
	readers.Wait()
	if n, err := r.ReadAt(make([]byte, 10), int64(len(data))-3); len(data) > 3 && (n != 3 || !errors.Is(err, io.EOF)) {
		t.Errorf("ReadAt the end: %d, %v", n, err)
	}
}

// TestFilesGone: what is not there is fs.ErrNotExist, and removing it is no error.
func TestFilesGone(t *testing.T) {
	t.Parallel()
	f := makeFiles(t, connect(t, "AWS_ENDPOINT_URL_S3"))
	name := f.Location() + "/metadata/x.avro"
	if err := f.WriteFile(name, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Remove(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.Open(name); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("Open: %v", err)
	}
	if _, err := f.ReadFile(name); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("ReadFile: %v", err)
	}
}

// TestFilesList: more files than fit a page, and nothing beside the prefix.
func TestFilesList(t *testing.T) {
	t.Parallel()
	c := connect(t, "AWS_ENDPOINT_URL_S3")
	bucket := makeBucket(t, c.S3)
	f, beside := filesAt(t, c, "s3://"+bucket+"/lake/events"), filesAt(t, c, "s3://"+bucket+"/lake/events2")
	if err := beside.WriteFile(beside.Location()+"/x.avro", nil); err != nil {
		t.Fatal(err)
	}
	const files = 1100 // a page has 1,000
	var want []string
	var writers sync.WaitGroup
	for w := range 8 {
		for i := w; i < files; i += 8 {
			want = append(want, fmt.Sprintf("%s/data/%04d.parquet", f.Location(), i))
		}
		mine := want[len(want)-(files-w+7)/8:]
		writers.Go(func() {
			for _, name := range mine {
				if err := f.WriteFile(name, []byte("abc")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	var got []string
	clock, err := f.List(t.Context(), func(name string, size int64, modified time.Time) error {
		if got = append(got, name); size != 3 || time.Since(modified).Abs() > time.Hour {
			t.Errorf("%s: %d bytes, %v", name, size, modified)
		}
		return nil
	})
	if err != nil || time.Since(clock).Abs() > time.Hour {
		t.Errorf("List: %v, %v", clock, err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("listed %d files, want %d", len(got), len(want))
	}
	stop := errors.New("stop")
	if _, err := f.List(t.Context(), func(string, int64, time.Time) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
}

// TestFilesNoParts: a file that was given up leaves no parts behind.
func TestFilesNoParts(t *testing.T) {
	t.Parallel()
	c := connect(t, "AWS_ENDPOINT_URL_S3")
	bucket := makeBucket(t, c.S3)
	f := filesAt(t, c, "s3://"+bucket+"/lake/events")
	name := f.Location() + "/data/x.parquet"
	if err := f.WriteFile(name, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := write(t, f, name, random(9<<20), 1<<20); !errors.Is(err, iofs.ErrExist) {
		t.Errorf("a large file over another: %v", err)
	}
	left, err := c.S3.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil || len(left.Uploads) > 0 {
		t.Errorf("uploads left: %v, %v", left, err)
	}
	if got, err := f.ReadFile(name); err != nil || string(got) != "first" {
		t.Errorf("the first is now %d bytes, %v", len(got), err)
	}
}
