package main

import (
	"errors"
	"fmt"
	"strings"
)

// awsFlags name what a deployment has on AWS. Region, credentials and endpoints are the AWS SDK's own variables and files.
type awsFlags struct {
	Stream      string `default:"penstock" env:"PENSTOCK_STREAM" help:"Kinesis data stream."`
	EventsTable string `default:"penstock-events" env:"PENSTOCK_EVENTS_TABLE" help:"DynamoDB table of the index."`
	StateTable  string `default:"penstock-state" env:"PENSTOCK_STATE_TABLE" help:"DynamoDB table of leases, claims and progress."`
	Bucket      string `required:"" env:"PENSTOCK_BUCKET" help:"S3 bucket of bodies, dead letters and the lake."`
}

func (c *awsFlags) validate() error {
	for _, f := range []struct{ flag, value string }{
		{"--stream", c.Stream}, {"--events-table", c.EventsTable}, {"--state-table", c.StateTable}, {"--bucket", c.Bucket},
	} {
		if f.value == "" {
			return fmt.Errorf("%s: must not be empty", f.flag)
		}
	}
	return nil
}

// queryFlags say where SQL runs.
type queryFlags struct {
	Database          string   `default:"penstock" env:"PENSTOCK_DATABASE" help:"Glue database of the lake's table."`
	Workgroup         string   `default:"penstock" env:"PENSTOCK_WORKGROUP" help:"Athena workgroup that SQL runs in. Give it a limit of bytes scanned per query."`
	QueryOutput       string   `env:"PENSTOCK_QUERY_OUTPUT" help:"Where Athena puts results. Default: below queries/ in --bucket. Have a lifecycle rule delete them." placeholder:"s3://BUCKET/PREFIX/"`
	QueryMaxResult    byteSize `default:"2GiB" env:"PENSTOCK_QUERY_MAX_RESULT" help:"Largest result of one SQL execution (1MiB to 1TiB)."`
	AthenaEventsQueue string   `env:"PENSTOCK_ATHENA_EVENTS_QUEUE" help:"SQS queue of this process alone, to which EventBridge delivers Athena's query state changes. Without one, Athena is asked." placeholder:"URL"`
}

// validate checks every field, and completes QueryOutput.
func (c *queryFlags) validate(bucket string) error {
	if c.QueryOutput == "" {
		c.QueryOutput = "s3://" + bucket + "/queries/"
	}
	checks := []error{within("--query-max-result", c.QueryMaxResult, 1<<20, 1<<40)}
	if c.Database == "" || c.Workgroup == "" {
		checks = append(checks, errors.New("--database and --workgroup: must not be empty"))
	}
	if rest, ok := strings.CutPrefix(c.QueryOutput, "s3://"); !ok || strings.HasPrefix(rest, "/") || !strings.HasSuffix(rest, "/") {
		checks = append(checks, fmt.Errorf("--query-output %s: must be like s3://bucket/prefix/", c.QueryOutput))
	}
	if q := c.AthenaEventsQueue; q != "" && !strings.HasPrefix(q, "https://") && !strings.HasPrefix(q, "http://") {
		checks = append(checks, fmt.Errorf("--athena-events-queue %s: must be the queue's URL", q))
	}
	return first(checks)
}
