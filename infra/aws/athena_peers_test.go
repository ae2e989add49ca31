package aws

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"penstock/consumer/query"
)

// motoEndpoint names moto, which stands for Glue and knows some of Athena and of SQS as well.
const motoEndpoint = "AWS_ENDPOINT_URL_GLUE"

// TestAthenaOnMoto is a smoke test: moto speaks Athena's wire protocol, and runs no SQL. What it does not do is held here too, as
// docs/aws-peers.md says it: a moto that does more can take the stand-in's place for that.
func TestAthenaOnMoto(t *testing.T) {
	t.Parallel()
	c := peers(t, motoEndpoint, s3Endpoint)
	endpoint := os.Getenv(motoEndpoint)
	clients := Clients{
		Athena: athena.NewFromConfig(c.config, func(o *athena.Options) { o.BaseEndpoint = sdk.String(endpoint) }),
		SQS:    sqs.NewFromConfig(c.config, func(o *sqs.Options) { o.BaseEndpoint = sdk.String(endpoint) }),
		S3:     c.S3,
	}
	cfg := testAthenaConfig(t)
	cfg.Workgroup, cfg.Output = peerName(), "s3://"+newBucket(t, c)+"/queries/"
	_, err := clients.Athena.CreateWorkGroup(t.Context(), &athena.CreateWorkGroupInput{
		Name: sdk.String(cfg.Workgroup), Configuration: &types.WorkGroupConfiguration{BytesScannedCutoffPerQuery: sdk.Int64(1 << 30)},
	})
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, func(ctx context.Context) error {
		_, err := clients.Athena.DeleteWorkGroup(ctx, &athena.DeleteWorkGroupInput{WorkGroup: sdk.String(cfg.Workgroup)})
		return err
	})
	a := NewAthena(clients, cfg)
	if err := a.Check(t.Context()); err != nil {
		t.Error(err)
	}
	e := startStatement(t, a, "SELECT 1")
	if e.State != query.Succeeded || e.Submitted.IsZero() || !e.CompleteThrough.Equal(testThrough) {
		t.Errorf("started: %+v", e)
	}
	stands, asked, err := a.get(t.Context(), e.ID)
	if err != nil || stateOf(stands) != query.Succeeded || asked.IsZero() || !strings.HasSuffix(outputOf(stands), "/queries/"+e.ID+".csv") {
		t.Errorf("%+v at %s, %v", stands, asked, err)
	}
	if _, _, err := a.Open(t.Context(), e.ID); !errors.Is(err, query.ErrNoResult) {
		t.Errorf("moto puts no result on another S3: %v", err)
	}
	if err := a.stop(t.Context(), e.ID); err != nil {
		t.Error(err)
	}
	if list, _, err := a.Status(t.Context(), []string{e.ID}); err == nil {
		t.Errorf("moto answers BatchGetQueryExecution now, so have it answer in the stand-in's place: %+v", list)
	}
	cfg.Workgroup += "-none"
	if err := NewAthena(clients, cfg).Check(t.Context()); err == nil {
		t.Error("a workgroup that is not there passes for one")
	}
	if _, err := NewAthena(clients, cfg).Start(t.Context(), query.Statement{SQL: "SELECT 1", Token: testToken}); err == nil || errors.Is(err, query.ErrStatement) {
		t.Errorf("a start in a workgroup that is not there: %v, want the operator's error", err)
	}
}

// TestAthenaEventsOnMoto: events come by an SQS that nobody here wrote.
func TestAthenaEventsOnMoto(t *testing.T) {
	t.Parallel()
	c := peers(t, motoEndpoint)
	client := sqs.NewFromConfig(c.config, func(o *sqs.Options) { o.BaseEndpoint = sdk.String(os.Getenv(motoEndpoint)) })
	made, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: sdk.String(peerName())})
	if err != nil {
		t.Fatal(err)
	}
	cleanup(t, func(ctx context.Context) error {
		_, err := client.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: made.QueueUrl})
		return err
	})
	cfg := testAthenaConfig(t)
	cfg.EventsQueue = sdk.ToString(made.QueueUrl)
	a := NewAthena(Clients{SQS: client}, cfg)
	if err := a.ProveEvents(t.Context()); err != nil {
		t.Error(err)
	}
	for _, body := range []string{"no event", `{"source":"aws.athena","detail":{"queryExecutionId":"` + unknownExecution + `","currentState":"SUCCEEDED"}}`} {
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: made.QueueUrl, MessageBody: sdk.String(body)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() { a.Listen(ctx) })
	if id := <-a.Changed(); id != unknownExecution {
		t.Errorf("told of %q", id)
	}
	for left := -1; left != 0; { // both are deleted
		out, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: made.QueueUrl, AttributeNames: queueDepth})
		if err != nil {
			t.Fatal(err)
		}
		left = 0
		for _, n := range out.Attributes {
			if n != "0" {
				left++
			}
		}
	}
	cancel()
	listening.Wait()
}

var queueDepth = []sqstypes.QueueAttributeName{
	sqstypes.QueueAttributeNameApproximateNumberOfMessages, sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
}
