package faultproxy

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const s3Variable = "AWS_ENDPOINT_URL_S3"

func (p *proxied) bucket(t *testing.T) *string {
	t.Helper()
	name := fmt.Sprintf("peer-%d", time.Now().UnixNano())
	if _, err := p.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	return &name
}

// versitygw checks signatures, so a request through the proxy is as the client has signed it, whatever its key; and it is asked
// through the proxy in all that follows.
func TestS3SignaturesConform(t *testing.T) {
	t.Parallel()
	p := before(t, endpointOf(t, s3Variable))
	bucket := p.bucket(t)
	for _, key := range []string{"plain", "a b/ü+%2F=?&#.json", "dt=2026-11-22/id"} {
		if _, err := p.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader(key)}); err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		out, err := p.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: &key})
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if body, err := io.ReadAll(out.Body); err != nil || string(body) != key {
			t.Errorf("%s: %q, %v", key, body, err)
		}
	}
	head, err := p.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: sdk.String("plain")})
	if err != nil || *head.ContentLength != 5 {
		t.Errorf("head: %v, %v", head, err)
	}
	wrong := s3.New(s3.Options{
		BaseEndpoint: p.s3.Options().BaseEndpoint, Region: "us-east-1", UsePathStyle: true, Retryer: sdk.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), "wrong", ""),
	})
	_, err = wrong.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: sdk.String("plain"), Body: strings.NewReader("x")})
	wantCode(t, "another secret", err, "SignatureDoesNotMatch")
	for i, want := range []string{"CreateBucket", "PutObject", "GetObject"} {
		if got := p.Calls()[i]; got.Operation != want || got.Resource != *bucket || got.Service != S3 {
			t.Errorf("recorded %v, want %s of %s", got, want, *bucket)
		}
	}
}

// Conditional writes: one of many wins.
func TestS3ConditionsConform(t *testing.T) {
	t.Parallel()
	p := before(t, endpointOf(t, s3Variable))
	bucket := p.bucket(t)
	put := func(key, body string, none, match *string) (string, error) {
		out, err := p.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader(body), IfNoneMatch: none, IfMatch: match})
		if err != nil {
			return "", err
		}
		return *out.ETag, nil
	}
	const writers = 16
	errs := make(chan error)
	for i := range writers {
		go func() {
			_, err := put("race", fmt.Sprint(i), sdk.String("*"), nil)
			errs <- err
		}()
	}
	won := 0
	for range writers {
		if err := <-errs; err == nil {
			won++
		} else {
			wantCode(t, "loser", err, "PreconditionFailed") // AWS may also say 409 ConditionalRequestConflict
		}
	}
	if won != 1 {
		t.Errorf("%d writers won, want 1", won)
	}
	tag, err := put("k", "1", nil, nil)
	wantCode(t, "put", err, "")
	_, err = put("k", "2", nil, sdk.String(`"0123456789abcdef0123456789abcdef"`))
	wantCode(t, "if it is another", err, "PreconditionFailed")
	_, err = put("k", "2", nil, &tag)
	wantCode(t, "if it is that", err, "")
	_, err = put("absent", "2", nil, &tag)
	wantCode(t, "if it is that, and there is none", err, "NoSuchKey")
}

// Where versitygw is narrower than S3: its keys are paths of files.
func TestS3KeysConform(t *testing.T) {
	t.Parallel()
	p := before(t, endpointOf(t, s3Variable))
	bucket := p.bucket(t)
	put := func(key string) error {
		_, err := p.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader("x")})
		return err
	}
	wantCode(t, "a/b/c", put("a/b/c"), "")
	wantCode(t, "below an object", put("a/b/c/d"), "ObjectParentIsFile")
	wantCode(t, "above an object", put("a/b"), "ExistingObjectIsDirectory")
	got, pages := []string{}, 0
	for _, key := range []string{"l/0", "l/1", "l/2", "l/3", "l/4"} {
		wantCode(t, key, put(key), "")
	}
	list := s3.NewListObjectsV2Paginator(p.s3, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: sdk.String("l/"), MaxKeys: sdk.Int32(2)})
	for ; list.HasMorePages(); pages++ {
		page, err := list.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			got = append(got, *o.Key)
		}
	}
	if fmt.Sprint(got) != "[l/0 l/1 l/2 l/3 l/4]" || pages != 3 {
		t.Errorf("%v in %d pages", got, pages)
	}
	_, err := p.s3.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: bucket, Key: sdk.String("copy"), CopySource: sdk.String(*bucket + "/a/b/c")})
	wantCode(t, "copy", err, "")
	_, err = p.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: sdk.String("none")})
	wantCode(t, "no key", err, "NoSuchKey")
	_, err = p.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: sdk.String("none")})
	wantCode(t, "delete of no key", err, "")
	_, err = p.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: sdk.String("none-" + *bucket), Key: sdk.String("none")})
	wantCode(t, "no bucket", err, "NoSuchBucket")
}

// Parts are at least 5 MiB but the last.
func TestS3MultipartConforms(t *testing.T) {
	t.Parallel()
	p := before(t, endpointOf(t, s3Variable))
	bucket, key := p.bucket(t), sdk.String("large")
	upload, err := p.s3.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	part := func(number int32, size int) types.CompletedPart {
		out, err := p.s3.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: bucket, Key: key, UploadId: upload.UploadId, PartNumber: &number, Body: bytes.NewReader(make([]byte, size)),
		})
		if err != nil {
			t.Fatal(err)
		}
		return types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32}
	}
	complete := func(parts ...types.CompletedPart) error {
		_, err := p.s3.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
			Bucket: bucket, Key: key, UploadId: upload.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		return err
	}
	last := part(2, 1)
	wantCode(t, "a short part", complete(part(1, 5<<20-1), last), "EntityTooSmall")
	wantCode(t, "5 MiB", complete(part(1, 5<<20), last), "")
}

// A presigned form: its conditions hold.
func TestS3PresignedPostConforms(t *testing.T) {
	t.Parallel()
	p := before(t, endpointOf(t, s3Variable))
	bucket := p.bucket(t)
	form, err := s3.NewPresignClient(p.s3).PresignPostObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: sdk.String("posted")}, func(o *s3.PresignPostOptions) {
		o.Conditions = []any{[]any{"content-length-range", 1, 100}}
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		size   int
		key    string
		status int
	}{
		"as signed":   {100, "posted", http.StatusNoContent},
		"too long":    {101, "posted", http.StatusBadRequest},
		"another key": {100, "other", http.StatusForbidden},
	} {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		form.Values["key"] = test.key
		for name, value := range form.Values {
			if err := w.WriteField(name, value); err != nil {
				t.Fatal(err)
			}
		}
		file, err := w.CreateFormFile("file", "file")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(make([]byte, test.size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		answer, err := http.Post(form.URL, w.FormDataContentType(), &body)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil {
			t.Error(err)
		}
		if answer.StatusCode != test.status {
			t.Errorf("%s: status %d, want %d", what, answer.StatusCode, test.status)
		}
	}
}
