//go:build !nolocal

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/infra/local"
)

// SQL is one statement that reads the lake; whatever else is asked, the program says no and nothing has changed.
func TestOnlyReadingSQL(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	s.post([]byte(`{"n": 1}`))
	written := filepath.Join(t.TempDir(), "written")
	for _, sql := range []string{
		"DROP TABLE events",
		"DELETE FROM events",
		"INSERT INTO events SELECT * FROM events",
		"CREATE TABLE mine AS SELECT * FROM events",
		"SELECT count(*) FROM events; SELECT 1",
		"SELECT count(*) FROM events; DROP TABLE events",
		"COPY events TO '" + written + "'",
		"ATTACH '" + written + "' AS mine",
		"SELECT * FROM read_text('/etc/passwd')",
		"SELECT * FROM '/etc/passwd'",
		"SET memory_limit = '1TB'",
		"INSTALL httpfs",
		"PRAGMA version",
		"SELEC 1",
		"",
	} {
		body, err := json.Marshal(map[string]string{"sql": sql})
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.request("POST", "/v1/queries", body, "Content-Type", "application/json")
		if err != nil {
			t.Fatal(err)
		}
		var problem struct{ Type, Detail string }
		decode(t, a.body, &problem)
		if a.status != 400 || problem.Type != "/problems/invalid-query" || problem.Detail == "" {
			t.Errorf("%q: %d %.500s", sql, a.status, a.body)
		}
	}
	if _, err := os.Stat(written); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s was written: %v", written, err)
	}
	if n := s.sql("SELECT count(*) FROM events;")[1][0]; n != "1" {
		t.Errorf("%s events, want 1", n)
	}
	s.stop()
}

// With keys, as a server off loopback has them: nothing is taken without one, and the metrics are on a listener of their own.
func TestKeysAndAdmin(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var line, shown bytes.Buffer
	keys := program(ctx, "keys", "new", "checkout")
	keys.Stdout, keys.Stderr = &line, &shown
	if err := keys.Run(); err != nil {
		t.Fatalf("%v: %s", err, &shown)
	}
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, line.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(shown.String())
	key := words[len(words)-1]

	s := startServer(t, t.TempDir(), "--key-file", file, "--admin-listen", "127.0.0.1:0")
	s.must(401, "POST", "/v1/events", []byte(`{}`), "Content-Type", "application/json")
	s.must(401, "POST", "/v1/events", []byte(`{}`), "Content-Type", "application/json", "Authorization", "Bearer "+key+"x")
	s.post([]byte(`{}`), "Authorization", "Bearer "+key)
	s.must(404, "GET", "/metrics", nil, "Authorization", "Bearer "+key)

	admin := &server{t: t, url: s.admin}
	metrics := string(admin.must(200, "GET", "/metrics", nil).body)
	if !strings.Contains(metrics, "\npenstock_events_accepted_total 1\n") {
		t.Errorf("the metrics don't count the one event:\n%.2000s", metrics)
	}
	if want := 2 * runtime.GOMAXPROCS(0); os.Getenv("GOMAXPROCS") == "" && !strings.Contains(metrics, fmt.Sprintf("\ngo_sched_gomaxprocs_threads %d\n", want)) {
		t.Errorf("not %d goroutines may run at once, two for each CPU", want)
	}
	if strings.Contains(metrics+s.log(), key) {
		t.Error("the key is in the metrics or in the log")
	}
	admin.must(404, "POST", "/v1/events", []byte(`{}`), "Content-Type", "application/json", "Authorization", "Bearer "+key)
	s.stop()
}

// A body over 1 MB can be had from the S3 endpoint by the event's data_ref, with any S3 client and the credentials in the
// data directory.
func TestBodyFromS3(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	body := fmt.Appendf(nil, ` {"pad": %q}`, strings.Repeat("ü 7 ", 300_000))
	id := s.post(body)
	ref := s.sql("SELECT data_ref FROM events WHERE id = '" + id + "'")[1][0]
	bucket, key, ok := strings.Cut(strings.TrimPrefix(ref, "s3://"), "/")
	if !ok {
		t.Fatalf("data_ref is %q", ref)
	}
	keys, err := local.LoadS3Credentials(filepath.Join(s.dir, "s3-credentials"))
	if err != nil {
		t.Fatal(err)
	}
	get := func(secret string) ([]byte, error) {
		client := s3.New(s3.Options{
			Region: local.S3Region, BaseEndpoint: aws.String(s.s3), UsePathStyle: true, Retryer: aws.NopRetryer{},
			Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKey, secret, ""),
		})
		object, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			return nil, err
		}
		read, err := io.ReadAll(object.Body)
		return read, errors.Join(err, object.Body.Close())
	}
	if got, err := get(keys.SecretKey); err != nil || !bytes.Equal(got, body) {
		t.Errorf("read %d bytes of %d, %v", len(got), len(body), err)
	}
	if _, err := get(keys.SecretKey + "x"); err == nil {
		t.Error("read with a wrong secret")
	}
	s.stop()
}
