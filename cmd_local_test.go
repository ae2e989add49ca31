//go:build !nolocal

package main

import (
	"context"
	"io"
	"testing"

	"github.com/alecthomas/kong"
)

// Told to stop while it starts, the program has nothing to finish and ends well.
func TestLocalStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	var c localCmd
	parser, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--data", t.TempDir(), "--listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx, newOutput(nil, io.Discard, io.Discard)); err != nil {
		t.Error(err)
	}
}
