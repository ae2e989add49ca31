package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3api/middlewares"
)

const (
	s3Health = "/-/health" // no bucket can have that name
	// More than the clients of one machine ask for at once: who is refused would be told SlowDown.
	s3MaxConnections = 4096
	s3MaxRequests    = 1024
	// As AWS.
	s3MaxParts = 10_000
	s3MaxCopy  = 5 << 30
)

// s3Cmd serves S3 from a directory until it is killed.
type s3Cmd struct {
	Port      int    `required:"" help:"Port on loopback."`
	Dir       string `required:"" help:"Directory for everything."`
	Region    string `required:"" env:"AWS_REGION" help:"The only region."`
	AccessKey string `required:"" env:"AWS_ACCESS_KEY_ID" help:"The only access key."`
	SecretKey string `required:"" env:"AWS_SECRET_ACCESS_KEY" help:"Its secret."`
}

// Run implements the command.
func (c *s3Cmd) Run(context.Context) error {
	buckets, attributes := filepath.Join(c.Dir, "buckets"), filepath.Join(c.Dir, "attributes")
	for _, dir := range []string{buckets, attributes} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("s3: %w", err)
		}
	}
	// Beside the objects, since not every file system for temporary files has extended attributes.
	metadata, err := meta.NewSideCar(attributes)
	if err != nil {
		return fmt.Errorf("s3: %w", err)
	}
	files, err := posix.New(buckets, metadata, posix.PosixOpts{
		SideCarDir: attributes, Concurrency: s3MaxRequests, CopyObjectThreshold: s3MaxCopy,
	})
	if err != nil {
		return fmt.Errorf("s3: %w", err)
	}
	defer files.Shutdown()
	root := auth.Account{Access: c.AccessKey, Secret: c.SecretKey, Role: auth.RoleAdmin}
	server, err := s3api.New(files, middlewares.RootUserConfig{Access: c.AccessKey, Secret: c.SecretKey}, c.Region,
		auth.NewIAMServiceSingle(root), nil, nil, nil, nil,
		s3api.WithQuiet(), s3api.WithKeepAlive(), s3api.WithHealth(s3Health), s3api.WithMpMaxParts(s3MaxParts),
		s3api.WithConcurrencyLimiter(s3MaxConnections, s3MaxRequests))
	if err != nil {
		return fmt.Errorf("s3: %w", err)
	}
	return server.ServeMultiPort([]string{net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port))})
}
