//go:build !nolocal

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	gluetypes "github.com/aws/aws-sdk-go-v2/service/glue/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"penstock/infra/aws/faultproxy"
	"penstock/infra/iceberg"
	"penstock/schemas"
)

// faulty puts a fault proxy before a service, and gives the setting by which a process goes through it.
func faulty(t *testing.T, service string, laws []faultproxy.Law, rules ...faultproxy.Rule) (*faultproxy.Proxy, string) {
	t.Helper()
	variable := endpointOf(service)
	proxy, err := faultproxy.New(faultproxy.Config{Target: os.Getenv(variable), Seed: 1, Clock: faultproxy.SystemClock{}, Laws: laws})
	if err != nil {
		t.Fatal(err)
	}
	proxy.Set(rules...)
	server := httptest.NewServer(proxy)
	t.Cleanup(func() { proxy.Close(); server.Close() })
	return proxy, variable + "=" + server.URL
}

func endpointOf(service string) string { return "AWS_ENDPOINT_URL_" + strings.ToUpper(service) }

// refused are the answers of a service that refuses an operation, or every one when that is empty.
func refused(t *testing.T, service, operation, code string) string {
	t.Helper()
	_, setting := faulty(t, service, nil, faultproxy.Rule{
		Service: service, Operation: operation, When: faultproxy.Always(), Do: faultproxy.ErrorBefore(400, code),
	})
	return setting
}

// users are the commands that use a service, by what the tests call them.
func users(service string) []string {
	if service == faultproxy.Glue {
		return []string{"lake", "check"}
	}
	return []string{"ingest", "index", "lake", "check"}
}

// ended runs a command of the deployment to its end, which must come by itself, and gives its output.
func (d *deployment) ended(t *testing.T, command string, env, flags []string) (stdout, stderr string, status int) {
	t.Helper()
	args := map[string][]string{
		"ingest": {"ingest", "--listen", "127.0.0.1:0"},
		"index":  {"consumer", "--sink", "index", "--admin-listen", "127.0.0.1:0"},
		"lake":   {"consumer", "--sink", "lake", "--admin-listen", "127.0.0.1:0", "--database", d.database()},
		"check":  {"check", "--database", d.database()},
	}[command]
	args = append(args, "--stream", d.name, "--events-table", d.name+"-events", "--state-table", d.name+"-state", "--bucket", d.name)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := program(ctx, append(args, flags...)...)
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v, %v\n%s%s", command, err, ctx.Err(), &out, &errs)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// badStart is something wrong that a process must tell about and not start; flags are those that lead to it.
type badStart struct {
	flags, env []string
	want       string
	check      string   // what `penstock check` says instead, if it is something else
	commands   []string // that meet it
}

func (d *deployment) badStarts(t *testing.T) map[string]badStart {
	all, lakes := users(faultproxy.S3), users(faultproxy.Glue)
	nowhere := []string{"--events-table", d.name + "-nowhere", "--state-table", d.name + "-nowhere-state"}
	tables, regional := faulty(t, faultproxy.DynamoDB, nil)
	t.Cleanup(func() {
		if slices.ContainsFunc(tables.Calls(), func(c faultproxy.Call) bool { return c.Operation == "CreateTable" }) {
			t.Error("a table was made in a region that has no stream")
		}
	})
	bad := map[string]badStart{
		"no stream": {flags: []string{"--stream", "e2e-nothing"}, want: `stream "e2e-nothing" is not in region us-east-1: create it`, commands: all},
		"no bucket": {flags: []string{"--bucket", "e2e-nothing"}, want: "check the name, and that region us-east-1 is the one that has it", commands: all},
		"no tables": {
			flags: nowhere, env: []string{refused(t, faultproxy.DynamoDB, "CreateTable", "AccessDeniedException")},
			want:  "table " + d.name + "-nowhere is not there, and making it (id S hash) failed: allow dynamodb:CreateTable",
			check: "table " + d.name + "-nowhere is not in region us-east-1", commands: all,
		},
		"table with other keys": {
			flags: []string{"--state-table", d.otherTable()}, want: "table has other keys: id N hash, want pk S hash, sk S range", commands: all,
		},
		"another region":   {flags: nowhere, env: []string{"AWS_REGION=eu-west-3", regional}, want: "region eu-west-3", commands: all},
		"no region":        {env: []string{"AWS_REGION="}, want: "set AWS_REGION", commands: all},
		"wrong secret key": {env: []string{"AWS_SECRET_ACCESS_KEY=wrong"}, want: "signature is not accepted: check the secret key", commands: all},
		"no credentials": {
			env:  []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_EC2_METADATA_DISABLED=true", "HOME=" + t.TempDir()},
			want: "if credentials are missing, set AWS_ACCESS_KEY_ID", commands: all,
		},
		"no catalog": {
			env:   []string{refused(t, faultproxy.Glue, "CreateDatabase", "AccessDeniedException")},
			want:  "create Glue table " + d.database() + ".events: create its database: allow glue:CreateDatabase",
			check: "Glue table " + d.database() + ".events is not in region us-east-1", commands: lakes,
		},
		"somebody else's table": {
			flags: []string{"--database", d.foreignTable()}, want: "it is not an Iceberg table", commands: lakes,
		},
		"lake with other columns": {
			flags: []string{"--database", d.otherColumns()}, want: "column 14 of the lake table is not sha256 string", commands: lakes,
		},
	}
	for _, service := range []string{faultproxy.Kinesis, faultproxy.DynamoDB, faultproxy.S3, faultproxy.Glue} {
		expired := "ExpiredTokenException"
		if service == faultproxy.S3 {
			expired = "ExpiredToken"
		}
		bad["expired for "+service] = badStart{
			env: []string{refused(t, service, "", expired)}, want: "the credentials have expired: renew them", commands: users(service),
		}
		bad["unreachable "+service] = badStart{
			env: []string{endpointOf(service) + "=" + nobodyListens}, want: "there is no connection, or no answer in time: check the network", commands: users(service),
		}
	}
	return bad
}

// otherTable has keys that are not Penstock's.
func (d *deployment) otherTable() string {
	d.t.Helper()
	name := d.name + "-other"
	d.must(d.clients.DynamoDB.CreateTable(d.t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{{AttributeName: sdk.String("id"), KeyType: types.KeyTypeHash}},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: sdk.String("id"), AttributeType: types.ScalarAttributeTypeN}},
	}))
	active := dynamodb.NewTableExistsWaiter(d.clients.DynamoDB, func(o *dynamodb.TableExistsWaiterOptions) { o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second })
	if err := active.Wait(d.t.Context(), &dynamodb.DescribeTableInput{TableName: &name}, time.Minute); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		d.must(d.clients.DynamoDB.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &name}))
	})
	return name
}

