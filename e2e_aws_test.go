//go:build !nolocal

package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/infra/aws"
	"penstock/infra/deploy/compose"
	"penstock/infra/deploy/pyiceberg"
	"penstock/schemas"
)

// deployment is a stream, two tables, a bucket and a database of a test's own, on the services that the SDK's variables name.
type deployment struct {
	t       *testing.T
	name    string
	clients aws.Clients
}

// newDeployment makes one, which goes with the test. Without services to make it on the test is skipped, but never in
// `make conformance`.
func newDeployment(t *testing.T, shards int32) *deployment {
	t.Helper()
	for _, service := range []string{"KINESIS", "DYNAMODB", "S3", "GLUE"} {
		if os.Getenv("AWS_ENDPOINT_URL_"+service) != "" {
			continue
		}
		if os.Getenv("PENSTOCK_CONFORMANCE") == "1" {
			t.Fatalf("AWS_ENDPOINT_URL_%s is not set", service)
		}
		t.Skip("runs in `make conformance`, which starts the services")
	}
	clients, err := aws.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := &deployment{t: t, name: "e2e-" + strings.ToLower(rand.Text())[:12], clients: clients}
	d.must(clients.Kinesis.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: &d.name, ShardCount: &shards}))
	d.must(clients.S3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &d.name}))
	active := kinesis.NewStreamExistsWaiter(clients.Kinesis, func(o *kinesis.StreamExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	if err := active.Wait(t.Context(), &kinesis.DescribeStreamInput{StreamName: &d.name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.remove)
	return d
}

// must takes the results of a call.
func (d *deployment) must(_ any, err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *deployment) database() string { return strings.ReplaceAll(d.name, "-", "_") }

// remove takes away what a test of some length would leave; the peers forget everything when they end. What was never made
// can't be removed.
func (d *deployment) remove() {
	ctx := context.Background()
	_, streamErr := d.clients.Kinesis.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: &d.name})
	_, eventsErr := d.clients.DynamoDB.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: sdk.String(d.name + "-events")})
	_, stateErr := d.clients.DynamoDB.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: sdk.String(d.name + "-state")})
	database := d.database()
	_, tableErr := d.clients.Glue().DeleteTable(ctx, &glue.DeleteTableInput{DatabaseName: &database, Name: sdk.String(schemas.LakeTable)})
	for _, err := range []error{streamErr, eventsErr, stateErr, tableErr} {
		if err != nil {
			d.t.Log(err)
		}
	}
}

// start runs a process as docker-compose.yml says, and returns when its health check there passes. It has that environment alone,
// with the names of this deployment, the endpoints of the peers that run here, a port of its own, and settings, NAME=VALUE.
func (d *deployment) start(service, last, listen string, settings ...string) *server {
	d.t.Helper()
	file, err := compose.Load(d.t.Context(), "docker-compose.yml")
	if err != nil {
		d.t.Fatal(err)
	}
	values := map[string]string{
		"PENSTOCK_STREAM": d.name, "PENSTOCK_EVENTS_TABLE": d.name + "-events", "PENSTOCK_STATE_TABLE": d.name + "-state",
		"PENSTOCK_BUCKET": d.name, "PENSTOCK_DATABASE": d.database(),
	}
	for _, variable := range []string{"AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_GLUE"} {
		values[variable] = os.Getenv(variable)
	}
	environment, err := file.With(values)
	if err != nil {
		d.t.Fatal(err)
	}
	process := file.Processes[service]
	cmd := program(context.Background(), append(process.Args, listen, "127.0.0.1:0")...)
	cmd.Env = append(append(environment, asProgram+"=1"), settings...)
	s, err := tryCommand(d.t, "", last, cmd)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		for line := range strings.Lines(s.log()) {
			if !strings.HasPrefix(line, "time=") {
				d.t.Errorf("%s: not a line of our log: %s", service, line)
				return
			}
		}
	})
	s.key = composeKey
	s.awaitHealth(append(process.Health, "--url", cmp.Or(s.url, s.admin)))
	return s
}

// awaitHealth runs a health check until it passes, as a container engine does: a peer may be slow at first.
func (s *server) awaitHealth(args []string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for {
		said, err := program(ctx, args...).CombinedOutput()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			s.t.Fatalf("%q: %v: %s\n%s", args, err, said, s.log())
		}
	}
}

// composeKey is the API key of docker-compose.yml's front end.
const composeKey = "demo"

func (d *deployment) ingest() *server { return d.start("ingest", "stream", "--listen") }

func (d *deployment) consumer(sink string, settings ...string) *server {
	return d.start(sink, "admin", "--admin-listen", settings...)
}

// TestConformDeployment: two front ends and two consumers of each sink on eight shards. The whole corpus goes in and comes back
// byte for byte through the other front end, and is in the lake once, as somebody else's reader sees it, though one process
// of each kind is killed meanwhile.
func TestConformDeployment(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, 8)
	one, other := d.ingest(), d.ingest()
	var doomed []*server
	for _, sink := range []string{"index", "lake"} {
		doomed = append(doomed, d.consumer(sink))
		d.consumer(sink)
	}
	want, _ := sendCorpus(t, one)
	for _, s := range append(doomed, one) {
		s.kill()
	}
	for range 10 {
		body := []byte(fmt.Sprintf(`{"after":%q}`, rand.Text()))
		want[other.post(body)] = sha256.Sum256(body)
	}
	for id, sum := range want {
		if sha256.Sum256(other.fetch(id)) != sum {
			t.Errorf("%s came back with other bytes", id)
		}
	}
	d.inLake(want)
	other.stop()
}

// inLake waits until the lake has as many rows as were sent, and holds them against that.
func (d *deployment) inLake(want map[string][32]byte) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	var rows []pyiceberg.Row
	for len(rows) < len(want) {
		var err error
		if rows, err = pyiceberg.Read(ctx, d.database()+"."+schemas.LakeTable); err != nil {
			d.t.Fatalf("%d of %d rows: %v", len(rows), len(want), err)
		}
	}
	left := maps.Clone(want)
	for _, row := range rows {
		sum, ok := left[row.ID]
		if !ok || fmt.Sprintf("%x", sum) != row.SHA256 || sha256.Sum256([]byte(row.Data)) != sum {
			d.t.Errorf("%s: a second row, one of nothing that was sent, or other data", row.ID)
		}
		delete(left, row.ID)
	}
	if len(left) > 0 {
		d.t.Errorf("%d events are not in the lake", len(left))
	}
}
