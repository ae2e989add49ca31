//go:build !nolocal

package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func TestEveryFlagHasAnEnvironmentVariable(t *testing.T) {
	t.Parallel()
	parser, err := newParser(io.Discard, io.Discard, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	flags := 0
	var look func(command *kong.Node)
	look = func(command *kong.Node) {
		for _, flag := range command.Flags {
			if flag.Name == "help" {
				continue
			}
			flags++
			want := "PENSTOCK_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			if !slices.Equal(flag.Envs, []string{want}) {
				t.Errorf("%s --%s: %v, want %s", command.FullPath(), flag.Name, flag.Envs, want)
			}
		}
		for _, child := range command.Children {
			look(child)
		}
	}
	look(parser.Model.Node)
	if flags < 40 {
		t.Errorf("only %d flags", flags)
	}
}
