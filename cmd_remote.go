package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"penstock/infra/client"
)

// errReported ends a command that failed and has said so itself.
var errReported = errors.New("reported above")

// output is what a command reads and writes. The width of a stream that is no terminal is 0.
type output struct {
	stdin                    io.Reader
	stdout, stderr           io.Writer
	stdoutWidth, stderrWidth int
	// color is false where escape sequences are not wanted.
	color bool
}

func newOutput(stdin io.Reader, stdout, stderr io.Writer) *output {
	return &output{
		stdin: stdin, stdout: stdout, stderr: stderr, stdoutWidth: terminalWidth(stdout), stderrWidth: terminalWidth(stderr),
		color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", // https://no-color.org
	}
}

// terminalWidth is the number of columns of a terminal, 0 for anything else.
func terminalWidth(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0
	}
	if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}

// remote says which server a command talks to.
type remote struct {
	URL string `name:"url" env:"PENSTOCK_URL" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Address of the server (${default})."`
	Key string `env:"PENSTOCK_KEY" placeholder:"KEY" help:"API key. Better in the environment, since others can see a command line."`
}

// connect makes a client; it must be closed.
func (r remote) connect(connections int) (*client.Client, error) {
	c, err := client.New(client.Config{
		URL: r.URL, Key: r.Key, UserAgent: "penstock/" + buildVersion().Version, Connections: connections,
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// explained makes the message of a client's error one for people.
func explained(err error) error {
	if err == nil {
		return nil
	}
	return &explainedError{err}
}

type explainedError struct{ err error }

func (e *explainedError) Error() string { return client.Explain(e.err) }
func (e *explainedError) Unwrap() error { return e.err }

// writeResult calls write with standard output, or when path is set with a file that gets its name only once everything is
// in it. What is no regular file, such as /dev/null, is written directly.
func (o *output) writeResult(path string, write func(io.Writer) error) (err error) {
	if path == "" || path == "-" {
		return write(o.stdout)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(file), file.Close())
	}
	partial := fmt.Sprintf("%s.partial-%d", path, os.Getpid())
	file, err := os.OpenFile(filepath.Clean(partial), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if err = errors.Join(write(file), file.Close()); err == nil {
		err = os.Rename(partial, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	return nil
}
