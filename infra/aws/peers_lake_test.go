//go:build !frontend

package aws_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"penstock/infra/aws"
)

// connect gives the clients of the peers whose addresses are in the named variables. Without one the test is skipped, or fails
// where conformance was asked for.
func connect(t *testing.T, endpoints ...string) aws.Clients {
	t.Helper()
	for _, name := range endpoints {
		switch {
		case os.Getenv(name) != "":
		case os.Getenv("PENSTOCK_CONFORMANCE") == "1":
			t.Fatalf("%s is not set: start the peers first, as make conformance does", name)
		default:
			t.Skipf("%s is not set", name)
		}
	}
	c, err := aws.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// uniqueName is one that no other test has.
func uniqueName() string { return "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:16] }

// makeBucket makes a bucket that is gone, with all that is in it, after the test.
func makeBucket(t *testing.T, c *s3.Client) string {
	t.Helper()
	name := strings.ReplaceAll(uniqueName(), "_", "-")
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatalf("make bucket %s: %v", name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := dropBucket(ctx, c, name); err != nil {
			t.Errorf("drop bucket %s: %v", name, err)
		}
	})
	return name
}

func dropBucket(ctx context.Context, c *s3.Client, name string) error {
	for {
		page, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &name})
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			if _, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &name, Key: o.Key}); err != nil {
				return err
			}
		}
		if len(page.Contents) == 0 {
			_, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &name})
			return err
		}
	}
}

// makeFiles are the files of a table in a bucket of its own.
func makeFiles(t *testing.T, c aws.Clients) *aws.Files {
	t.Helper()
	return filesAt(t, c, fmt.Sprintf("s3://%s/lake/events", makeBucket(t, c.S3)))
}

func filesAt(t *testing.T, c aws.Clients, location string) *aws.Files {
	t.Helper()
	f, err := aws.NewFiles(t.Context(), c.S3, location)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
