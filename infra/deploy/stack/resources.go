package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	"github.com/aws/aws-sdk-go-v2/service/glue/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// activeWithin is how long the stream may take to become active.
const activeWithin = 30 * time.Second

// resources are what a deployment finds there when it starts. The DynamoDB tables are not among them: their schema is
// the adapters', and Penstock makes them itself.
type resources struct {
	Stream   string `default:"penstock" env:"PENSTOCK_STREAM" help:"Name of the stream."`
	Shards   int32  `default:"8" env:"PENSTOCK_SHARDS" help:"Shards of the stream (1 to 64)."`
	Bucket   string `default:"penstock" env:"PENSTOCK_BUCKET" help:"Name of the bucket, for bodies and the lake."`
	Database string `default:"penstock" env:"PENSTOCK_DATABASE" help:"Name of the lake's database in Glue."`
}

// Validate implements kong's check.
func (r *resources) Validate() error {
	if r.Shards < 1 || r.Shards > 64 {
		return fmt.Errorf("--shards %d: must be 1 to 64", r.Shards)
	}
	return nil
}

// create makes them. The peers have just started, so none is there yet.
func (r *resources) create(ctx context.Context, s *stack) error {
	cfg := aws.Config{Region: region, Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")}
	at := func(variable string) *string {
		for _, p := range s.running {
			if p.variable == variable {
				return aws.String(p.endpoint())
			}
		}
		return nil
	}
	stream := kinesis.NewFromConfig(cfg, func(o *kinesis.Options) { o.BaseEndpoint = at("AWS_ENDPOINT_URL_KINESIS") })
	bucket := s3.NewFromConfig(cfg, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = at("AWS_ENDPOINT_URL_S3"), true })
	lake := glue.NewFromConfig(cfg, func(o *glue.Options) { o.BaseEndpoint = at("AWS_ENDPOINT_URL_GLUE") })

	if _, err := stream.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: &r.Stream, ShardCount: &r.Shards}); err != nil {
		return fmt.Errorf("create the stream %s: %w", r.Stream, err)
	}
	if _, err := bucket.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &r.Bucket}); err != nil {
		return fmt.Errorf("create the bucket %s: %w", r.Bucket, err)
	}
	database := &types.DatabaseInput{Name: &r.Database}
	if _, err := lake.CreateDatabase(ctx, &glue.CreateDatabaseInput{DatabaseInput: database}); err != nil {
		return fmt.Errorf("create the database %s: %w", r.Database, err)
	}
	active := kinesis.NewStreamExistsWaiter(stream, func(o *kinesis.StreamExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	if err := active.Wait(ctx, &kinesis.DescribeStreamInput{StreamName: &r.Stream}, activeWithin); err != nil {
		return fmt.Errorf("wait for the stream %s: %w", r.Stream, err)
	}
	return nil
}

// environment names them, as NAME=VALUE.
func (r *resources) environment() []string {
	return []string{"PENSTOCK_STREAM=" + r.Stream, "PENSTOCK_BUCKET=" + r.Bucket, "PENSTOCK_DATABASE=" + r.Database}
}
