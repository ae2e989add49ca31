package main

import "fmt"

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
