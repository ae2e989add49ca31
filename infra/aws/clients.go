package aws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/logging"
)

const (
	// connectTime is how long a connection may take to be made, in the same region.
	connectTime = 2 * time.Second
	// idleConnections to one host are kept: a busy front end has about as many flights in the air.
	idleConnections = 256
)

// ErrNoRegion: neither the environment nor the shared configuration names a region.
var ErrNoRegion = errors.New("no AWS region: set AWS_REGION, or a region in the shared configuration file")

// Clients are those of the services that Penstock uses. Region, credentials and endpoints come from the SDK's own variables
// and files (https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html), also AWS_ENDPOINT_URL_KINESIS and the
// like.
type Clients struct {
	Kinesis  *kinesis.Client
	DynamoDB *dynamodb.Client
	S3       *s3.Client
	Athena   *athena.Client
	SQS      *sqs.Client

	config sdk.Config
}

// Connect makes the clients. It talks to nobody yet.
func Connect(ctx context.Context) (Clients, error) {
	transport := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = connectTime }).
		WithTransportOptions(func(t *http.Transport) { t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, idleConnections })
	// The SDK's own lines would stand among ours in another form: one for each conditional write that DynamoDB refuses, for
	// instance, whose text it compares with a checksum before it has read it. What matters its errors tell.
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(transport), config.WithLogger(logging.Nop{}))
	if err != nil {
		return Clients{}, fmt.Errorf("AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return Clients{}, ErrNoRegion
	}
	return Clients{
		Kinesis:  kinesis.NewFromConfig(cfg),
		DynamoDB: dynamodb.NewFromConfig(cfg),
		S3:       s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = ownS3() }),
		Athena:   athena.NewFromConfig(cfg),
		SQS:      sqs.NewFromConfig(cfg),
		config:   cfg,
	}, nil
}

// ownS3 reports whether the S3 endpoint is somebody's own server: those seldom know a host for each bucket.
func ownS3() bool {
	return os.Getenv("AWS_ENDPOINT_URL_S3") != "" || os.Getenv("AWS_ENDPOINT_URL") != ""
}

// once is the SDK's retryer for a request that must not be repeated unseen.
func once() sdk.Retryer { return sdk.NopRetryer{} }
