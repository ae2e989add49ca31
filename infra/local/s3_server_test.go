package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/schemas"
)

// inS3Process marks the process in which the endpoint runs: it changes the working directory, which no other test here
// could bear.
const inS3Process = "PENSTOCK_TEST_S3_PROCESS"

func TestS3Server(t *testing.T) {
	t.Parallel()
	if os.Getenv(inS3Process) != "" {
		testS3Server(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestS3Server$", "-test.v")
	cmd.Env = append(os.Environ(), inS3Process+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestS3Server") {
		t.Errorf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if l := strings.TrimSpace(line); !strings.HasPrefix(l, "---") && !strings.HasPrefix(l, "===") && l != "PASS" {
			t.Errorf("the endpoint printed %q", line)
		}
	}
}

func testS3Server(t *testing.T) {
	dir := t.TempDir()
	bodies := testBodies(t, vfs.Default, dir)
	body := bytes.Repeat([]byte("0123456789\n\x00\xff\xfe"), schemas.MaxBody/14)
	now := time.Now()
	ref, err := bodies.Put(t.Context(), schemas.NewID(now), now, body)
	if err != nil {
		t.Fatal(err)
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(ref, "s3://"), "/")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := S3Config{Listen: "127.0.0.1:0", Dir: dir, AccessKey: "penstock", SecretKey: "right"}
	address, served := make(chan string, 1), make(chan error, 1)
	go func() { served <- ServeS3(ctx, cfg, func(a string) { address <- a }) }()
	var at string
	select {
	case at = <-address:
	case err := <-served:
		t.Fatal(err)
	}

	client := s3Client(at, "right")
	got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	read, err := io.ReadAll(got.Body)
	if err := errors.Join(err, got.Body.Close()); err != nil || !bytes.Equal(read, body) {
		t.Errorf("got %d bytes, %v; want %d", len(read), err, len(body))
	}
	testS3Reads(t, client, bucket, key, body)
	testS3Refusals(t, client, at, bucket, key)
	if again := readBody(t, bodies, ref); !bytes.Equal(again, body) {
		t.Error("the body was changed")
	}

	cfg.Listen = at
	if err := ServeS3(ctx, cfg, func(string) {}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second endpoint on %s: %v, want EADDRINUSE", at, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("ServeS3: %v", err)
	}
	if conn, err := net.Dial("tcp", at); err == nil {
		_ = conn.Close()
		t.Error("the endpoint still listens")
	}
}

func s3Client(address, secret string) *s3.Client {
	return s3.New(s3.Options{
		Region:       S3Region,
		BaseEndpoint: aws.String("http://" + address),
		Credentials:  credentials.NewStaticCredentialsProvider("penstock", secret, ""),
		UsePathStyle: true,
		Retryer:      aws.NopRetryer{},
	})
}

func testS3Reads(t *testing.T, client *s3.Client, bucket, key string, body []byte) {
	t.Helper()
	head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil || aws.ToInt64(head.ContentLength) != int64(len(body)) {
		t.Errorf("HeadObject: %+v, %v", head, err)
	}
	part, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key, Range: aws.String("bytes=10-19")})
	if err != nil {
		t.Fatal(err)
	}
	read, err := io.ReadAll(part.Body)
	if err := errors.Join(err, part.Body.Close()); err != nil || !bytes.Equal(read, body[10:20]) {
		t.Errorf("range: %q, %v", read, err)
	}
	list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil || len(list.Contents) != 1 || aws.ToString(list.Contents[0].Key) != key {
		t.Errorf("ListObjectsV2: %+v, %v; want the body alone", list, err)
	}
}

func testS3Refusals(t *testing.T, client *s3.Client, address, bucket, key string) {
	t.Helper()
	content := func() io.Reader { return strings.NewReader("x") }
	_, errPut := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("new"), Body: content()})
	_, errOverwrite := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: content()})
	_, errDelete := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	_, errBucket := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("another")})
	_, errUpload := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	_, errSecret := s3Client(address, "wrong").GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	_, errKey := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("bodies/no")})
	_, errPath := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("../secret")})
	anonymous := s3.New(s3.Options{
		Region: S3Region, BaseEndpoint: aws.String("http://" + address), UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: aws.AnonymousCredentials{},
	})
	_, errAnonymous := anonymous.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	for name, c := range map[string]struct {
		err  error
		code string
	}{
		"put": {errPut, "AccessDenied"}, "overwrite": {errOverwrite, "AccessDenied"}, "delete": {errDelete, "AccessDenied"},
		"bucket": {errBucket, "AccessDenied"}, "upload": {errUpload, "AccessDenied"},
		"secret": {errSecret, "SignatureDoesNotMatch"}, "anonymous": {errAnonymous, "AccessDenied"},
		"key": {errKey, "NoSuchKey"}, "path": {errPath, ""},
	} {
		var apiErr smithy.APIError
		if !errors.As(c.err, &apiErr) || (c.code != "" && apiErr.ErrorCode() != c.code) {
			t.Errorf("%s: %v, want %s", name, c.err, c.code)
		}
	}
}

func TestS3Config(t *testing.T) {
	t.Parallel()
	good := S3Config{Listen: "127.0.0.1:0", Dir: filepath.Join(t.TempDir()), AccessKey: "a", SecretKey: "s"}
	for name, change := range map[string]func(*S3Config){
		"no port":            func(c *S3Config) { c.Listen = "127.0.0.1" },
		"relative directory": func(c *S3Config) { c.Dir = "bodies" },
		"no access key":      func(c *S3Config) { c.AccessKey = "" },
		"no secret key":      func(c *S3Config) { c.SecretKey = "" },
	} {
		cfg := good
		change(&cfg)
		if err := ServeS3(t.Context(), cfg, func(string) { t.Errorf("%s: it serves", name) }); err == nil {
			t.Errorf("%s: ServeS3 succeeded", name)
		}
	}
}