// foreignTable is a database whose table of the lake's name is no Iceberg table.
func (d *deployment) foreignTable() string {
	d.t.Helper()
	database := d.database() + "_foreign"
	d.must(d.clients.Glue().CreateDatabase(d.t.Context(), &glue.CreateDatabaseInput{DatabaseInput: &gluetypes.DatabaseInput{Name: &database}}))
	d.must(d.clients.Glue().CreateTable(d.t.Context(), &glue.CreateTableInput{
		DatabaseName: &database, TableInput: &gluetypes.TableInput{Name: sdk.String(schemas.LakeTable)},
	}))
	return database
}

// otherColumns is a database whose lake has another column in the place of one of ours.
func (d *deployment) otherColumns() string {
	d.t.Helper()
	database := d.database() + "_columns"
	files, pointer, err := lakeAt(d.t.Context(), &awsParts{clients: d.clients}, d.name, database)
	if err == nil {
		_, err = iceberg.Open(d.t.Context(), iceberg.Config{
			Files: files, Pointer: pointer, Admit: func(int64) error { return nil }, Logger: slog.New(slog.DiscardHandler),
		})
	}
	if err != nil {
		d.t.Fatal(err)
	}
	location, err := pointer.Load(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	key := strings.TrimPrefix(location, "s3://"+d.name+"/")
	out, err := d.clients.S3.GetObject(d.t.Context(), &s3.GetObjectInput{Bucket: &d.name, Key: &key})
	if err != nil {
		d.t.Fatal(err)
	}
	metadata, err := io.ReadAll(out.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	changed := bytes.ReplaceAll(metadata, []byte(`"name":"sha256"`), []byte(`"name":"digest"`))
	if bytes.Equal(changed, metadata) {
		d.t.Fatalf("no column sha256 in %.500s", metadata)
	}
	d.must(d.clients.S3.PutObject(d.t.Context(), &s3.PutObjectInput{Bucket: &d.name, Key: &key, Body: bytes.NewReader(changed)}))
	return database
}

// TestConformBadStart: whatever of a deployment is missing, out of reach or not what it should be, every process that needs it says so
// at its start, with what to do, and ends by itself; `penstock check` says so too, and goes on with the rest.
func TestConformBadStart(t *testing.T) {
	t.Parallel()
	d := newDeployment(t, 1)
	for name, test := range d.badStarts(t) {
		for _, command := range test.commands {
			t.Run(name+"/"+command, func(t *testing.T) {
				t.Parallel()
				stdout, stderr, status := d.ended(t, command, test.env, test.flags)
				told, want := stderr, test.want
				if command == "check" && name != "no region" { // without one there is nothing to ask
					told = strings.Join(strings.Fields(stdout), " ") // without the columns
					if test.check != "" {
						want = test.check
					}
					if lines := strings.Count(stdout, "\n"); lines != 6 {
						t.Errorf("the check told %d findings, want 6:\n%s", lines, stdout)
					}
				}
				if status != 1 || !strings.Contains(told, want) {
					t.Errorf("status %d, want 1 and %q:\n%s%s", status, want, stdout, stderr)
				}
				if command != "check" && stdout != "" {
					t.Errorf("it was ready:\n%s", stdout)
				}
			})
		}
	}
}
