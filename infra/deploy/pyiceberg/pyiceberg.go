// Package pyiceberg reads the lake's table with a reader that nobody here wrote, for tests: pyiceberg, through the Glue catalog.
// It needs Python 3.10 or newer with venv; what else is pinned in requirements.txt, and installed once below the user's cache.
package pyiceberg

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the script
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

var (
	//go:embed read_events.py
	script []byte
	//go:embed requirements.txt
	requirements []byte
)

// maxRow is the longest line of the script, in bytes.
const maxRow = 64 << 20

// Row is a row of the table, as far as tests want it.
type Row struct{ ID, SHA256, Data, Shard string }

// Read gives the rows of a table, DATABASE.TABLE, in no order. Region, credentials and endpoints are the AWS SDK's variables.
func Read(ctx context.Context, table string) ([]Row, error) {
	var rows []Row
	err := Each(ctx, table, "", func(row Row) error {
		rows = append(rows, row)
		return nil
	})
	return rows, err
}

// Each visits the rows of a table as Read gives them, one at a time, or those for which a filter of pyiceberg's holds, such as
// "type = 'order'". An error of visit ends it and is returned.
func Each(ctx context.Context, table, filter string, visit func(Row) error) error {
	python, err := install(ctx)
	if err != nil {
		return fmt.Errorf("install pyiceberg: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-", table, filter)
	cmd.Stdin = bytes.NewReader(script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("pyiceberg: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("pyiceberg: %w", err)
	}
	err = eachLine(out, visit)
	if err != nil {
		cancel() // what is left is of no use
	}
	if ended := cmd.Wait(); err == nil && ended != nil {
		return fmt.Errorf("pyiceberg: %w\n%s", ended, stderr.Bytes())
	}
	return err
}

func eachLine(out io.Reader, visit func(Row) error) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxRow)
	for lines.Scan() {
		var row Row
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return fmt.Errorf("pyiceberg: %w in %.200s", err, lines.Bytes())
		}
		if err := visit(row); err != nil {
			return err
		}
	}
	return lines.Err()
}

// install returns a Python that has what is pinned.
func install(ctx context.Context) (python string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "penstock", fmt.Sprintf("pyiceberg-%x", sha256.Sum256(requirements))[:26])
	python = filepath.Join(dir, "bin", "python")
	done, pins := filepath.Join(dir, "installed"), filepath.Join(dir, "requirements.txt")
	if _, err := os.Stat(done); err == nil { // it is the last thing made
		return python, nil
	}
	run := func(name string, args ...string) error {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", name, err, out)
		}
		return nil
	}
	if err := run("python3", "-m", "venv", dir); err != nil {
		return "", err
	}
	if err := os.WriteFile(pins, requirements, 0o600); err != nil {
		return "", err
	}
	if err := run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "-r", pins); err != nil {
		return "", err
	}
	return python, os.WriteFile(done, nil, 0o600)
}
