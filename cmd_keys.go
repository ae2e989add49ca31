package main

import (
	"fmt"
	"regexp"

	"penstock/ingest/httpapi"
)

// keysCmd is `penstock keys`.
type keysCmd struct {
	New keysNewCmd `cmd:"" help:"Make an API key: its line for the key file on standard output, the key itself on standard error."`
}

type keysNewCmd struct {
	Name string `arg:"" help:"Who the key is for: letters, digits, '-', '_' and '.', at most 64."`
}

// Help shows how to use the command.
func (keysNewCmd) Help() string {
	return `The key is shown once; the file holds only its SHA-256.

Examples:

  penstock keys new checkout >> keys.txt
  penstock local --listen 0.0.0.0:8080 --key-file keys.txt`
}

var keyName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Run makes a key.
func (c *keysNewCmd) Run(out *output) error {
	if !keyName.MatchString(c.Name) {
		return fmt.Errorf("name %.80q: must be 1 to 64 letters, digits, '-', '_' or '.'", c.Name)
	}
	key := httpapi.GenerateKey()
	if _, err := fmt.Fprintf(out.stdout, "%s %s\n", c.Name, httpapi.HashKey(key)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out.stderr, "The key of %s, shown only now: %s\n", c.Name, key)
	return err
}
