//go:build frontend

package main

import (
	"bytes"
	"testing"
)

// The front end alone lists its commands, says of others that it has none, and tells what is wrong with a command line.
func TestFrontCommands(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		{nil, 0, "  ingest ", ""},
		{[]string{"--help"}, 0, "  version ", ""},
		{[]string{"send", "x"}, 2, "", "send: this build is the front end alone"},
		{[]string{"ingest"}, 2, "", "penstock: missing flags: --bucket"},
		{[]string{"ingest", "--help"}, 0, "--listen=127.0.0.1:8080", ""},
		{[]string{"ingest", "--bucket", "b", "--listen", ":80"}, 1, "", "penstock: --listen :80: is not loopback"},
		{[]string{"check", "--help"}, 0, "--bucket=", ""},
		{[]string{"ready", "--help"}, 0, "Address of the server (http://127.0.0.1:8080)", ""},
		{[]string{"version"}, 0, "penstock ", ""},
		{[]string{"version", "--json"}, 0, `{"version":`, ""},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(test.args, nil, &stdout, &stderr); status != test.status {
			t.Errorf("%q: status %d, want %d: %s", test.args, status, test.status, &stderr)
		}
		contains(t, stdout.String(), test.stdout)
		contains(t, stderr.String(), test.stderr)
	}
}
