//go:build !frontend

package aws_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/infra/aws"
)

// s3Stub is as much of S3 as Files asks for, in memory and without ranges behind the start of an object.
type s3Stub struct {
	clock time.Time

	mu sync.Mutex
	// fault may answer a request in the stub's place, before or after it has called next; nil does nothing.
	fault   s3Fault
	objects map[string]stubObject // by path
	uploads map[string]*stubObject
	seen    []string
}

type s3Fault func(what string, w http.ResponseWriter, next http.HandlerFunc, r *http.Request)

type stubObject struct {
	data   []byte
	header http.Header
}

const mib = 1 << 20

// newS3Stub gives the stub and files in it that end with ctx.
func newS3Stub(ctx context.Context, t *testing.T) (*s3Stub, *aws.Files) {
	t.Helper()
	s := &s3Stub{objects: map[string]stubObject{}, uploads: map[string]*stubObject{}, clock: time.Now()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := stubCall(r)
		s.mu.Lock()
		s.seen = append(s.seen, what)
		fault := s.fault
		s.mu.Unlock()
		if fault != nil {
			fault(what, w, s.serve, r)
			return
		}
		s.serve(w, r)
	}))
	t.Cleanup(server.Close)
	client := s3.New(s3.Options{
		BaseEndpoint: &server.URL, Region: "eu-central-1", UsePathStyle: true, HTTPClient: &http.Client{},
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	})
	f, err := aws.NewFiles(ctx, client, "s3://bucket/lake/events")
	if err != nil {
		t.Fatal(err)
	}
	return s, f
}

// stubCall names a request.
func stubCall(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case q.Has("uploads"):
		return "begin"
	case q.Has("partNumber"):
		return "part"
	case q.Has("uploadId") && r.Method == http.MethodDelete:
		return "abort"
	case q.Has("uploadId"):
		return "complete"
	case q.Has("list-type"):
		return "list"
	default:
		return r.Method
	}
}

func (s *s3Stub) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body) // the client sees what is missing
	object, there := s.objects[r.URL.Path]
	store := func(o stubObject) {
		if there && r.Header.Get("If-None-Match") == "*" {
			stubError(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
		s.objects[r.URL.Path] = o
		_, _ = io.WriteString(w, "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>") // nobody reads it of a PUT
	}
	upload := s.uploads[r.URL.Query().Get("uploadId")]
	w.Header().Set("Date", s.clock.UTC().Format(http.TimeFormat))
	switch what := stubCall(r); {
	case what == "begin":
		id := strconv.Itoa(len(s.uploads) + 1)
		s.uploads[id] = &stubObject{header: r.Header}
		_, _ = fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case upload == nil && slices.Contains([]string{"part", "complete", "abort"}, what):
		stubError(w, http.StatusNotFound, "NoSuchUpload")
	case what == "part":
		upload.data = append(upload.data, body...)
		w.Header().Set("ETag", "x")
	case what == "complete":
		s.uploads[r.URL.Query().Get("uploadId")] = nil
		store(*upload)
	case what == "abort":
		s.uploads[r.URL.Query().Get("uploadId")] = nil
		w.WriteHeader(http.StatusNoContent)
	case what == http.MethodPut:
		store(stubObject{body, r.Header})
	case what == "list":
		_, _ = fmt.Fprintf(w, "<ListBucketResult><Contents><Key>lake/events/x.avro</Key><Size>1</Size><LastModified>%s</LastModified></Contents></ListBucketResult>",
			s.clock.UTC().Format(time.RFC3339))
	case !there:
		stubError(w, http.StatusNotFound, "NoSuchKey")
	default:
		for name, values := range object.header {
			if strings.HasPrefix(name, "X-Amz-Meta-") {
				w.Header()[name] = values
			}
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(object.data)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(object.data) // the client sees what is missing
		}
	}
}

func stubError(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
}

func (s *s3Stub) setFault(f s3Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// counted are the calls of one kind so far.
func (s *s3Stub) counted(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, call := range s.seen {
		if call == what {
			n++
		}
	}
	return n
}

// TestFilesLostAnswers: a write lands and its answer is lost. The request that the SDK repeats is told that there is such an
// object, or no such upload any more; the file is there all the same, and no other is taken for it.
func TestFilesLostAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, call string
		size       int
		times      int
		lands, ok  bool
	}{
		{"small, once", http.MethodPut, 10, 1, true, true},
		{"small, always", http.MethodPut, 10, 100, true, true},
		{"small, not landed", http.MethodPut, 10, 100, false, false},
		{"small, not landed at first", http.MethodPut, 10, 1, false, true},
		{"large, once", "complete", 9 * mib, 1, true, true},
		{"large, always", "complete", 9 * mib, 100, true, true},
		{"large, not landed", "complete", 9 * mib, 100, false, false},
		{"large, a part fails", "part", 9 * mib, 100, false, false},
		{"large, a part fails at first", "part", 9 * mib, 1, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, f := newS3Stub(t.Context(), t)
			var failed atomic.Int64
			s.setFault(func(what string, w http.ResponseWriter, next http.HandlerFunc, r *http.Request) {
				if what != c.call || failed.Add(1) > int64(c.times) {
					next(w, r)
					return
				}
				if c.lands {
					next(httptest.NewRecorder(), r)
				} else {
					_, _ = io.Copy(io.Discard, r.Body) // as one that breaks down afterwards
				}
				stubError(w, http.StatusInternalServerError, "InternalError")
			})
			name, data := f.Location()+"/data/x.parquet", random(c.size)
			err := write(t, f, name, data, mib)
			if (err == nil) != c.ok {
				t.Errorf("answer is %v", err)
			}
			got, readErr := f.ReadFile(name)
			if c.ok && !bytes.Equal(got, data) || !c.ok && !errors.Is(readErr, iofs.ErrNotExist) {
				t.Errorf("there are %d bytes, %v", len(got), readErr)
			}
			if aborts := s.counted("abort"); (aborts == 1) != (!c.ok && c.size > mib) {
				t.Errorf("%d uploads were aborted", aborts)
			}
			s.setFault(nil)
			if err := f.WriteFile(name, data); c.ok && !errors.Is(err, iofs.ErrExist) {
				t.Errorf("the same name again: %v", err)
			}
		})
	}
}

