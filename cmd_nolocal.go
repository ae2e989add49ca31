//go:build nolocal

package main

import "errors"

// localCommands stand in for those that need everything embedded: whoever asks for one is told why it is not here.
type localCommands struct {
	Local absentCmd `cmd:"" hidden:"" passthrough:""`
}

type absentCmd struct {
	Args []string `arg:"" optional:""`
}

// Validate fails the command line.
func (absentCmd) Validate() error {
	return errors.New("this build is for AWS and embeds no store: `make build` makes the one that runs on a single machine")
}
