package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3api/middlewares"
)

// S3Region is what clients of the endpoint sign for.
const S3Region = "us-east-1"

// Limits of the endpoint. A connection serves one request, since the server has no timeout for idle ones.
const (
	s3MaxConnections = 256
	s3MaxRequests    = 64
	s3MaxParts       = 10_000 // as S3; the gateway wants to know, though nothing can be uploaded
)

// freePortTries is how often another port is tried when somebody takes the one we found.
const freePortTries = 16

// S3Config of the endpoint. All fields are required.
type S3Config struct {
	// Listen is host:port; with port 0 a free one is found.
	Listen string
	// Dir is the absolute path of the directory whose subdirectories are the buckets.
	Dir string
	// AccessKey and SecretKey are the only credentials, for requests signed with AWS Signature Version 4.
	AccessKey, SecretKey string
}

func (c *S3Config) validate() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("s3 endpoint: address %q: %w", c.Listen, err)
	}
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("s3 endpoint: directory %q: must be an absolute path", c.Dir)
	}
	if c.AccessKey == "" || c.SecretKey == "" {
		return errors.New("s3 endpoint: access key and secret key are required")
	}
	return nil
}

// ServeS3 serves the bodies to any S3 client, read-only, until ctx ends; then it waits for the requests under way, up to
// ten seconds. ready is called once with the address as soon as connections are taken. An address in use is
// syscall.EADDRINUSE.
//
// There can be one in a process, for two reasons that lie in versitygw: it has settings of the whole process, and its
// posix backend makes Dir the working directory of the process, on which it then relies. So every path that this program
// uses after its start must be absolute. Its server is used without its embedgw wrapper, which prints to standard
// output.
func ServeS3(ctx context.Context, cfg S3Config, ready func(address string)) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	// Without stored metadata: the files come from Bodies, which writes none. An object never changes, so one ETag for
	// all is right for every conditional request.
	files, err := posix.New(cfg.Dir, meta.NoMeta{}, posix.PosixOpts{
		DefaultEtag: `"immutable"`, ForceNoTmpFile: true, Concurrency: s3MaxRequests,
	})
	if err != nil {
		return fmt.Errorf("s3 endpoint: %w", err)
	}
	defer files.Shutdown()
	for range freePortTries {
		address, chosen, err := listenAddress(ctx, cfg.Listen)
		if err != nil {
			return fmt.Errorf("s3 endpoint: %w", err)
		}
		err = serveS3(ctx, cfg, files, address, ready)
		if chosen && errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		return err
	}
	return fmt.Errorf("s3 endpoint: no free port found: %w", syscall.EADDRINUSE)
}

// listenAddress puts a free port in the place of port 0: the server tells nobody which one it got.
func listenAddress(ctx context.Context, listen string) (address string, chosen bool, err error) {
	if _, port, err := net.SplitHostPort(listen); err != nil || port != "0" {
		return listen, false, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return "", false, err
	}
	return l.Addr().String(), true, l.Close()
}

func serveS3(ctx context.Context, cfg S3Config, files *posix.Posix, address string, ready func(string)) error {
	root := auth.Account{Access: cfg.AccessKey, Secret: cfg.SecretKey, Role: auth.RoleAdmin}
	listening := make(chan struct{})
	server, err := s3api.New(files, middlewares.RootUserConfig{Access: cfg.AccessKey, Secret: cfg.SecretKey}, S3Region,
		auth.NewIAMServiceSingle(root), nil, nil, nil, nil,
		s3api.WithQuiet(), s3api.WithReadOnly(), s3api.WithDisableACL(),
		s3api.WithConcurrencyLimiter(s3MaxConnections, s3MaxRequests), s3api.WithMpMaxParts(s3MaxParts),
		s3api.WithOnListen(sync.OnceFunc(func() { close(listening) })),
	)
	if err != nil {
		return fmt.Errorf("s3 endpoint: %w", err)
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeMultiPort([]string{address}) }()
	select {
	case err := <-served:
		return fmt.Errorf("s3 endpoint on %s: %w", address, err)
	case <-listening:
	}
	ready(address)
	select {
	case err := <-served:
		return fmt.Errorf("s3 endpoint on %s: %w", address, err)
	case <-ctx.Done():
	}
	return stopS3(server.ShutDown, served)
}

// stopS3 shuts the server down and waits until it has ended. The server knows its listeners only a moment after it has
// said that it listens, and a shutdown before that passes it by, so it is asked again until it ends.
func stopS3(shutDown func() error, served <-chan error) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if err := shutDown(); err != nil {
			return fmt.Errorf("stopping the s3 endpoint: %w", err)
		}
		select {
		case <-served: // it only says that its listener was closed
			return nil
		case <-again.C:
		}
	}
}
