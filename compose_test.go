//go:build !frontend

package main

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"penstock/infra/deploy/compose"
)

// sdkVariables are those of docker-compose.yml that the AWS SDK reads
// (https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html).
var sdkVariables = []string{
	"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
	"AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_GLUE",
}

// parseAlone parses a command line with the environment given as flags. It returns the command, the values of its flags, and the
// variables that it knows.
func parseAlone(t *testing.T, args []string, environment map[string]string) (*kong.Context, map[string]any, []string) {
	t.Helper()
	parser, err := newParser(io.Discard, io.Discard, func(int) { t.Errorf("%q asks for help", args) })
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	args = slices.Clone(args)
	for _, leaf := range parser.Model.Leaves(false) {
		if leaf.Path() != args[0] {
			continue
		}
		for _, flag := range slices.Concat(leaf.AllFlags(false)...) {
			for _, variable := range flag.Envs {
				if value, ok := environment[variable]; ok {
					known = append(known, variable)
					args = append(args, "--"+flag.Name+"="+value)
				}
			}
		}
	}
	command, err := parser.Parse(args)
	if err != nil {
		t.Fatalf("penstock %s: %v", strings.Join(args, " "), err)
	}
	values := map[string]any{}
	for _, flag := range command.Flags() {
		values[flag.Name] = command.FlagValue(flag)
	}
	return command, values, known
}

// What docker-compose.yml says to Penstock's processes is what the program takes: command lines, variables, bounds; and the health
// checks ask where the processes listen.
func TestComposeProcesses(t *testing.T) {
	t.Parallel()
	deployment, err := compose.Load(t.Context(), "docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	known := slices.Clone(sdkVariables)
	for service, process := range deployment.Processes {
		command, values, variables := parseAlone(t, process.Args, deployment.Environment)
		known = append(known, variables...)
		if err := command.Selected().Target.Addr().Interface().(interface{ validate() error }).validate(); err != nil {
			t.Errorf("%s: %v", service, err)
		}
		listen, ok := values["listen"] // else it is a consumer
		if !ok {
			listen = values["admin-listen"]
		}
		_, port, err := net.SplitHostPort(listen.(string))
		if err != nil {
			t.Fatalf("%s listens at %v: %v", service, listen, err)
		}
		health, values, _ := parseAlone(t, process.Health, nil)
		if url := values["url"]; health.Command() != "ready" || url != "http://127.0.0.1:"+port {
			t.Errorf("%s listens at %v, and its health check is %q", service, listen, process.Health)
		}
	}
	for variable := range deployment.Environment {
		if !slices.Contains(known, variable) {
			t.Errorf("nothing reads %s", variable)
		}
	}
}
