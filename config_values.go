package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/dustin/go-humanize"

	"penstock/ingest/httpapi"
	"penstock/schemas"
)

// logFlags shape the log.
type logFlags struct {
	LogLevel  string `default:"info" enum:"debug,info,warn,error" env:"PENSTOCK_LOG_LEVEL" help:"debug, info, warn or error."`
	LogFormat string `default:"text" enum:"text,json" env:"PENSTOCK_LOG_FORMAT" help:"text or json."`
}

// frontFlags shape an HTTP front end.
type frontFlags struct {
	Listen      string   `default:"127.0.0.1:8080" env:"PENSTOCK_LISTEN" help:"Address of the HTTP API. Without --key-file it must be loopback."`
	AdminListen string   `env:"PENSTOCK_ADMIN_LISTEN" help:"Address of /metrics. Default: the HTTP API's when that is loopback, else 127.0.0.1:9090." placeholder:"HOST:PORT"`
	KeyFile     string   `env:"PENSTOCK_KEY_FILE" help:"File of API keys, a line each: a name and the key's SHA-256 in hex." placeholder:"FILE"`
	Memory      byteSize `default:"256MiB" env:"PENSTOCK_MEMORY" help:"Bytes of requests in flight, beyond which new ones are refused with 503 (32MiB to 64GiB)."`
}

func (c *frontFlags) validate() error {
	checks := []error{within("--memory", c.Memory, 32<<20, 64<<30), checkAddress("--listen", c.Listen)}
	if c.AdminListen != "" {
		checks = append(checks, checkAddress("--admin-listen", c.AdminListen))
	}
	if c.Memory < 3*schemas.MaxBody {
		checks = append(checks, fmt.Errorf("--memory %s: must hold three of the largest bodies (30MiB)", c.Memory))
	}
	if c.KeyFile == "" && !isLoopback(c.Listen) {
		checks = append(checks, fmt.Errorf("--listen %s: is not loopback, so it needs --key-file with at least one API key", c.Listen))
	}
	if c.KeyFile != "" {
		if _, err := os.Stat(c.KeyFile); err != nil {
			checks = append(checks, fmt.Errorf("--key-file: %w", err))
		}
	}
	return first(checks)
}

// first is the first of the errors that is one.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// byteSize is a number of bytes written like 256MiB or 1GB.
type byteSize int64

// UnmarshalText implements encoding.TextUnmarshaler for the command line.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a size: write it like 512MiB or 10GB", text)
	}
	*b = byteSize(n)
	return nil
}

func (b byteSize) String() string { return humanize.IBytes(uint64(b)) }

// within checks that low ≤ value ≤ high.
func within[T int | byteSize | time.Duration](field string, value, low, high T) error {
	if value < low || value > high {
		return fmt.Errorf("%s %v: must be between %v and %v", field, value, low, high)
	}
	return nil
}

func checkAddress(field, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("%s %q: must be HOST:PORT such as 127.0.0.1:8080", field, address)
	}
	return nil
}

// isLoopback reports whether the host of HOST:PORT can only be reached from this machine, by the rule of the HTTP API.
func isLoopback(address string) bool { return httpapi.CheckListen(address, false) == nil }
