//go:build nolocal && !frontend

package main

import (
	"bytes"
	"testing"
)

// A build without `penstock local` says so, whatever flags it is given, and does not list it.
func TestLocalIsAbsent(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"local"}, {"local", "--data", "x"}, {"local", "--help"}} {
		var stdout, stderr bytes.Buffer
		if status := run(args, nil, &stdout, &stderr); status != 2 {
			t.Errorf("%v: status %d", args, status)
		}
		contains(t, stderr.String(), "penstock: local: this build", "make build")
	}
	var help bytes.Buffer
	if status := run([]string{"--help"}, nil, &help, &help); status != 0 {
		t.Errorf("--help: status %d", status)
	}
	contains(t, help.String(), "  send ", "  version ")
	if bytes.Contains(help.Bytes(), []byte("  local ")) {
		t.Errorf("the help lists local:\n%s", &help)
	}
}
