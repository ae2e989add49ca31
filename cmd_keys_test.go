//go:build !nolocal

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// A key made by `penstock keys new` opens the server that has its line in the key file, and no other key does.
func TestKeys(t *testing.T) {
	t.Parallel()
	var line, told bytes.Buffer
	cmd := program(context.Background(), "keys", "new", "checkout")
	cmd.Stdout, cmd.Stderr = &line, &told
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`psk_[0-9a-f]{64}`).FindString(told.String())
	if key == "" || bytes.Contains(line.Bytes(), []byte(key)) {
		t.Fatalf("standard output %q, standard error %q", &line, &told)
	}
	file := filepath.Join(t.TempDir(), "keys.txt")
	if err := os.WriteFile(file, line.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, t.TempDir(), "--key-file", file)
	s.must(401, "POST", "/v1/events", []byte(`{}`), "Content-Type", "application/json")
	s.must(401, "POST", "/v1/events", []byte(`{}`), "Content-Type", "application/json", "Authorization", "Bearer psk_wrong")
	s.must(202, "POST", "/v1/events", []byte(`{}`), "Content-Type", "application/json", "Authorization", "Bearer "+key)
	s.stop()
}

func TestKeysRefusesANameThatTheFileCannotHold(t *testing.T) {
	t.Parallel()
	if status := run([]string{"keys", "new", "two words"}, nil, &bytes.Buffer{}, &bytes.Buffer{}); status != 1 {
		t.Errorf("exit status %d", status)
	}
}
