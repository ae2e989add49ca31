//go:build frontend

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
)

// frontCommand is a command of the front end alone.
type frontCommand struct {
	name, help string
	flags      any // pointer to the struct that holds them
	run        func(context.Context, *output) error
}

func frontCommands() []frontCommand {
	var ingest ingestCmd
	var check checkCmd
	var ready readyCmd
	var version versionCmd
	return []frontCommand{
		{"ingest", "Run a front end on AWS: Kinesis, S3 and DynamoDB behind the HTTP API.", &ingest, ingest.Run},
		{"check", "Prove that what a front end uses on AWS can be reached and used.", &check, check.Run},
		{"ready", "Ask a process whether it is ready; for health checks.", &ready, ready.Run},
		{"version", "Print the version.", &version, func(_ context.Context, out *output) error { return version.Run(out) }},
	}
}

// run parses the command line, runs the command and returns the exit status: 0 done, 1 failed, 2 a wrong command line.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	commands := frontCommands()
	name := "--help"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	for _, c := range commands {
		if c.name != name {
			continue
		}
		switch err := parseFlags(name, c.flags, args, stdout); {
		case errors.Is(err, flag.ErrHelp):
			return 0
		case err != nil:
			_, _ = fmt.Fprintln(stderr, "penstock:", err) // nothing is left to tell it to
			return 2
		}
		return execute(newOutput(stdin, stdout, stderr), c.run)
	}
	to, status := stdout, 0
	if name != "--help" && name != "-h" && name != "help" {
		to, status = stderr, 2
		_, _ = fmt.Fprintf(to, "penstock: %s: this build is the front end alone and has no such command\n\n", name) // as above
	}
	_, _ = fmt.Fprint(to, "Usage: penstock COMMAND [flags]\n\nCommands:\n") // as above
	for _, c := range commands {
		_, _ = fmt.Fprintf(to, "  %-10s %s\n", c.name, c.help) // as above
	}
	return status
}
