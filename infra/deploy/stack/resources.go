package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	gluetypes "github.com/aws/aws-sdk-go-v2/service/glue/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kinesistypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// activeWithin is how long the stream may take to become active.
	activeWithin = 30 * time.Second

	// The SDK's own variables.
	regionVariable    = "AWS_REGION"
	accessKeyVariable = "AWS_ACCESS_KEY_ID"
	secretKeyVariable = "AWS_SECRET_ACCESS_KEY"
)

// resources are what a deployment finds there when it starts. The DynamoDB tables are not among them: their schema is
// the adapters', and Penstock makes them itself.
type resources struct {
	Shards int32 `default:"8" env:"PENSTOCK_SHARDS" help:"Shards of the stream (1 to 64)."`
}

// Validate implements kong's check.
func (r *resources) Validate() error {
	if r.Shards < 1 || r.Shards > 64 {
		return fmt.Errorf("--shards %d: must be 1 to 64", r.Shards)
	}
	return nil
}

// create makes those that the environment, a list of NAME=VALUE, names, at the endpoints that it names. One that is there stays.
func (r *resources) create(ctx context.Context, environment []string) error {
	values := map[string]string{}
	for _, e := range environment {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	var missing []string
	value := func(name string) *string {
		if values[name] == "" {
			missing = append(missing, name)
		}
		return aws.String(values[name])
	}
	cfg := aws.Config{
		Region:      *value(regionVariable),
		Credentials: credentials.NewStaticCredentialsProvider(*value(accessKeyVariable), *value(secretKeyVariable), ""),
	}
	stream := kinesis.NewFromConfig(cfg, func(o *kinesis.Options) { o.BaseEndpoint = value("AWS_ENDPOINT_URL_KINESIS") })
	bucket := s3.NewFromConfig(cfg, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = value("AWS_ENDPOINT_URL_S3"), true })
	lake := glue.NewFromConfig(cfg, func(o *glue.Options) { o.BaseEndpoint = value("AWS_ENDPOINT_URL_GLUE") })
	streamName, bucketName, databaseName := value("PENSTOCK_STREAM"), value("PENSTOCK_BUCKET"), value("PENSTOCK_DATABASE")
	if len(missing) > 0 { // with AWS's own endpoints it would make them, and cost money, in an account
		return fmt.Errorf("not set: %s", strings.Join(missing, ", "))
	}

	_, err := stream.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: streamName, ShardCount: &r.Shards})
	if there := new(kinesistypes.ResourceInUseException); err != nil && !errors.As(err, &there) {
		return fmt.Errorf("create the stream %s: %w", *streamName, err)
	}
	_, err = bucket.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucketName})
	if there := new(s3types.BucketAlreadyOwnedByYou); err != nil && !errors.As(err, &there) {
		return fmt.Errorf("create the bucket %s: %w", *bucketName, err)
	}
	_, err = lake.CreateDatabase(ctx, &glue.CreateDatabaseInput{DatabaseInput: &gluetypes.DatabaseInput{Name: databaseName}})
	if there := new(gluetypes.AlreadyExistsException); err != nil && !errors.As(err, &there) {
		return fmt.Errorf("create the database %s: %w", *databaseName, err)
	}
	active := kinesis.NewStreamExistsWaiter(stream, func(o *kinesis.StreamExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	if err := active.Wait(ctx, &kinesis.DescribeStreamInput{StreamName: streamName}, activeWithin); err != nil {
		return fmt.Errorf("wait for the stream %s: %w", *streamName, err)
	}
	return nil
}
