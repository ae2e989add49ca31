//go:build !nolocal

package main

import (
	"fmt"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/infra/aws/faultproxy"
)

// TestConformCheck: a deployment in order is found to be, leaves no trace of having been checked, and every fault is told at once.
func TestConformCheck(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, 2)
	for _, s := range []*server{d.ingest(), d.consumer("lake")} {
		s.stop() // it has made what was missing
	}
	stdout, stderr, status := d.ended(t, "check", nil, nil)
	told := strings.Join(strings.Fields(stdout), " ") // without the columns
	for _, want := range []string{
		"warning stream " + d.name + ", writing ACTIVE, 2 open shards; can be listed; writing is not proven: the server knows no dry run",
		"warning stream " + d.name + ", reading ACTIVE, keeps records for 24 h; can be listed and read; a sink that stands still for longer than these 24 h loses",
		"ok table " + d.name + "-events has the right keys; a probe was written, read and removed",
		"ok table " + d.name + "-state has the right keys; a probe was written, read and removed",
		"ok bucket " + d.name + " a probe was written, read, listed and deleted",
		"ok Glue table " + d.database() + ".events has the right columns; was read, and updated with what it has",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if status != 0 || stderr != "" {
		t.Errorf("status %d: %s", status, stderr)
	}
	d.leftNothing(t)
	env := []string{refused(t, faultproxy.Kinesis, "GetRecords", "AccessDeniedException"), refused(t, faultproxy.DynamoDB, "Query", "AccessDeniedException")}
	stdout, _, status = d.ended(t, "check", env, []string{"--json"})
	for _, want := range []string{
		`{"thing":"stream ` + d.name + `, reading","status":"failed","detail":"allow kinesis:GetRecords to these credentials`,
		`{"thing":"table ` + d.name + `-state","status":"failed","detail":"allow dynamodb:Query to these credentials`,
		`{"thing":"table ` + d.name + `-events","status":"ok"`,
		`{"thing":"bucket ` + d.name + `","status":"ok"`,
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %s in\n%s", want, stdout)
		}
	}
	if status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	d.leftNothing(t)
}

// leftNothing fails unless tables, bucket and stream are free of probes.
func (d *deployment) leftNothing(t *testing.T) {
	t.Helper()
	for _, table := range []string{d.name + "-events", d.name + "-state"} {
		out, err := d.clients.DynamoDB.Scan(t.Context(), &dynamodb.ScanInput{TableName: &table, ConsistentRead: sdk.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range out.Items {
			if key := fmt.Sprint(it["id"], it["pk"]); strings.Contains(key, "probe") {
				t.Errorf("%s is left in table %s", key, table)
			}
		}
	}
	out, err := d.clients.S3.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &d.name, Prefix: sdk.String("probe")})
	if err != nil || len(out.Contents) > 0 {
		t.Errorf("%d objects are left, %v", len(out.Contents), err)
	}
	if records := d.records(t); len(records) > 0 {
		t.Errorf("%d records are left in the stream", len(records))
	}
}
