//go:build !frontend

package aws_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// pyicebergDir holds the script and what it needs.
const pyicebergDir = "../deploy/pyiceberg"

// wantByPyiceberg fails unless pyiceberg reads exactly these bodies.
func wantByPyiceberg(t *testing.T, table string, want map[string][]string) {
	t.Helper()
	python := pyiceberg(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, filepath.Join(pyicebergDir, "read_events.py"), table)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pyiceberg: %v\n%s", err, stderr.Bytes())
	}
	got := map[string][]string{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var row struct{ ID, Data string }
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatalf("pyiceberg: %v in %.200s", err, lines.Bytes())
		}
		got[row.ID] = append(got[row.ID], row.Data)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for id, bodies := range want {
		if !slices.Equal(got[id], bodies) {
			t.Errorf("pyiceberg has %s as %.200q, want %.200q", id, got[id], bodies)
		}
	}
	if len(got) != len(want) {
		t.Errorf("pyiceberg has %d events, want %d", len(got), len(want))
	}
}

// pyiceberg returns a Python that has the pinned pyiceberg, which is installed once for each version of the pins, below the
// user's cache.
func pyiceberg(t *testing.T) string {
	t.Helper()
	requirements := filepath.Join(pyicebergDir, "requirements.txt")
	pins, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "penstock", fmt.Sprintf("pyiceberg-%x", sha256.Sum256(pins))[:26])
	python := filepath.Join(dir, "bin", "python")
	done := filepath.Join(dir, "installed") // is the last thing made
	if _, err := os.Stat(done); err == nil {
		return python
	}
	run := func(name string, args ...string) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
			t.Fatalf("install pyiceberg: %s: %v (it needs Python 3.10 or newer with venv and pip)\n%s", name, err, out)
		}
	}
	run("python3", "-m", "venv", dir)
	run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "-r", requirements)
	if err := os.WriteFile(done, nil, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	return python
}
