package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// manifests pin what is installed.
//
//go:embed peers/package.json peers/package-lock.json peers/requirements.txt peers/loopback.cjs peers/patient.cjs
var manifests embed.FS

// install returns the directory in which the peers of these manifests are installed, and installs them when there is none:
// into a directory of its own below the user's cache, named after the manifests, so that every checkout with the same
// manifests uses it, and none with others.
func install(ctx context.Context, log io.Writer) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("where to install the peers: %w", err)
	}
	parent := filepath.Join(cache, "penstock", "stack")
	name, err := manifestsHash()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(parent, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("install the peers: %w", err)
	}
	// Made beside it and renamed when it is whole. Who comes second finds it done, which is as good.
	half, err := os.MkdirTemp(parent, "half-")
	if err != nil {
		return "", fmt.Errorf("install the peers: %w", err)
	}
	defer os.RemoveAll(half) //nolint:errcheck // it is only disk space, in a cache
	_, _ = fmt.Fprintln(log, "stack: installing the peers into", dir)
	if err := fill(ctx, half, log); err != nil {
		return "", err
	}
	if err := os.Rename(half, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("install the peers: %w", err)
	}
	return dir, nil
}

func manifestsHash() (string, error) {
	hash := sha256.New()
	err := fs.WalkDir(manifests, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := manifests.ReadFile(name)
		_, _ = fmt.Fprintf(hash, "%s %d\n%s", name, len(text), text) // a hash never fails
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the manifests of the peers: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// fill installs everything into dir. Nothing of it knows where it lies, so that it may be renamed.
func fill(ctx context.Context, dir string, log io.Writer) error {
	tree, err := fs.Sub(manifests, "peers")
	if err != nil {
		return fmt.Errorf("read the manifests of the peers: %w", err)
	}
	if err := os.CopyFS(dir, tree); err != nil {
		return fmt.Errorf("install the peers: %w", err)
	}
	for _, step := range []struct {
		hint    string
		command []string
	}{
		// No install scripts: the only one builds a database on disk, and dynalite keeps its tables in memory.
		{"it needs Node.js 20 or newer with npm", []string{"npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"}},
		{"it needs Python 3.10 or newer with pip", []string{"python3", "-m", "pip", "install", "--quiet", "--no-deps",
			"--disable-pip-version-check", "--target", "python", "-r", "requirements.txt"}},
	} {
		cmd := exec.CommandContext(ctx, step.command[0], step.command[1:]...)
		cmd.Dir = dir
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("install the peers by %s: %w (%s)", step.command[0], err, step.hint)
		}
	}
	return nil
}
