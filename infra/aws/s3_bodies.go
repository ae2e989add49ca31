package aws

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/consumer"
	"penstock/ingest"
)

var (
	bodyID  = regexp.MustCompile(`^[0-9A-Za-z]{1,64}$`)
	bodyKey = regexp.MustCompile(`^bodies/dt=[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9A-Za-z]{1,64}$`)
)

// Bodies keeps each body as the object bodies/dt=YYYY-MM-DD/<id>, the day that of its receipt in UTC.
type Bodies struct{ objects objects }

var (
	_ ingest.Bodies   = (*Bodies)(nil)
	_ consumer.Bodies = (*Bodies)(nil)
)

// NewBodies keeps them in the bucket.
func NewBodies(c Clients, bucket string) *Bodies { return &Bodies{objects{c.S3, bucket}} }

// Check fails unless the bucket is there and can be reached. It lists, since the answer to a HEAD has no text that would tell
// expired credentials from a wrong region.
func (b *Bodies) Check(ctx context.Context) error {
	_, err := b.objects.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.objects.bucket, MaxKeys: sdk.Int32(1)})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", b.objects.bucket, advised(err, b.objects.client.Options().Region, "s3:ListBucket"))
	}
	return nil
}

// Put implements ingest.Bodies; S3 is never full. Errors tell throttling and doubt apart (ingest.ErrThrottled,
// ingest.ErrAmbiguous).
func (b *Bodies) Put(ctx context.Context, id string, received time.Time, body []byte) (string, error) {
	if !bodyID.MatchString(id) {
		return "", fmt.Errorf("body of event %.100q: not an event id", id)
	}
	key := "bodies/" + day(received) + "/" + id
	if err := b.objects.put(ctx, key, body); err != nil {
		return "", fmt.Errorf("body of event %s: %w", id, err)
	}
	return b.objects.ref(key), nil
}

// Open implements consumer.Bodies. A ref that can't be one of ours is consumer.ErrNotFound, too.
func (b *Bodies) Open(ctx context.Context, ref string) (io.ReadCloser, error) {
	key, ok := strings.CutPrefix(ref, b.objects.ref(""))
	if !ok || !bodyKey.MatchString(key) {
		return nil, fmt.Errorf("body %.300q is not in bucket %s: %w", ref, b.objects.bucket, consumer.ErrNotFound)
	}
	return b.objects.open(ctx, key)
}

// day is the part of a key that names the day of a time in UTC.
func day(t time.Time) string { return "dt=" + t.UTC().Format(time.DateOnly) }
