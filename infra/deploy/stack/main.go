package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"penstock/infra/deploy/compose"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	var status commandStatus
	switch {
	case err == nil:
		return
	case errors.As(err, &status): // the command has said itself what is wrong
		os.Exit(int(status)) //nolint:forbidigo // this is main
	default:
		_, _ = fmt.Fprintln(os.Stderr, "stack:", err) // nothing is left to tell it to
		os.Exit(1)                                    //nolint:forbidigo // this is main
	}
}

type cli struct {
	Up      upCmd      `cmd:"" default:"withargs" help:"Start the peers, print their environment, and run until a signal."`
	Run     runCmd     `cmd:"" help:"Start the peers on free ports, run a command in their environment, and end with its status."`
	Setup   setupCmd   `cmd:"" help:"Make the stream, the bucket and the database that the environment names, where they are not yet."`
	Install installCmd `cmd:"" help:"Install the peers, where they are not yet, and print where."`
	S3      s3Cmd      `cmd:"" name:"s3" hidden:"" help:"Be the S3 peer."`
}

// output is where the commands write.
type output struct{ stdout, stderr io.Writer }

func run(args []string, stdout, stderr io.Writer) error {
	parser, err := kong.New(&cli{}, kong.Name("stack"), kong.Writers(stdout, stderr),
		kong.Description("Real peers for Penstock's AWS side, as processes on this machine."))
	if err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	command.BindTo(ctx, (*context.Context)(nil))
	command.Bind(output{stdout, stderr})
	return command.Run()
}

// starter starts the peers with what a deployment finds there.
type starter struct {
	resources
	Compose string `default:"docker-compose.yml" help:"Compose file that the environment is taken from." placeholder:"FILE"`
}

// start is start, by the compose file, and all that it names is there.
func (c *starter) start(ctx context.Context, firstPort int, log io.Writer) (*stack, error) {
	deployment, err := compose.Load(ctx, c.Compose)
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, deployment, firstPort, log)
	if err != nil {
		return nil, err
	}
	if err := c.create(ctx, s.environment); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// upCmd runs the peers in the foreground.
type upCmd struct {
	starter
	Port    int    `default:"4570" env:"PENSTOCK_STACK_PORT" help:"First of the five ports in a row that are used (1 to 65531); 0 takes free ones."`
	EnvFile string `help:"File to write the environment to when everything is there; removed at the end." placeholder:"FILE"`
}

// Run implements the command. The end by a signal is a good one.
func (c *upCmd) Run(ctx context.Context, out output) error {
	if c.Port < 0 || c.Port > 65531 {
		return fmt.Errorf("--port %d: must be 0 to 65531", c.Port)
	}
	s, err := c.start(ctx, c.Port, out.stderr)
	if err != nil {
		return err
	}
	defer s.stop()
	exports := exported(s.environment)
	if _, err := io.WriteString(out.stdout, exports); err != nil {
		return fmt.Errorf("print the environment: %w", err)
	}
	if c.EnvFile != "" {
		if err := os.WriteFile(c.EnvFile, []byte(exports), 0o600); err != nil {
			return fmt.Errorf("write the environment: %w", err)
		}
		defer os.Remove(c.EnvFile) //nolint:errcheck // whoever reads it afterwards finds nobody there, and sees it
	}
	_, _ = fmt.Fprintln(out.stderr, "stack: ready; stop it with Ctrl-C") // for a person
	return s.wait(ctx)
}

// commandStatus is the exit status of a command that failed.
type commandStatus int

func (s commandStatus) Error() string { return fmt.Sprintf("the command's exit status is %d", int(s)) }

// runCmd runs one command among the peers.
type runCmd struct {
	starter
	Command []string `arg:"" passthrough:"" help:"Command and its arguments, after --."`
}

// Run implements the command.
func (c *runCmd) Run(ctx context.Context, out output) error {
	command := c.Command
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return errors.New("run: no command")
	}
	s, err := c.start(ctx, 0, out.stderr)
	if err != nil {
		return err
	}
	defer s.stop()
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // its group is ended, not the process alone
	cmd.Env = append(os.Environ(), s.environment...)
	cmd.Stdout, cmd.Stderr = out.stdout, out.stderr
	p, err := startProcess(cmd)
	if err != nil {
		return err
	}
	defer p.stop()
	err = s.waitFor(ctx, p)
	var ended *exec.ExitError
	if p.hasEnded() && errors.As(p.err, &ended) && ended.ExitCode() > 0 {
		return commandStatus(ended.ExitCode())
	}
	return err
}

// installCmd installs the peers.
type installCmd struct{}

// Run implements the command.
func (*installCmd) Run(ctx context.Context, out output) error {
	dir, err := install(ctx, out.stderr)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out.stdout, dir)
	return err
}

// setupCmd makes what a deployment finds there when it starts, on services that run already: docker-compose.yml's.
type setupCmd struct{ resources }

// Run implements the command.
func (c *setupCmd) Run(ctx context.Context) error { return c.create(ctx, os.Environ()) }
