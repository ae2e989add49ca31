//go:build !frontend

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
)

// cli is the whole command line. Every flag has an environment variable (newParser).
type cli struct {
	localCommands
	Ingest ingestCmd `cmd:"" help:"Run a front end on AWS: Kinesis, S3 and DynamoDB behind the HTTP API."`
	consumerCommands
	Check   checkCmd   `cmd:"" help:"Prove that everything configured on AWS can be reached and used."`
	Fleet   fleetCmd   `cmd:"" help:"Show who works on which shard on AWS, how far that is, and what nobody works on."`
	Send    sendCmd    `cmd:"" help:"Post files, NDJSON, directories or standard input."`
	Get     getCmd     `cmd:"" help:"Print a document by its id, byte for byte."`
	Query   queryCmd   `cmd:"" help:"Run SQL over the lake."`
	Lake    lakeCmd    `cmd:"" help:"Look after the lake."`
	Dlq     dlqCmd     `cmd:"" help:"Look into the dead letters of a sink, and feed them to it again."`
	Keys    keysCmd    `cmd:"" help:"Make API keys."`
	Ready   readyCmd   `cmd:"" help:"Ask a process whether it is ready; for health checks."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// newParser makes the parser of the command line. The flag --some-name is also read from PENSTOCK_SOME_NAME.
func newParser(stdout, stderr io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(&cli{},
		kong.Name("penstock"),
		kong.Description("A durable front door for JSON: POST documents, look them up by id, ask for them in SQL."),
		kong.DefaultEnvars("PENSTOCK"),
		kong.UsageOnError(),
		kong.Writers(stdout, stderr),
		kong.Exit(exit),
	)
}

// run parses the command line, runs the command and returns the exit status: 0 done, 1 failed, 2 a wrong command line.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	status := -1
	parser, err := newParser(stdout, stderr, func(code int) { status = code }) // --help
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "penstock:", err) // nothing is left to tell it to
		return 2
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if status >= 0 {
		return status
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "penstock:", err) // nothing is left to tell it to
		return 2
	}
	return execute(newOutput(stdin, stdout, stderr), func(ctx context.Context, out *output) error {
		command.BindTo(ctx, (*context.Context)(nil))
		return command.Run(out)
	})
}
