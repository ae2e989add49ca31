package faultproxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	"github.com/aws/aws-sdk-go-v2/service/glue/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// What the SDK's clients really put on the wire is understood, and tells what a deployment must be permitted.
func TestPermissions(t *testing.T) {
	t.Parallel()
	p := before(t, newBackend(t, empty).url)
	ctx, bucket, key := t.Context(), sdk.String("bucket"), sdk.String("a/b")
	for _, call := range []func() error{
		func() error { _, err := p.put(t, "stream", records(1, 1)...); return err },
		func() error { _, err := p.put(t, "stream", records(1, 1)...); return err },
		func() error {
			_, err := p.kinesis.ListShards(ctx, &kinesis.ListShardsInput{StreamARN: sdk.String("arn:aws:kinesis:us-east-1:000000000000:stream/other")})
			return err
		},
		func() error { _, err := p.get(t, "iterator"); return err },
		func() error {
			_, err := p.dynamodb.GetItem(ctx, &dynamodb.GetItemInput{TableName: sdk.String("table"), Key: item{"p": text("p")}})
			return err
		},
		func() error {
			_, err := p.glue.GetDatabase(ctx, &glue.GetDatabaseInput{Name: sdk.String("lake")})
			return err
		},
		func() error {
			_, err := p.glue.CreateTable(ctx, &glue.CreateTableInput{DatabaseName: sdk.String("lake"), TableInput: &types.TableInput{Name: sdk.String("events")}})
			return err
		},
		func() error {
			_, err := p.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("x")})
			return err
		},
		func() error {
			_, err := p.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key})
			return err
		},
		func() error { _, err := p.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: bucket}); return err },
		func() error { _, err := p.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket}); return err },
		func() error {
			_, err := p.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key})
			return err
		},
	} {
		if err := call(); err != nil {
			t.Log(err) // the backend knows no XML; that it was asked is what counts
		}
	}
	want := []string{
		"dynamodb:GetItem table", "glue:CreateTable lake.events", "glue:GetDatabase lake",
		"kinesis:GetRecords", "kinesis:ListShards other", "kinesis:PutRecords stream",
		"s3:DeleteObject bucket", "s3:GetObject bucket", "s3:ListBucket bucket", "s3:PutObject bucket",
	}
	if got := p.Permissions(); !slices.Equal(got, want) {
		t.Errorf("needed:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Operations of S3 are told by method, path and query, where the SDK does not name them itself.
func TestS3Operations(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"GET /":                            "ListBuckets",
		"GET /b?list-type=2":               "ListObjectsV2",
		"GET /b?uploads":                   "ListMultipartUploads",
		"GET /b/k":                         "GetObject",
		"GET /b/k?uploadId=1":              "ListParts",
		"HEAD /b":                          "HeadBucket",
		"HEAD /b/k":                        "HeadObject",
		"PUT /b":                           "CreateBucket",
		"PUT /b/k/l":                       "PutObject",
		"PUT /b/k?partNumber=1&uploadId=1": "UploadPart",
		"POST /b":                          "PostObject",
		"POST /b?delete":                   "DeleteObjects",
		"POST /b/k?uploads":                "CreateMultipartUpload",
		"POST /b/k?uploadId=1":             "CompleteMultipartUpload",
		"DELETE /b/k":                      "DeleteObject",
		"DELETE /b/k?uploadId=1":           "AbortMultipartUpload",
		"DELETE /b":                        "DeleteBucket",
		"PATCH /b":                         "PATCH",
	} {
		method, target, _ := strings.Cut(line, " ")
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		if got := callOf(&request{method: method, url: u, header: http.Header{}}); got.Operation != want {
			t.Errorf("%s: %s, want %s", line, got.Operation, want)
		}
	}
}
