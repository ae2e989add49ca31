package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"penstock/infra/client/clienttest"
)

// clientCommands are the commands that talk to a server.
type clientCommands struct {
	Send    sendCmd    `cmd:""`
	Get     getCmd     `cmd:""`
	Query   queryCmd   `cmd:""`
	Lake    lakeCmd    `cmd:""`
	Dlq     dlqCmd     `cmd:""`
	Version versionCmd `cmd:""`
}

// console is what a command printed.
type console struct {
	stdout, stderr bytes.Buffer
	// width is that of the terminal, 0 for none.
	width int
	stdin io.Reader
}

// command runs one command line against the server.
func (c *console) command(ctx context.Context, t *testing.T, server *clienttest.Server, args ...string) error {
	t.Helper()
	var commands clientCommands
	parser, err := kong.New(&commands, kong.Writers(&c.stdout, &c.stderr), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return err
	}
	if server != nil {
		at := remote{URL: server.URL, Key: server.Key}
		commands.Send.remote, commands.Get.remote, commands.Query.remote = at, at, at
		commands.Lake.Erase.remote = at
		commands.Lake.Compact.remote, commands.Lake.Expire.remote, commands.Lake.Orphans.remote = at, at, at
		commands.Lake.Status.remote, commands.Dlq.List.remote, commands.Dlq.Show.remote, commands.Dlq.Requeue.remote = at, at, at, at
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return parsed.Run(&output{
		stdin: c.stdin, stdout: &c.stdout, stderr: &c.stderr, stdoutWidth: c.width, stderrWidth: c.width, color: c.width > 0,
	})
}

// prints runs a command that must succeed and returns its standard output.
func prints(t *testing.T, server *clienttest.Server, args ...string) string {
	t.Helper()
	var c console
	if err := c.command(t.Context(), t, server, args...); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &c.stderr)
	}
	return c.stdout.String()
}

func hold(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func contains(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
}

func TestClientHelpHasExamples(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{{"send"}, {"get"}, {"query"}, {"lake", "status"}, {"dlq", "list"}, {"dlq", "show"}, {"dlq", "requeue"}} {
		var c console
		if err := c.command(t.Context(), t, nil, append(command, "--help")...); err == nil {
			t.Errorf("%v --help ran the command", command)
		}
		contains(t, c.stdout.String(), "Examples:", "penstock "+strings.Join(command, " "), "PENSTOCK_URL", "PENSTOCK_KEY")
	}
}

func TestClientNoServer(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.URL, server.Key = nobodyListens, "hunter2"
	file := hold(t, "a.json", "1")
	for _, args := range [][]string{
		{"send", file, "--retry-for", "0s"}, {"get", "2yTsGkJ3hDqGRQmXqTzVQkZ0bXk", "--wait", "0s"}, {"query", "SELECT 1"}, {"lake", "status"}, {"dlq", "list", "lake"},
	} {
		var c console
		err := c.command(t.Context(), t, server, args...)
		if err == nil {
			t.Fatalf("%v succeeded", args)
		}
		contains(t, err.Error(), server.URL, "connection refused", "penstock local")
		if strings.Contains(err.Error()+c.stderr.String()+c.stdout.String(), "hunter2") {
			t.Errorf("%v prints the key", args)
		}
	}
}

func TestClientWrongKey(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Key = "right"
	file := hold(t, "a.json", "1")
	var c console
	err := c.command(t.Context(), t, nil, "send", file, "--url", server.URL, "--key", "hunter2")
	if err == nil {
		t.Fatal("no error")
	}
	contains(t, err.Error(), "401", "PENSTOCK_KEY")
	if strings.Contains(err.Error()+c.stderr.String()+c.stdout.String(), "hunter2") {
		t.Error("prints the key")
	}
}

func TestGetCommand(t *testing.T) {
	t.Parallel()
	server := clienttest.New(t)
	server.Pending = 2
	body := "\n {\"a\" : 1.0}\r\n"
	id := lastField(prints(t, server, "send", hold(t, "a.json", body)))
	if got := prints(t, server, "get", id); got != body {
		t.Errorf("got %q", got)
	}
	contains(t, prints(t, server, "get", id, "--envelope"), "specversion", body)
	file := filepath.Join(t.TempDir(), "out.json")
	prints(t, server, "get", id, "-o", file)
	if got, err := os.ReadFile(file); err != nil || string(got) != body {
		t.Errorf("file holds %q, %v", got, err)
	}
	prints(t, server, "get", id, "-o", os.DevNull)

	server.Damage = true
	var c console
	other := filepath.Join(t.TempDir(), "damaged.json")
	if err := c.command(t.Context(), t, server, "get", id, "-o", other); err == nil {
		t.Error("a damaged document was taken")
	}
	if left, err := os.ReadDir(filepath.Dir(other)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func lastField(text string) string {
	fields := strings.Fields(text)
	return fields[len(fields)-1]
}

func TestVersionCommand(t *testing.T) {
	t.Parallel()
	contains(t, prints(t, nil, "version"), "penstock ", "go1.")
	contains(t, prints(t, nil, "version", "--json"), `"version":"`, `"os":"`)
}

func TestWriteResultKeepsTheOldFile(t *testing.T) {
	t.Parallel()
	path := hold(t, "out", "old")
	failure := errors.New("broken off")
	err := (&output{}).writeResult(path, func(w io.Writer) error {
		_, err := io.WriteString(w, "new")
		return errors.Join(err, failure)
	})
	if got, readErr := os.ReadFile(path); readErr != nil || string(got) != "old" || !errors.Is(err, failure) {
		t.Errorf("%q, %v, %v", got, err, readErr)
	}
}
