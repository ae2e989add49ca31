package athenatest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Objects is an S3 in memory that puts, gets, looks for and deletes objects, in whatever bucket.
type Objects struct {
	// URL is its endpoint.
	URL string

	mu      sync.Mutex
	objects map[string][]byte // by path
}

// NewObjects starts one that goes with the test.
func NewObjects(t testing.TB) *Objects {
	t.Helper()
	o := &Objects{objects: map[string][]byte{}}
	server := httptest.NewServer(o)
	o.URL = server.URL
	t.Cleanup(server.Close)
	return o
}

// Client is one of it.
func (o *Objects) Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(o.URL), Region: "us-east-1", UsePathStyle: true, HTTPClient: &http.Client{},
		Credentials:                               credentials.NewStaticCredentialsProvider("id", "secret", ""),
		RequestChecksumCalculation:                aws.RequestChecksumCalculationWhenRequired, // or the bodies come in chunks
		DisableLogOutputChecksumValidationSkipped: true,
	})
}

// Keys are the paths of all objects, "/bucket/key", sorted.
func (o *Objects) Keys() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var keys []string
	for key := range o.objects {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Remove deletes all objects.
func (o *Objects) Remove() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.objects)
}

// ServeHTTP implements http.Handler.
func (o *Objects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	o.mu.Lock()
	object, found := o.objects[r.URL.Path]
	switch r.Method {
	case http.MethodPut:
		o.objects[r.URL.Path] = body
	case http.MethodDelete:
		delete(o.objects, r.URL.Path)
	}
	o.mu.Unlock()
	switch {
	case r.Method == http.MethodPut:
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case !found:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>") // the client sees what is missing
	default:
		w.Header().Set("Content-Length", strconv.Itoa(len(object)))
		_, _ = w.Write(object) // as above
	}
}
