//go:build !frontend

package main

import (
	"errors"
	"flag"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// byKong and byFlags read a command line into a new command, of the front end alone and of the other builds.
func byKong(args []string) (ingestCmd, error) {
	var c struct {
		Ingest ingestCmd `cmd:""`
	}
	parser, err := kong.New(&c, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	if err != nil {
		return c.Ingest, err
	}
	_, err = parser.Parse(append([]string{"ingest"}, args...))
	return c.Ingest, err
}

func byFlags(args []string) (c ingestCmd, err error) {
	return c, parseFlags("ingest", &c, args, io.Discard)
}

// sameAsKong fails the test unless both make the same of a command line.
func sameAsKong(t *testing.T, args ...string) {
	t.Helper()
	want, wantErr := byKong(args)
	got, err := byFlags(args)
	if (err == nil) != (wantErr == nil) {
		t.Errorf("%q: error %v, want %v", args, err, wantErr)
	}
	if err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%q: %+v, want %+v", args, got, want)
	}
}

// The front end alone takes the command lines that the other builds take, and makes the same of them.
func TestFlagsAreKongs(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"", "--bucket b", "--bucket=b", "--bucket b --bucket c", "--bucket", "--bucket=", "--bucket b more", "--nothing 1",
		"--bucket b --stream s --events-table e --state-table t --listen :80 --admin-listen :81 --key-file k --memory 1GiB",
		"--bucket b --memory 12", "--bucket b --memory much", "--bucket b --log-level warn --log-format json", "--bucket b --log-level loud",
		"--bucket b --routes ingest", "--bucket b --routes read,ingest", "--bucket b --routes read --routes ingest",
		"--bucket b --routes write", "--bucket b --routes ingest,write",
	} {
		sameAsKong(t, strings.Fields(line)...)
	}
}

func TestFlagsOfTheEnvironmentAreKongs(t *testing.T) {
	t.Setenv("PENSTOCK_BUCKET", "b")
	t.Setenv("PENSTOCK_ROUTES", "read,ingest")
	sameAsKong(t)
	sameAsKong(t, "--bucket", "c", "--routes", "read")
	t.Setenv("PENSTOCK_MEMORY", "much")
	sameAsKong(t)
	t.Setenv("PENSTOCK_MEMORY", "64MiB")
	t.Setenv("PENSTOCK_LOG_LEVEL", "loud")
	sameAsKong(t)
}

// The help has the command's own words, each flag with its default, its variable and what it is for.
func TestFlagsHelp(t *testing.T) {
	t.Parallel()
	var c ingestCmd
	var usage strings.Builder
	if err := parseFlags("ingest", &c, []string{"--bucket", "b", "--help"}, &usage); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("error %v", err)
	}
	contains(t, usage.String(), "Usage: penstock ingest", "AWS_PROFILE", "--memory=256MiB", "--key-file=FILE", "($PENSTOCK_STREAM)",
		"Kinesis data stream.")
}

// What is wrong is told with the flag as it is written.
func TestFlagsErrors(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                         "--bucket",
		"--bucket b --memory much": "--memory: ",
		"--bucket b --routes all":  "--routes: must be one of",
		"--bucket b more":          "unexpected argument more",
	} {
		if _, err := byFlags(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", line, err, want)
		}
	}
}

// A struct with what is no flag is the program's mistake, and is told.
func TestFlagsOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []any{&struct{ Word string }{}, &struct {
		Share float32 `help:"A share." default:"1"`
	}{}} {
		if err := parseFlags("x", c, nil, io.Discard); err == nil {
			t.Errorf("%T: no error", c)
		}
	}
}
