package aws

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// peers are the clients of the services that the SDK's variables name. Without them the test is skipped, or fails where
// conformance was asked for. Nothing of the tests is left there.
func peers(t *testing.T, endpoints ...string) Clients {
	t.Helper()
	for _, name := range endpoints {
		if os.Getenv(name) != "" {
			continue
		}
		if os.Getenv("PENSTOCK_CONFORMANCE") == "1" {
			t.Fatalf("%s is not set: start the peers first, as make conformance does", name)
		}
		t.Skipf("%s is not set", name)
	}
	c, err := Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func peerName() string { return fmt.Sprintf("penstock-test-%x", newToken()) }

// cleanup does it with time of its own, after the test.
func cleanup(t *testing.T, do func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := do(ctx); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
}

// newTables makes both tables under names of their own.
func newTables(t *testing.T, c Clients) Tables {
	t.Helper()
	name := peerName()
	tables := Tables{Events: name + "-events", State: name + "-state"}
	cleanup(t, func(ctx context.Context) error { return removeTables(ctx, c.DynamoDB, tables.Events, tables.State) })
	if err := tables.Ensure(t.Context(), c.DynamoDB); err != nil {
		t.Fatal(err)
	}
	return tables
}

func removeTables(ctx context.Context, client *dynamodb.Client, names ...string) error {
	var errs []error
	for _, name := range names {
		_, err := client.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: sdk.String(name)})
		if !hasCode(err, "ResourceNotFoundException") {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// newBucket makes a bucket of its own.
func newBucket(t *testing.T, c Clients) string {
	t.Helper()
	name := strings.ToLower(peerName())
	cleanup(t, func(ctx context.Context) error { return removeBucket(ctx, c.S3, name) })
	if _, err := c.S3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: sdk.String(name)}); err != nil {
		t.Fatalf("making bucket %s: %v", name, err)
	}
	return name
}

// bucketKeys lists all objects of a bucket.
func bucketKeys(ctx context.Context, client *s3.Client, bucket string) ([]string, error) {
	var keys []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: sdk.String(bucket)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			keys = append(keys, sdk.ToString(o.Key))
		}
	}
	return keys, nil
}

func removeBucket(ctx context.Context, client *s3.Client, bucket string) error {
	keys, err := bucketKeys(ctx, client, bucket)
	if hasCode(err, "NoSuchBucket") {
		return nil
	}
	for _, key := range keys {
		err = errors.Join(err, objects{client, bucket}.remove(ctx, key))
	}
	_, dropErr := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: sdk.String(bucket)})
	return errors.Join(err, dropErr)
}