// TestFilesCutRead: an answer that ends too soon is asked for again.
func TestFilesCutRead(t *testing.T) {
	t.Parallel()
	s, f := newS3Stub(t.Context(), t)
	name, data := f.Location()+"/metadata/x.avro", random(50_000)
	if err := f.WriteFile(name, data); err != nil {
		t.Fatal(err)
	}
	var reads atomic.Int64
	s.setFault(func(what string, w http.ResponseWriter, next http.HandlerFunc, r *http.Request) {
		if what == http.MethodGet && reads.Add(1)%3 != 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data[:20_000]) // the client sees what is missing
			panic(http.ErrAbortHandler)
		}
		next(w, r)
	})
	if got, err := f.ReadFile(name); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	file, err := f.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

// TestFilesEnd: a server that never answers keeps nobody beyond the files' context.
func TestFilesEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s, f := newS3Stub(ctx, t)
	s.setFault(func(_ string, _ http.ResponseWriter, _ http.HandlerFunc, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not look out for the client's leaving
		cancel()
		<-r.Context().Done()
	})
	if err := f.WriteFile(f.Location()+"/x.avro", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("answer is %v", err)
	}
}

// TestFilesClock: how old a file is goes by S3's clock alone.
func TestFilesClock(t *testing.T) {
	t.Parallel()
	s, f := newS3Stub(t.Context(), t)
	s.clock = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	var modified time.Time
	clock, err := f.List(t.Context(), func(_ string, _ int64, m time.Time) error { modified = m; return nil })
	if err != nil || !clock.Equal(s.clock) || !modified.Equal(s.clock) {
		t.Errorf("clock %v, modified %v, %v", clock, modified, err)
	}
}

func TestFilesNames(t *testing.T) {
	t.Parallel()
	for _, location := range []string{
		"", "/lake/events", "bucket/lake", "s3://bucket", "s3://bucket/", "s3://bucket/lake/", "s3://bucket//lake", "s3://bucket/a/../b",
		"s3://Bucket/lake", "s3://b/lake", "s3://bucket/la ke", "s3://bucket/lake?x", "s3://bucket/lake%20", "s3a://bucket/lake",
	} {
		if _, err := aws.NewFiles(t.Context(), nil, location); err == nil {
			t.Errorf("location %q was taken", location)
		}
	}
	f, err := aws.NewFiles(t.Context(), nil, "s3://my-bucket.x/lake-1/events_2")
	if err != nil {
		t.Fatal(err)
	}
	at := f.Location()
	for name, ok := range map[string]bool{
		at + "/data/received_at_day=2026-11-22/a.parquet": true,
		at: false, at + "/": false, at + "2/x": false, at + "/../x": false, at + "/a//b": false, "s3://other/lake-1/events_2/x": false,
		"/lake-1/events_2/x": false, "": false,
	} {
		if got, err := f.Path(name); (err == nil) != ok || ok && got != name {
			t.Errorf("Path(%q) = %q, %v", name, got, err)
		}
	}
	if err := errors.Join(f.Adopt(at), f.Adopt("s3://my-bucket.x/lake-1")); err == nil || strings.Count(err.Error(), "\n") != 0 {
		t.Errorf("Adopt: %v", err)
	}
}
